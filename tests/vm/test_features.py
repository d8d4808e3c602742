#!/usr/bin/env python3
"""Guests that negotiate other features than the default, each talking with an ordinary guest.

The ordinary guest keeps running; what it sends to a guest without offloads must be segmented and
checksummed by the switch.
"""

import json

import vmtest
from lab import bench
from vmtest import MIB

TX_OFFLOADS = ("csum", "gso", "host_tso4", "host_tso6", "host_ecn", "host_ufo")
RX_SEGMENTATION = ("guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo")


def off(*names):
    return dict.fromkeys(names, "off")


class Features(vmtest.VmTest):
    @classmethod
    def boot(cls):
        cls.two = cls.bench.guest("vm2", number=2)
        cls.bench.boot(cls.two)

    def with_guest(self, check, queues=1, **nic):
        """Boots a guest with these properties of its card, checks, and ends it.

        One that fails stays for the report; it ends with the bench.
        """
        guest = self.bench.guest("vm1", number=1, queues=queues, nic=nic)
        self.bench.boot(guest)
        check(guest)
        self.assertEqual(guest.complaints(), [])
        self.bench.discard(guest)

    def traffic(self, guest):
        return self.check_traffic(guest, self.two, 4 * MIB)

    def segmented(self, guest):
        """Traffic, in which the switch has to segment what the ordinary guest sends."""
        self.assertGreater(self.traffic(guest).of(guest)["segmented"], 0)

    def test_no_offloads_at_all(self):
        self.with_guest(self.segmented, **off(*TX_OFFLOADS, *RX_SEGMENTATION, "guest_csum"))

    def test_checksum_offload_without_segmentation(self):
        self.with_guest(self.segmented, **off("host_tso4", "host_tso6", *RX_SEGMENTATION))

    def test_segmentation_for_ipv4_only(self):
        self.with_guest(self.segmented, **off("guest_tso6", "host_tso6"))

    def test_no_mergeable_buffers(self):
        """Receive buffers are then chains of 64 KiB."""
        self.with_guest(self.traffic, mrg_rxbuf="off")

    def test_no_mergeable_buffers_and_no_segmentation(self):
        """Receive buffers are then of one frame each."""
        self.with_guest(self.segmented, mrg_rxbuf="off", **off(*RX_SEGMENTATION))

    def test_no_event_index_no_indirect_descriptors_small_rings(self):
        self.with_guest(
            self.traffic, rx_queue_size=256, tx_queue_size=256, **off("event_idx", "indirect_desc")
        )

    def test_packed_rings(self):
        def check(guest):
            port = json.loads(self.bench.daemon.client("port", "show", "vm1", "-j"))
            self.assertIn("ring_packed", port["peer_features"])
            self.traffic(guest)

        self.with_guest(check, packed="on")

    def test_packed_rings_without_event_index_and_indirect_descriptors(self):
        self.with_guest(self.traffic, packed="on", **off("event_idx", "indirect_desc"))

    def test_mtu_of_the_device(self):
        def check(guest):
            self.assertEqual(guest.run("cat /sys/class/net/eth0/mtu").output.strip(), "4000")
            self.traffic(guest)

        self.with_guest(check, host_mtu=4000)

    def test_two_queue_pairs(self):
        def check(guest):
            self.traffic(guest)
            guest.run("ethtool -L eth0 combined 2")
            self.traffic(guest)
            self.spread(guest)
            guest.run("ethtool -L eth0 combined 1")
            self.traffic(guest)

        self.with_guest(check, queues=2)

    def spread(self, guest):
        """Many flows use both transmit and both receive queues."""
        for flow in range(8):
            bench.tcp_stream(guest, self.two, self.two.ipv4, MIB // 4, port=5300 + flow)
        statistics = guest.run("ethtool -S eth0").output
        for direction in ("rx", "tx"):
            for queue in (0, 1):
                self.assertNotRegex(statistics, r"\b%s_queue_%d_packets: 0\n" % (direction, queue))


if __name__ == "__main__":
    vmtest.main()
