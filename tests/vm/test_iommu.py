#!/usr/bin/env python3
"""Two ordinary Linux guests behind virtual IOMMUs, strict and lazy: every address that their drivers
use is mapped for one buffer and unmapped after it, and nothing may be lost for that.

Beside the strict pair a pair without virtual IOMMU is measured in the same run.
"""

import statistics

import vmtest
from lab import bench
from lab.accounts import Accounts

PINGS = 1000
ROUNDS = 3
IPERF_S = 1


class Checks:
    """The tests of a pair; MODE says what their kernels are asked for."""

    PORTS = {"vm1": {"role": "server", "iommu": "require"}, "vm2": {"role": "client"}}

    @classmethod
    def boot(cls):
        """One guest has split rings, the other packed ones."""
        cls.one = cls.bench.guest("vm1", iommu=cls.MODE)
        cls.two = cls.bench.guest("vm2", iommu=cls.MODE, nic={"packed": "on"})
        cls.bench.boot(cls.one, cls.two)

    def tearDown(self):
        """Whatever was done, no address of a well-behaved driver is refused."""
        for guest in (self.one, self.two) if self.bench else ():
            self.assertEqual(self.bench.daemon.iommu(guest.name)["faults"], 0, guest.name)

    def test_the_mode_is_in_force(self):
        """Not what was asked for counts: Linux may decide otherwise, and a port may do without."""
        for guest in (self.one, self.two):
            self.assertEqual(guest.iommu_mode(), self.MODE)
            self.assertTrue(self.bench.daemon.iommu(guest.name)["active"])

    def test_all_kinds_of_traffic_and_the_accounts(self):
        self.check_traffic(self.one, self.two, 4 * vmtest.MIB)

    def test_a_thousand_pings_each_way(self):
        accounts = Accounts(self.bench, *self.bench.guests)
        for sender, receiver in ((self.one, self.two), (self.two, self.one)):
            rtt = self.check_ping(sender, receiver.ipv4, PINGS)
            self.note(
                "%s, %s to %s: 0 of %d pings lost, median %.0f us, p99 %.0f us"
                % (self.MODE, sender.name, receiver.name, PINGS, rtt["median"], rtt["p99"])
            )
        accounts.close()
        self.assertEqual(accounts.problems(), [])
        for guest in (self.one, self.two):
            self.note("%s: %s" % (guest.name, self.bench.daemon.iommu(guest.name)))


class Lazy(Checks, vmtest.VmTest):
    MODE = "lazy"

    def test_iperf_both_ways(self):
        for sender, receiver in ((self.one, self.two), (self.two, self.one)):
            for address in (receiver.ipv4, receiver.ipv6):
                rate = bench.iperf(sender, receiver, address, IPERF_S)["bits_per_second"]
                self.note("lazy, iperf3 to %s: %.0f Mb/s" % (address, rate / 1e6))
                self.assertGreater(rate, 1e6)


class Strict(Checks, vmtest.VmTest):
    MODE = "strict"
    PORTS = dict(Checks.PORTS, vm3={}, vm4={})

    @classmethod
    def boot(cls):
        cls.one, cls.two = (cls.bench.guest(port, iommu=cls.MODE) for port in ("vm1", "vm2"))
        cls.three, cls.four = (cls.bench.guest(port) for port in ("vm3", "vm4"))
        cls.bench.boot(cls.one, cls.two, cls.three, cls.four)

    def test_iperf_beside_the_same_without_iommu(self):
        """Alternating, because machines change their speed. The share is reported, not judged: the
        guests' kernels map and unmap under emulation, which is most of what is measured."""
        self.assertIsNone(self.three.iommu_mode())
        for reverse in (False, True):
            for family in ("ipv4", "ipv6"):
                with_iommu, without = [], []
                for _ in range(ROUNDS):
                    with_iommu.append(self.rate(self.one, self.two, family, reverse))
                    without.append(self.rate(self.three, self.four, family, reverse))
                self.report(family, reverse, with_iommu, without)

    def rate(self, one, two, family, reverse):
        """A run's (bits per second, cycles of the worker per frame, share of a processor that the
        daemon used)."""
        sender, receiver = (two, one) if reverse else (one, two)
        used, worker = self.bench.daemon.cpu_seconds(), self.worker()
        run = bench.iperf(sender, receiver, getattr(receiver, family), IPERF_S)
        share = (self.bench.daemon.cpu_seconds() - used) / IPERF_S
        frames_n, cycles = (after - before for before, after in zip(worker, self.worker()))
        self.assertGreater(run["bits_per_second"], 1e6)
        return run["bits_per_second"], cycles / frames_n, share

    def worker(self):
        stats = self.bench.daemon.stats()["workers"][0]
        return stats["packets"], stats["busy_cycles"]

    def report(self, family, reverse, with_iommu, without):
        ratio = statistics.median(a[0] / b[0] for a, b in zip(with_iommu, without))
        columns = []
        for runs in (with_iommu, without):
            bits, cycles, share = (statistics.median(column) for column in zip(*runs))
            columns.append(
                "%.0f Mb/s (worker: %.0f cycles per frame, daemon: %.2f of a processor)"
                % (bits / 1e6, cycles, share)
            )
        self.note(
            "iperf3 %s %s: strict %s, no vIOMMU %s: %.0f %%"
            % (family, "vm2 to vm1" if reverse else "vm1 to vm2", *columns, ratio * 100)
        )


if __name__ == "__main__":
    vmtest.main()
