"""The switches under test, each behind the same five verbs.

A system is opened once per group of cells and then paused (SIGSTOP) whenever another one is
measured: runs of a pair lie seconds apart, not the minutes that starting a switch for each of
them would take, and exactly one system has the forwarding CPU at any time.

    iommu               whether front-ends shall use the virtual IOMMU that it offers
    front_end_listens   whether the front-end makes the sockets (and the switch connects)
    sockets             the two vhost-user sockets
    wait_attached()     until the front-end of both is there
    pid                 of the process that forwards
    measure(seconds)    -> cycles per packet of busy polls in that interval, None if unknown
    pause(), resume()
"""

import contextlib
import time

from peers import headgate, ovs, testpmd

FORWARDING_CPU = 0


class Headgate:
    front_end_listens = False

    def __init__(self, daemon, sockets, iommu):
        self.daemon = daemon
        self.iommu = iommu
        self.pid = daemon.popen.pid
        self.sockets = sockets
        self.pause, self.resume = daemon.pause, daemon.resume

    def wait_attached(self):
        self.daemon.wait_ports_up(["vm1", "vm2"])

    def measure(self, seconds):
        before = self.daemon.stats()["workers"][0]
        time.sleep(seconds)
        after = self.daemon.stats()["workers"][0]
        packets_n = after["packets"] - before["packets"]
        return (after["busy_cycles"] - before["busy_cycles"]) / packets_n if packets_n else None


class Testpmd:
    front_end_listens = False

    def __init__(self, process, sockets, iommu):
        self.process = process
        self.iommu = iommu
        self.pid = process.popen.pid
        self.sockets = sockets
        self.pause, self.resume = process.pause, process.resume

    def wait_attached(self):
        self.process.wait_links_up([0, 1])

    def measure(self, seconds):
        return self.process.measure(seconds)[1]


class Ovs:
    front_end_listens = True
    iommu = False

    def __init__(self, switch, sockets, set_rules):
        self.switch = switch
        self.pid = switch.daemon.popen.pid
        self.sockets = sockets
        self.set_rules = set_rules
        self.pause = switch.pause

    def resume(self):
        self.switch.resume()
        self.set_rules()

    def wait_attached(self):
        self.switch.wait_links_up()

    def measure(self, seconds):
        return self.switch.measure(seconds)[1]


# The virtual IOMMU is offered always: a front-end that does not use it costs nothing.

def _open_headgate(stack, directory, _tso):
    sockets = [directory / "vm1.sock", directory / "vm2.sock"]
    ports = {f"vm{n}": {"type": "vhost-user", "socket": socket, "role": "server"}
             for n, socket in enumerate(sockets, 1)}
    daemon = stack.enter_context(headgate.running(directory / "headgate", ports,
                                                  cpu=FORWARDING_CPU))
    return {"headgate": Headgate(daemon, sockets, False),
            "headgate+iommu": Headgate(daemon, sockets, True)}


def _open_testpmd(stack, directory, tso):
    sockets = [directory / "t1.sock", directory / "t2.sock"]
    vdevs = [testpmd.vhost_vdev(n, socket, tso=tso, iommu=True)
             for n, socket in enumerate(sockets)]
    process = stack.enter_context(
        testpmd.running(directory, "testpmd", vdevs, cpu=FORWARDING_CPU, memory_mib=768,
                        buffers_n=65536))
    process.command("set record-core-cycles on")
    process.start()
    return {"testpmd-io": Testpmd(process, sockets, False),
            "testpmd+iommu": Testpmd(process, sockets, True)}


def _open_ovs(stack, directory, tso):
    """One daemon, two systems: with a learning bridge, and with a rule for each direction."""
    sockets = [directory / "o1.sock", directory / "o2.sock"]
    switch = stack.enter_context(ovs.running(directory / "ovs", cpu=FORWARDING_CPU, tso=tso))
    for name, socket in zip(("vm1", "vm2"), sockets):
        switch.add_port(name, socket)
    return {"ovs-normal": Ovs(switch, sockets, switch.forward_by_learning),
            "ovs-flows": Ovs(switch, sockets, switch.forward_port_to_port)}


_OPENERS = {"headgate": _open_headgate, "headgate+iommu": _open_headgate,
            "testpmd-io": _open_testpmd, "testpmd+iommu": _open_testpmd,
            "ovs-normal": _open_ovs, "ovs-flows": _open_ovs}
NAMES = tuple(_OPENERS)
PLAIN = tuple(name for name in NAMES if not name.endswith("+iommu"))


def open_system(stack, name, directory, tso):
    """Opens the process behind `name`, paused; returns every system it serves, by name."""
    opened = _OPENERS[name](stack, directory, tso)
    next(iter(opened.values())).pause()
    return opened


@contextlib.contextmanager
def running(system):
    """The system has the forwarding CPU for the length of the body."""
    system.resume()
    try:
        yield
    finally:
        system.pause()
