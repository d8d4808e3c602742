#!/usr/bin/env python3
"""Headgate's virtio-user port as the guest of OVS-DPDK.

OVS connects (dpdkvhostuserclient), so our port listens. Behind OVS's learning bridge stands a DPDK
guest: guest - Headgate - OVS - guest.
"""

from lines import A, B, CHAINED_N, WHOLE_N, LineTest, frames_from, main
from peers import headgate, loadgen, ovs, station, testpmd


class OvsBackend(LineTest):
    packed = "off"

    def setUp(self):
        super().setUp()
        self.sockets = {name: self.directory / f"{name}.sock" for name in ("vm1", "up", "far")}
        ports = {"vm1": {"type": "vhost-user", "socket": self.sockets["vm1"], "role": "server",
                         "iommu": "off"},
                 "up": {"type": "virtio-user", "socket": self.sockets["up"], "role": "server",
                        "queue_size": station.RING_N, "packed": self.packed}}
        self.daemon = self.enter(headgate.running(self.directory / "headgate", ports))
        self.switch = self.enter(ovs.running(self.directory / "ovs"))
        self.switch.add_port("headgate", self.sockets["up"])
        self.switch.add_port("far", self.sockets["far"])
        self.switch.forward_by_learning()

    def check_stations(self, count_n, buffer_bytes):
        a = self.station("a", testpmd.virtio_user_vdev(0, self.sockets["vm1"]),
                         frames_from(A, B, count_n), buffer_bytes=buffer_bytes)
        b = self.station("b", testpmd.virtio_user_vdev(0, self.sockets["far"], server=True),
                         frames_from(B, A, count_n), buffer_bytes=buffer_bytes)
        self.daemon.wait_ports_up(["vm1", "up"])
        self.switch.wait_links_up()
        self.check_exchange(a, b, order_of_flows=False)

    def test_frames_of_all_lengths(self):
        self.check_stations(WHOLE_N, station.BUFFER_BYTES)

    def test_chained_buffers(self):
        self.check_stations(CHAINED_N, station.SMALL_BUFFER_BYTES)

    def test_verified_load(self):
        """Numbered and checked frames at full rate, both ways, through both switches."""
        ends = [(self.sockets["vm1"], "client"), (self.sockets["far"], "server")]
        for size in (64, 1500):
            with self.subTest(size=size):
                self.check_load(loadgen.run(self.directory, ends, size=size, macs=16, dirs=2,
                                            seconds=1, verify=True))


class OvsBackendPacked(OvsBackend):
    """The same over packed rings."""
    packed = "require"


if __name__ == "__main__":
    main()
