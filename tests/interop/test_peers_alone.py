#!/usr/bin/env python3
"""The peers among themselves, without Headgate: when these fail, the others' failures mean nothing.

Also proves that the harness sees a fault: stations between which frames are altered must differ.
"""

import unittest

from lines import A, B, CHAINED_N, WHOLE_N, LineTest, frames_from, main
from peers import frames, hugepages, loadgen, ovs, station, testpmd


class Peers(LineTest):
    def stations(self, sockets, count_n, **options):
        server = options.pop("server", False)
        return [self.station(name, testpmd.virtio_user_vdev(0, socket, server=server),
                             frames_from(*ends, count_n), **options)
                for name, socket, ends in zip("ab", sockets, ((A, B), (B, A)))]

    def forwarder(self, mode, iommu=False):
        """A testpmd between two vhost sockets; the sockets."""
        sockets = [self.directory / "v0", self.directory / "v1"]
        vdevs = [testpmd.vhost_vdev(n, socket, iommu=iommu) for n, socket in enumerate(sockets)]
        self.enter(testpmd.running(self.directory, "forwarder", vdevs, cpu=0, memory_mib=256,
                                   forward=mode)).start()
        return sockets


class PeersAlone(Peers):
    def test_through_testpmd(self):
        self.check_exchange(*self.stations(self.forwarder("io"), WHOLE_N))

    def test_chains_through_testpmd(self):
        self.check_exchange(*self.stations(self.forwarder("io"), CHAINED_N,
                                           buffer_bytes=station.SMALL_BUFFER_BYTES))

    def test_through_ovs(self):
        sockets = [self.directory / "o0", self.directory / "o1"]
        switch = self.enter(ovs.running(self.directory / "ovs"))
        for name, socket in zip(("vm1", "vm2"), sockets):
            switch.add_port(name, socket)
        switch.forward_by_learning()
        a, b = self.stations(sockets, WHOLE_N, server=True)
        switch.wait_links_up()
        self.check_exchange(a, b, order_of_flows=False)

    def test_an_altering_forwarder_is_noticed(self):
        a, b = self.stations(self.forwarder("macswap"), 10)
        with self.assertRaises(self.failureException):
            self.check_exchange(a, b)


class OurFrontEnd(Peers):
    """The load generator, our driver of rings and our virtual IOMMU, against DPDK's back-end."""

    def setUp(self):
        super().setUp()
        self.ports = [(socket, "client") for socket in self.forwarder("io", iommu=True)]

    def load(self, mapping="off", **options):
        if mapping != "off":
            options |= {"iommu": mapping, "live_pages": 512, "queue_size": 256}
        result = loadgen.run(self.directory, self.ports, macs=16, dirs=2, seconds=1, verify=True,
                             **options)
        self.check_load(result)
        return result

    def test_packed(self):
        for size in (64, 1500):
            with self.subTest(size=size):
                self.load(size=size, packed=True)

    def test_mapped_once(self):
        for packed, page in ((False, "4K"), (True, "2M")):
            with self.subTest(packed=packed, page=page):
                self.load("static", size=1500, packed=packed, page=page)

    def test_mapped_for_each_use(self):
        result = self.load("dynamic", size=64, page="4K", check_unmapped=True)
        self.assertGreater(result["iommu"]["invalidations"], 0)
        self.assertEqual(0, result["iommu"]["touched"])


class Frames(unittest.TestCase):
    def test_checksums(self):
        frame = frames.tcp_frame(1000, (A, 1), (B, 2), 7)
        self.assertEqual(0, frames.checksum(frame[14:34]))
        pseudo = frame[26:34] + bytes([0, 6]) + len(frame[34:]).to_bytes(2, "big")
        self.assertEqual(0, frames.checksum(pseudo + frame[34:]))


class Hugepages(LineTest):
    def test_given_back(self):
        def total():
            return int(hugepages.TOTAL.read_text())
        before = total()
        with self.stack:
            self.enter(hugepages.reserve(64))
            self.assertGreaterEqual(total(), before)
        self.assertEqual(before, total())


if __name__ == "__main__":
    main()
