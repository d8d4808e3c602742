#!/usr/bin/env python3
"""Guests whose card is driven from user space over VFIO: a well-behaved driver, DPDK's, whose mappings
stay; and a trespasser, who names memory that is not mapped for the card (guest/trespass.c)."""

import contextlib
import json

import vmtest
import vfio  # after vmtest, which sets the path to what it needs
from lab import bench, process

PINGS = 1000
ATTEMPTS_N = 8  # frames or buffers that the trespasser hands over
ECHO = "10.9.0.99"  # an address of nobody: testpmd's icmpecho answers for every one


class Vfio(vmtest.VmTest):
    PORTS = {"vm1": {"iommu": "require"}, "vm2": {}, "vm3": {"role": "client"}, "vm4": {}}

    @classmethod
    def guest_image(cls):
        return vfio.guest_image()

    @classmethod
    def boot(cls):
        # 48 bits: with them, DPDK's device addresses are not the physical ones.
        cls.one = cls.bench.guest(
            "vm1", iommu="strict", iommu_bits=48, memory_mib=384, expected=r"DMAR: "
        )
        cls.two, cls.three = cls.bench.guest("vm2"), cls.bench.guest("vm3")
        cls.bench.boot(cls.one, cls.two, cls.three)
        cls.card = vfio.take_card(cls.one)

    # ---- a driver that behaves ----

    def test_testpmd_answers_a_thousand_pings(self):
        before = self.port_one()
        testpmd = vfio.Testpmd(self.one, self.card, "icmpecho")
        self.assertIn("IOVA mode 'VA'", testpmd.output())
        testpmd.command("start")
        self.settled()
        settled = self.bench.daemon.iommu("vm1")
        self.assertTrue(settled["active"])
        rtt = self.check_ping(self.two, ECHO, PINGS)
        for payload_bytes in (0, 1, 18, 511, 1472):
            self.check_ping(self.three, ECHO, 50, 2000, payload_bytes)
        iommu = self.bench.daemon.iommu("vm1")
        port = self.port_one()
        card = testpmd.end()
        for way, card_way in (("rx", "TX"), ("tx", "RX")):
            frames_n = port[way]["packets"] - before[way].get("packets", 0)
            self.assertEqual(frames_n, card[card_way], way)
        # Mappings that stay are asked for once.
        self.assertEqual(iommu["misses"], settled["misses"])
        self.assertEqual(iommu["faults"], settled["faults"])
        self.note(
            "0 of %d pings lost, median %.0f us; %d translations, %d misses, %d hits"
            % (PINGS, rtt["median"], iommu["entries"], iommu["misses"], iommu["hits"])
        )

    def settled(self):
        def answered():
            return bench.ping(self.two, ECHO, 5, 20000)["lost"] == 0

        process.wait_until(answered, 30, "testpmd answers")

    # ---- one that does not ----

    def test_a_canary_that_is_mapped_is_sent(self):
        """The proof that the tests below can fail."""
        self.assertEqual(self.trespass("transmit", "mapped")["canaries"], ATTEMPTS_N)

    def test_a_canary_that_is_mapped_is_overwritten(self):
        self.assertGreater(self.trespass("receive", "mapped")["damaged"], 0)

    def test_physical_address_on_transmit(self):
        self.refused("transmit", "physical")

    def test_physical_address_on_receive(self):
        self.refused("receive", "physical")

    def test_address_after_its_unmapping_on_transmit(self):
        self.refused("transmit", "stale")

    def test_address_after_its_unmapping_on_receive(self):
        self.refused("receive", "stale")

    def test_read_only_page_on_receive(self):
        self.refused("receive", "read-only")

    def test_without_iommu_the_canary_is_lost(self):
        """The same program in a guest without IOMMU: what the others are protected from."""
        four = self.bench.guest("vm4")
        try:
            self.bench.boot(four)
            card = vfio.free_card(four)
            sent = self.trespass("transmit", "physical", four, "bare " + card, is_refused=False)
            self.assertEqual(sent["canaries"], ATTEMPTS_N)
            hit = self.trespass("receive", "physical", four, "bare " + card, is_refused=False)
            self.assertGreater(hit["damaged"], 0)
        finally:
            self.bench.discard(four)

    def refused(self, direction, address):
        """The card gets nothing of the page; the neighbours lose nothing meanwhile."""
        before = self.port_one()
        self.one.run("dmesg -c")
        self.three.spawn(
            "rm -f /tmp/enough; until [ -e /tmp/enough ]; do "
            "probe ping %s 200 5000 || exit 1; done" % self.two.ipv4,
            "neighbours",
        )
        report = self.trespass(direction, address)
        self.three.run("touch /tmp/enough")
        pings = self.three.wait("neighbours").output.splitlines()
        after = self.port_one()
        self.assertEqual(report["damaged"], 0, report)
        self.assertEqual(report["canaries"], 0, report)
        # The guest's kernel hears of it from its IOMMU, with the address.
        self.assertIn("fault addr " + report["address"], self.one.run("dmesg").output)
        self.note(
            "%s, %s: faults %s, drops %s, returned %d; neighbours: 0 of %d pings lost"
            % (
                direction,
                address,
                grown(before["iommu"]["faults_by_kind"], after["iommu"]["faults_by_kind"]),
                grown(before["drops"], after["drops"]),
                report["returned"],
                200 * len(pings),
            )
        )

    def port_one(self):
        return self.bench.daemon.stats()["ports"]["vm1"]

    def trespass(self, direction, address, guest=None, device=None, is_refused=None):
        """Runs the trespasser against vm2; what it and the lookout there report, together."""
        guest = guest or self.one
        is_refused = address != "mapped" if is_refused is None else is_refused
        faults_n = self.faults_n()
        self.two.spawn("lookout eth0", "lookout")
        self.two.wait_for_word("looking", "lookout")
        guest.spawn(
            "trespass %s %s %s %s %s"
            % (device or "vfio " + self.card, guest.ipv4, self.two.ipv4, direction, address),
            "trespass",
        )
        guest.wait_for_word("handed over", "trespass", timeout_s=60)
        if is_refused:
            process.wait_until(lambda: self.faults_n() > faults_n, 30, "a fault is counted")
            with contextlib.suppress(process.LabError):
                what = "everything is given back"
                process.wait_until(lambda: guest.ended("trespass"), 2, what, every_s=0.2)
            guest.run("killall trespass", check=False)
        report = last_line(guest.wait("trespass", timeout_s=60))
        self.two.run("killall lookout")
        return dict(report, **last_line(self.two.wait("lookout")))

    def faults_n(self):
        return self.bench.daemon.iommu("vm1")["faults"]


def last_line(result):
    return json.loads(result.output.splitlines()[-1])


def grown(before, after):
    return {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)}


if __name__ == "__main__":
    vmtest.main()
