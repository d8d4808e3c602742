#!/usr/bin/env python3
"""Two ordinary Linux guests talk: all kinds of traffic, every byte checked, every frame counted."""

import vmtest
from lab import bench
from vmtest import MIB

IDLE_S = 30
WAKE_UPS = 200


class Talk(vmtest.VmTest):
    def test_all_kinds_of_traffic_and_the_accounts(self):
        self.check_traffic(self.one, self.two)

    def test_a_thousand_pings_each_way(self):
        for sender, receiver in ((self.one, self.two), (self.two, self.one)):
            rtt = self.check_ping(sender, receiver.ipv4, count=1000)
            self.note(
                "%s to %s, 1 ms apart: median %.0f us, p99 %.0f us"
                % (sender.name, receiver.name, rtt["median"], rtt["p99"])
            )

    def test_pings_of_every_size_up_to_fragments(self):
        for payload_bytes in (0, 1, 17, 18, 19, 63, 255, 1471, 1472, 1473, 9000, 60000):
            # Linux keeps room for two or three answers of the last size, and gives up further ones
            # before they reach its card: each is to be on its way before the next is asked for.
            interval_us = 5000 if payload_bytes < 60000 else 100000
            self.check_ping(self.one, self.two.ipv4, 20, interval_us, payload_bytes)
            self.check_ping(self.two, self.one.ipv6, 20, interval_us, payload_bytes)

    def test_a_file_arrives_with_its_checksum(self):
        """With other people's tools: random data through nc, compared by sha256sum."""
        for sender, receiver in ((self.one, self.two), (self.two, self.one)):
            # nc on the other side ends when this one closes its direction: keep that open.
            hold = "rm -f /tmp/hold; mkfifo /tmp/hold; exec 5<>/tmp/hold; "
            receiver.spawn(hold + "timeout 150 nc -l -p 5200 <&5 | sha256sum", "file")
            bench.wait_for_listener(receiver, 5200)
            sent = sender.run(
                "dd if=/dev/urandom of=/tmp/file bs=1M count=16 2>/dev/null; "
                "timeout 150 nc %s 5200 < /tmp/file && sha256sum < /tmp/file; "
                "rm /tmp/file" % receiver.ipv4,
                timeout_s=240,
            ).output
            self.assertEqual(receiver.wait("file").output, sent)

    def test_segmentation_offload_crosses_unsegmented(self):
        """64 KiB frames must arrive as such: far fewer frames than packets of the MTU would be."""
        accounts = vmtest.Accounts(self.bench, self.one, self.two)
        total = 32 * MIB
        bench.tcp_stream(self.one, self.two, self.two.ipv4, total)
        accounts.close()
        self.assertEqual(accounts.problems(), [])
        book = accounts.of(self.two)
        self.assertEqual(book["segmented"], 0)
        self.assertLess(book["card received"], total / 1448 / 4)

    def test_iperf_both_ways(self):
        for sender, receiver in ((self.one, self.two), (self.two, self.one)):
            rate = bench.iperf(sender, receiver, receiver.ipv4, 2)["bits_per_second"]
            self.note("iperf3 %s to %s: %.0f Mb/s" % (sender.name, receiver.name, rate / 1e6))
            self.assertGreater(rate, 10e6)

    def test_offloads_switched_off_in_the_guest(self):
        """The guest may stop using what it negotiated: frames then come complete."""
        for features in ("tx off", "tso off", "gso off tso off", "sg off"):
            self.one.run("ethtool -K eth0 " + features)
            try:
                bench.tcp_stream(self.one, self.two, self.two.ipv4, 2 * MIB)
                bench.tcp_stream(self.two, self.one, self.one.ipv6, 2 * MIB)
            finally:
                self.one.run("ethtool -K eth0 tx on sg on gso on tso on")

    def test_other_mtus(self):
        for mtu in (9000, 1280, 1500):
            for guest in (self.one, self.two):
                guest.run("ip link set eth0 mtu %d" % mtu)
            self.check_ping(self.one, self.two.ipv4, 50, 2000, 8900)
            bench.tcp_stream(self.two, self.one, self.one.ipv4, 2 * MIB)

    def test_idle_costs_nothing(self):
        self.check_ping(self.one, self.two.ipv4, 10)
        share = self.bench.daemon.cpu_share(IDLE_S)
        self.note("idle with two guests attached: %.2f %% of a processor" % (share * 100))
        self.assertLess(share, 0.01)

    def test_waking_up_loses_nothing(self):
        """Pings so far apart that the worker sleeps before each."""
        before = self.sleeps()
        rtt = self.check_ping(self.one, self.two.ipv4, WAKE_UPS, 20000)
        self.note("woken for each ping: median %.0f us, p99 %.0f us" % (rtt["median"], rtt["p99"]))
        self.assertGreater(self.sleeps() - before, WAKE_UPS / 2)

    def sleeps(self):
        return sum(worker["sleeps"] for worker in self.bench.daemon.stats()["workers"])


if __name__ == "__main__":
    vmtest.main()
