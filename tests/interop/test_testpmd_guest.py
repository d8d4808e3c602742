#!/usr/bin/env python3
"""DPDK's virtio-user driver as the guest of Headgate's vhost-user ports (split rings).

Two guests exchange frames of all lengths through one bridge. DPDK's driver differs from Linux's
where it hurts: no event index, frames in one descriptor together with their header, chains of
small buffers, and receive buffers with and without merging.
"""

from lines import A, B, CHAINED_N, WHOLE_N, LineTest, frames_from, main
from peers import headgate, station, testpmd


class TestpmdGuest(LineTest):
    def guests(self, count_n, *, options_a=None, options_b=None, buffer_a=station.BUFFER_BYTES,
               buffer_b=station.BUFFER_BYTES, role="server"):
        """Headgate with two ports and a guest on each; options are those of virtio_user_vdev."""
        sockets = {name: self.directory / f"{name}.sock" for name in ("vm1", "vm2")}
        ports = {name: {"type": "vhost-user", "socket": socket, "role": role, "iommu": "off"}
                 for name, socket in sockets.items()}
        listens = role == "client"
        daemon = self.enter(headgate.running(self.directory / "headgate", ports))
        a = self.station("a", testpmd.virtio_user_vdev(0, sockets["vm1"], server=listens,
                                                       **(options_a or {})),
                         frames_from(A, B, count_n), buffer_bytes=buffer_a)
        b = self.station("b", testpmd.virtio_user_vdev(0, sockets["vm2"], server=listens,
                                                       **(options_b or {})),
                         frames_from(B, A, count_n), buffer_bytes=buffer_b)
        daemon.wait_ports_up(["vm1", "vm2"])
        return daemon, a, b

    def test_mergeable_buffers(self):
        _, a, b = self.guests(WHOLE_N)
        self.check_exchange(a, b)

    def test_without_mergeable_buffers(self):
        plain = {"mergeable": False}
        _, a, b = self.guests(WHOLE_N, options_a=plain, options_b=plain)
        self.check_exchange(a, b)

    def test_one_side_mergeable(self):
        _, a, b = self.guests(WHOLE_N, options_b={"mergeable": False})
        self.check_exchange(a, b)

    def test_chained_transmit_and_merged_receive(self):
        """Frames leave in chains of up to 12 buffers and arrive spread over as many."""
        small = station.SMALL_BUFFER_BYTES
        _, a, b = self.guests(CHAINED_N, buffer_a=small, buffer_b=small)
        self.check_exchange(a, b)

    def test_chained_transmit_to_whole_buffers(self):
        _, a, b = self.guests(CHAINED_N, buffer_a=station.SMALL_BUFFER_BYTES,
                              options_b={"mergeable": False})
        self.check_exchange(a, b)

    def test_short_rings(self):
        short = {"queue_size": 256}
        _, a, b = self.guests(200, options_a=short, options_b=short)
        self.check_exchange(a, b)

    def test_headgate_connects(self):
        """Role client: the guest makes the socket."""
        _, a, b = self.guests(WHOLE_N, role="client")
        self.check_exchange(a, b)

    def test_frames_are_accounted_for(self):
        """sent = received + named drops, port by port."""
        daemon, a, b = self.guests(WHOLE_N)
        self.check_exchange(a, b)
        ports = daemon.stats()["ports"]
        dropped_n = sum(sum(port["drops"].values()) for port in ports.values())
        for sent, received in (("vm1", "vm2"), ("vm2", "vm1")):
            self.assertEqual(WHOLE_N, ports[sent]["rx"]["packets"])
            self.assertEqual(WHOLE_N, ports[received]["tx"]["packets"])
        self.assertEqual(0, dropped_n)


if __name__ == "__main__":
    main()
