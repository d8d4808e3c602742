#!/usr/bin/env python3
"""Guests, their drivers, QEMU and the daemon come and go; what remains goes on."""

import vmtest
from lab import bench, process

ROUNDS = 5


class Life(vmtest.VmTest):
    @classmethod
    def boot(cls):
        """The one that has to bear most is behind an IOMMU, which is set up anew each time."""
        cls.one, cls.two = cls.bench.guest("vm1", iommu="strict"), cls.bench.guest("vm2")
        cls.bench.boot(cls.one, cls.two)

    def settled(self, guest=None):
        """After something came back: the guests reach each other, then nothing is lost."""

        def reached():
            return bench.ping(self.two, self.one.ipv4, 3, 10000, linger_ms=1000)["lost"] == 0

        process.wait_until(reached, 60, "the guests reach each other", every_s=0.2)
        self.check_ping(self.one, self.two.ipv4)
        self.check_ping(self.two, self.one.ipv6)

    def under_fire(self, action):
        """Runs an action while the second guest pings the first hard; losses are expected."""
        self.two.spawn("probe ping %s 60000 200" % self.one.ipv4, "fire")
        try:
            action()
        finally:
            self.two.run("killall probe", check=False)
            self.two.wait("fire", check=False)
        self.settled()

    def test_guest_reboots_under_traffic(self):
        self.under_fire(self.one.reboot)

    def test_driver_is_unbound_and_bound_under_traffic(self):
        def rebind():
            for _ in range(ROUNDS):
                self.one.run(
                    "cd /sys/bus/virtio/drivers/virtio_net && echo virtio0 > unbind && "
                    "echo virtio0 > bind"
                )
                self.one.addresses(*self.one.addresses_given)

        self.under_fire(rebind)

    def test_driver_is_loaded_again(self):
        self.one.run("rmmod virtio_net && modprobe virtio_net")
        self.one.addresses(*self.one.addresses_given)
        self.settled()

    def test_qemu_is_killed_and_started_again(self):
        self.replace(self.one)

    def test_qemu_that_listens_is_killed_and_started_again(self):
        self.replace(self.two)

    def replace(self, guest):
        guest.kill()
        self.bench.boot(guest)
        self.settled()

    def test_daemon_is_restarted(self):
        self.assertEqual(self.bench.daemon.stop(), 0)
        self.bench.daemon.start()
        self.settled()

    def test_daemon_is_killed_and_started_again(self):
        """What it had taken out of the rings is lost; the guests go on without a reset."""
        self.bench.daemon.kill()
        self.bench.daemon.start()
        self.settled()

    def test_options_of_a_port_change(self):
        """The port is opened anew; QEMU connects again, or is connected to, and the guest goes on."""
        for port in ("vm1", "vm2"):
            for options in (["coalesce_us=200", "coalesce_frames=8"], ["coalesce_us=0"]):
                self.bench.daemon.client("port", "set", port, *options)
                self.settled()

    def test_ports_come_and_go_beside_the_others(self):
        """A third port is added and removed again and again while the two guests lose nothing."""
        self.settled()
        rounds = pings = 0
        while rounds < ROUNDS:
            self.one.spawn("probe ping %s 3000 1000" % self.two.ipv4, "pings")
            pings += 3000
            while not self.one.ended("pings"):
                self.bench.daemon.client(
                    "port",
                    "add",
                    "extra",
                    "type=vhost-user",
                    "bridge=br0",
                    "socket=" + self.bench.socket("extra"),
                )
                self.bench.daemon.client("port", "del", "extra")
                rounds += 1
            self.one.wait("pings")
        self.note("%d times added and removed during %d pings" % (rounds, pings))

    def test_nothing_leaks_when_guests_come_and_go(self):
        readings = []
        for _ in range(3):
            self.one.kill()
            self.bench.boot(self.one)
            self.settled()
            daemon = self.bench.daemon
            readings.append((daemon.descriptors_n(), daemon.memory_files_n()))
        self.assertEqual(readings[1:], readings[:-1])


if __name__ == "__main__":
    vmtest.main()
