#!/usr/bin/env python3
"""Headgate's virtio-user port as the guest of DPDK's vhost back-end.

A DPDK guest on a vhost-user port and a station behind testpmd's vhost exchange frames through
the bridge: both sides of our virtqueue code meet a peer that nobody here wrote.
"""

from lines import A, B, CHAINED_N, WHOLE_N, LineTest, frames_from, main
from peers import headgate, loadgen, station, testpmd


class TestpmdBackend(LineTest):
    def line(self, role, count_n, *, buffer_a=station.BUFFER_BYTES,
             buffer_b=station.BUFFER_BYTES, packed="off"):
        """guest - vhost-user - bridge - virtio-user - testpmd vhost. The listener starts first."""
        guest, uplink = self.directory / "vm1.sock", self.directory / "up.sock"
        ports = {"vm1": {"type": "vhost-user", "socket": guest, "role": "server", "iommu": "off"},
                 "up": {"type": "virtio-user", "socket": uplink, "role": role,
                        "queue_size": station.RING_N, "packed": packed}}

        def start_headgate():
            return self.enter(headgate.running(self.directory / "headgate", ports))

        def start_back_end():
            return self.station("b", testpmd.vhost_vdev(0, uplink, client=role == "server"),
                                frames_from(B, A, count_n), buffer_bytes=buffer_b)
        if role == "server":
            daemon, b = start_headgate(), start_back_end()
        else:
            b, daemon = start_back_end(), start_headgate()
        a = self.station("a", testpmd.virtio_user_vdev(0, guest), frames_from(A, B, count_n),
                         buffer_bytes=buffer_a)
        daemon.wait_ports_up(["vm1", "up"])
        return a, b

    def test_we_connect(self):
        self.check_exchange(*self.line("client", WHOLE_N))

    def test_back_end_connects(self):
        self.check_exchange(*self.line("server", WHOLE_N))

    def test_chained_at_both_ends(self):
        small = station.SMALL_BUFFER_BYTES
        self.check_exchange(*self.line("client", CHAINED_N, buffer_a=small, buffer_b=small))

    def test_packed(self):
        self.check_exchange(*self.line("client", WHOLE_N, packed="require"))

    def test_packed_chained_at_both_ends(self):
        small = station.SMALL_BUFFER_BYTES
        self.check_exchange(*self.line("server", CHAINED_N, buffer_a=small, buffer_b=small,
                                       packed="require"))

    def test_verified_load(self):
        self.check_verified_load("off")

    def test_packed_verified_load(self):
        self.check_verified_load("require")

    def check_verified_load(self, packed):
        """Numbered and checked frames at full rate, both ways, into DPDK and out of it again."""
        sockets = {name: self.directory / f"{name}.sock" for name in ("vm1", "up", "far")}
        vdevs = [testpmd.vhost_vdev(0, sockets["up"]), testpmd.vhost_vdev(1, sockets["far"])]
        forwarder = self.enter(testpmd.running(self.directory, "forwarder", vdevs, cpu=0,
                                               memory_mib=256))
        forwarder.start()
        ports = {"vm1": {"type": "vhost-user", "socket": sockets["vm1"], "role": "server",
                         "iommu": "off"},
                 "up": {"type": "virtio-user", "socket": sockets["up"], "role": "client",
                        "packed": packed}}
        self.enter(headgate.running(self.directory / "headgate", ports, cpu=0))
        for size in (64, 1500):
            with self.subTest(size=size):
                result = loadgen.run(self.directory, [(sockets["vm1"], "client"),
                                                      (sockets["far"], "client")],
                                     size=size, macs=16, dirs=2, seconds=1, verify=True)
                self.check_load(result)


if __name__ == "__main__":
    main()
