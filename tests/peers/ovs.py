"""OVS-DPDK in a private directory: its own database, its own daemon, no service of the system.

The poll-mode thread runs on one CPU; ports are of type dpdkvhostuserclient, so the front-end
listens. `pmd-perf-show` counts busy and idle cycles apart; cycles per packet are of busy polls.
"""

import contextlib
import os
import re
import subprocess
import time

from . import hugepages
from .process import Child, PeerFailed, find_program

DAEMON_DIR = "/usr/lib/openvswitch-switch-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
BRIDGE = "br0"
MEMORY_MIB = 1024
# A 64 KiB frame takes a chain of 33 2 KiB buffers, of which whole bursts can be in flight.
MEMORY_TSO_MIB = 1024


class Ovs:
    """One ovsdb-server and one ovs-vswitchd, started by running()."""

    def __init__(self, directory, *, cpu, tso=False):
        self.directory = directory
        self.cpu = cpu
        self.tso = tso
        self.env = {"OVS_RUNDIR": str(directory), "OVS_LOGDIR": str(directory),
                    "OVS_DBDIR": str(directory), "OVS_SYSCONFDIR": str(directory)}
        self.database = self.daemon = None
        self.ports = []

    def start(self):
        tool = find_program("ovsdb-tool", "openvswitch-common")
        server = find_program("ovsdb-server", "openvswitch-switch")
        daemon = find_program("ovs-vswitchd-dpdk", "openvswitch-switch-dpdk", [DAEMON_DIR])
        conf = self.directory / "conf.db"
        self._call(tool, "create", conf, SCHEMA)
        self.database = Child([server, conf, f"--remote=punix:{self.directory}/db.sock",
                               f"--unixctl={self.directory}/db.ctl"],
                              self.directory / "ovsdb.log", env=self.env)
        self.database.wait_for((self.directory / "db.sock").exists, 10, "ovsdb socket")
        self.vsctl("--no-wait", "init")
        settings = {"dpdk-init": "true", "dpdk-socket-mem": MEMORY_MIB,
                    "pmd-cpu-mask": hex(1 << self.cpu),
                    "dpdk-extra": f"--no-pci --in-memory --file-prefix=hg{os.getpid()}ovs",
                    "userspace-tso-enable": str(self.tso).lower()}
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".",
                   *(f'other_config:{key}="{value}"' for key, value in settings.items()))
        self.daemon = Child([daemon, f"unix:{self.directory}/db.sock",
                             f"--unixctl={self.directory}/vswitchd.ctl"],
                            self.directory / "vswitchd.log", env=self.env)
        self.daemon.wait_for((self.directory / "vswitchd.ctl").exists, 30, "control socket")
        self.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")
        if self.vsctl("get", "Open_vSwitch", ".", "dpdk_initialized") != "true":
            raise PeerFailed(f"OVS did not initialise DPDK:\n{self.daemon.tail()}")

    def _call(self, *argv, timeout_s=90):
        result = subprocess.run([str(a) for a in argv], env={**os.environ, **self.env},
                                capture_output=True, text=True, timeout=timeout_s, check=False)
        if result.returncode:
            raise PeerFailed(f"{' '.join(map(str, argv[:4]))}...: {result.stderr.strip()}")
        return result.stdout.strip()

    def vsctl(self, *args):
        return self._call("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--timeout=60", *args)

    def appctl(self, *args):
        return self._call("ovs-appctl", "-t", self.directory / "vswitchd.ctl", *args)

    def ofctl(self, command, *args):
        return self._call("ovs-ofctl", command, f"unix:{self.directory}/{BRIDGE}.mgmt", *args)

    def add_port(self, name, socket):
        """A vhost-user port that connects to the front-end's socket; n-th port is OpenFlow n."""
        self.ports.append(name)
        self.vsctl("add-port", BRIDGE, name, "--", "set", "Interface", name,
                   "type=dpdkvhostuserclient", f"options:vhost-server-path={socket}",
                   f"ofport_request={len(self.ports)}")

    def forward_by_learning(self):
        """One rule, NORMAL: learn and forward, what a bridge between VMs does."""
        self._replace_flows("actions=NORMAL")
        self.vsctl("set", "bridge", BRIDGE, "other_config:mac-table-size=65536")

    def forward_port_to_port(self):
        """Two rules that join the first two ports, whatever the addresses."""
        self._replace_flows("in_port=1,actions=output:2", "in_port=2,actions=output:1")

    def _replace_flows(self, *flows):
        self.ofctl("del-flows")
        for flow in flows:
            self.ofctl("add-flow", flow)
        # The datapath keeps a flow made for the old rules as long as its actions agree. Only this
        # command removes it; after dpctl/del-flows it would not come back, and every packet of
        # the flow would take the slow path.
        self.appctl("revalidator/purge")

    def wait_links_up(self, timeout_s=60):
        """Until every vhost-user port has its front-end."""
        for name in self.ports:
            self.daemon.wait_for(
                lambda: self.vsctl("get", "Interface", name, "link_state") == "up", timeout_s,
                f"link of {name}")

    def measure(self, seconds):
        """Statistics of an interval: (packets forwarded, cycles per packet of busy polls)."""
        self.appctl("dpif-netdev/pmd-stats-clear")
        begin = time.monotonic()
        time.sleep(seconds)
        text = self.appctl("dpif-netdev/pmd-perf-show")
        elapsed_s = time.monotonic() - begin
        packets = re.search(r"Rx packets:\s+(\d+)\s+\(.*?(\d+) cycles/pkt\)", text)
        if not packets:
            return 0, None, elapsed_s
        return int(packets[1]), int(packets[2]), elapsed_s

    def pause(self):
        self.daemon.pause()

    def resume(self):
        self.daemon.resume()

    def stop(self):
        for child in (self.daemon, self.database):
            if child:
                child.stop()


@contextlib.contextmanager
def running(directory, *, cpu=0, tso=False):
    """An Ovs with its hugepages and an empty bridge, ended with the body."""
    directory.mkdir()
    with hugepages.reserve(MEMORY_TSO_MIB if tso else MEMORY_MIB):
        ovs = Ovs(directory, cpu=cpu, tso=tso)
        try:
            ovs.start()
            yield ovs
        finally:
            ovs.stop()
