"""One Linux guest under QEMU with one vhost-user network card.

The guest runs under software emulation: it works on every machine, also where there is no KVM. Its
memory is a memfd that the vhost-user back-end maps. `vectors=0` (no MSI-X) is not a matter of
taste: QEMU 7.2 crashes with MSI-X and vhost-user under tcg.

Commands travel over a second serial port (demo/guest/init has the protocol), because a serial port
needs no driver of the guest that could be under test, and works without any network.
"""

import base64
import collections
import json
import os
import re
import shlex
import socket

from . import process
from .process import LabError

Result = collections.namedtuple("Result", "status output")

DEFAULT_NIC = {"mrg_rxbuf": "on", "packed": "off", "rx_queue_size": 1024, "tx_queue_size": 1024}
# What the guest's kernel prints when its driver or the device misbehaves.
COMPLAINT = re.compile(
    r"BUG:|Oops|WARNING:|Call Trace|id \d+ is not a head|bad gso|NETDEV WATCHDOG|csum failure"
    r"|DMAR: .*(fault|error|failed|timeout)"
)


# Printed when something failed. What is not zero or not usual tells most.
STATE = r"""
echo up $(cat /proc/uptime) load $(cat /proc/loadavg)
for p in /proc/[0-9]*; do
    line=$(tr '\0' ' ' < $p/cmdline | cut -c-60)
    [ -n "$line" ] && echo "$line: in $(cat $p/wchan)"
done
for n in rx tx; do echo $n $(cat /sys/class/net/eth0/statistics/${n}_packets) packets; done
ip neigh show
awk '/^(Ip|Icmp|Udp|Tcp):/ { if (!($1 in names)) names[$1] = $0; else {
    n = split(names[$1], name); out = $1
    for (i = 2; i <= n; i++) if ($i && name[i] ~ /Err|Disc|Retrans|In(Rec|Dat|Segs|Msgs)|NoPorts/)
        out = out " " name[i] " " $i
    print out } }' /proc/net/snmp
grep -E "virtio|ttyS1|LOC" /proc/interrupts
cat /sys/devices/system/clocksource/clocksource0/current_clocksource
tail -n +1 /tmp/*.out 2>/dev/null | tail -n 12 | cut -c-200
"""


class Guest:
    """A guest: start() it, wait until it is ready(), run() commands, stop() it.

    name      of the guest and of its log files in `folder`
    socket    of the vhost-user port; listen=True: QEMU listens and the back-end connects
    mac       of the card; the addresses are given with addresses()
    queues    pairs of queues (as many processors as pairs)
    nic       properties of virtio-net-pci that differ from DEFAULT_NIC, e.g. {"host_tso4": "off"}
    iommu     a virtual IOMMU and the card behind it: "strict" (each unmap waits until no cache knows
              the address) or "lazy" (unmaps are collected); None: no IOMMU
    iommu_bits   width of the addresses that it translates, 39 or 48
    expected  pattern of lines of its kernel that look like complaints and are what a test wants
    """

    def __init__(
        self,
        name,
        folder,
        image,
        socket_path,
        mac,
        listen=False,
        queues=1,
        nic=None,
        iommu=None,
        iommu_bits=39,
        memory_mib=256,
        expected=None,
    ):
        self.name = name
        self.folder = folder
        self.image = image
        self.socket_path = socket_path
        self.mac = mac
        self.listen = listen
        self.queues = queues
        self.nic = dict(DEFAULT_NIC, **(nic or {}))
        self.iommu = iommu
        self.iommu_bits = iommu_bits
        self.memory_mib = memory_mib
        self.expected = expected and re.compile(expected)
        self.process = None
        self.channel = None
        self.received = b""
        self.next_number = 0
        self.addresses_given = []
        self.console_log = os.path.join(folder, name + ".console.log")
        self.qemu_log = os.path.join(folder, name + ".qemu.log")
        self.channel_path = os.path.join(folder, name + ".serial")

    # ---- life ----

    def start(self):
        """Starts QEMU and returns at once; QEMU itself waits for the back-end's socket."""
        self.received = b""
        self.process = process.start(self.command_line(), self.qemu_log)
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        process.wait_until(self._connect, 60, "guest %s: QEMU's serial socket" % self.name)
        return self

    def ready(self, timeout_s=120):
        """Waits until the guest obeys commands, after start() and after a reboot."""
        self._line(lambda line: line == "@ready", timeout_s, "boot")
        for address in self.addresses_given:
            self._give(address)
        return self

    def stop(self):
        """Ends QEMU, as pulling the plug does. May be called twice."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        if self.process is not None:
            process.stop(self.process)
            self.process = None
        if os.path.exists(self.channel_path):
            os.unlink(self.channel_path)

    def kill(self):
        """Ends QEMU without giving it a chance to say goodbye to its back-end."""
        self.process.kill()
        self.process.wait()
        self.stop()

    def reboot(self):
        """Restarts the machine at once, as its reset button would; QEMU and its connection to the
        back-end stay. Not with reboot(8): under traffic Linux 6.1's virtio_net may then spin for
        ever, waiting for buffers of a queue that its own shutdown has just declared broken.
        """
        self.next_number += 1
        self._send("%d %s\n" % (self.next_number, encode("echo b > /proc/sysrq-trigger")))
        return self.ready()

    def command_line(self):
        """QEMU's arguments."""
        kernel_options = "console=ttyS0 loglevel=5 panic=-1 mitigations=off random.trust_cpu=on"
        role = "server=on" if self.listen else "reconnect=1"
        size = "%dM" % self.memory_mib
        card = dict(self.nic, netdev="net", mac=self.mac, vectors=0, romfile="")
        card["disable-legacy"] = "on"
        if self.queues > 1:
            card["mq"] = "on"
        options = [
            ("name", self.name),
            ("display", "none"),
            ("machine", "q35"),
            ("accel", "tcg"),
            ("cpu", "max"),
            ("smp", self.queues),
            ("m", size),
            ("object", "memory-backend-memfd,id=memory,size=%s,share=on" % size),
            ("numa", "node,memdev=memory"),
            ("kernel", self.image.kernel),
            ("initrd", self.image.initrd),
            ("chardev", "file,id=console,path=%s,append=on" % self.console_log),
            ("serial", "chardev:console"),
            ("chardev", "socket,id=commands,path=%s,server=on,wait=off" % self.channel_path),
            ("serial", "chardev:commands"),
        ]
        if self.iommu:
            kernel_options += " intel_iommu=on iommu.strict=%d" % (self.iommu == "strict")
            card.update(iommu_platform="on", ats="on")
            # Without caching-mode, in which Linux would not be lazy; ATS needs none.
            iommu = "intel-iommu,intremap=off,device-iotlb=on,aw-bits=%d" % self.iommu_bits
            options.append(("device", iommu))
            # ATS is a capability of PCI Express, which cards on the root bus do not have. Without it
            # QEMU passes invalidations of single ranges on, but none of a whole domain, which is how
            # a lazy guest invalidates.
            options.append(("device", "pcie-root-port,id=root1,chassis=1"))
            card["bus"] = "root1"
        options += [
            ("append", kernel_options),
            ("chardev", "socket,id=vhost,path=%s,%s" % (self.socket_path, role)),
            ("netdev", "vhost-user,id=net,chardev=vhost,queues=%d" % self.queues),
            ("device", "virtio-net-pci," + ",".join("%s=%s" % item for item in card.items())),
        ]
        arguments = ["qemu-system-x86_64", "-nodefaults", "-no-user-config"]
        for name, value in options:
            arguments += ["-" + name, str(value)]
        return arguments

    # ---- commands ----

    def run(self, script, timeout_s=60, check=True):
        """Runs a shell script in the guest. With check, a status other than 0 is a LabError."""
        self.next_number += 1
        number = self.next_number
        self._send("%d %s\n" % (number, encode(script)))
        answer = self._line(lambda line: line.startswith("@%d " % number), timeout_s, script)
        _, status, *output = answer.split(" ")
        result = Result(int(status), decode(output[0]) if output else "")
        if check and result.status != 0:
            raise LabError(
                "guest %s: `%s` ended with %d:\n%s"
                % (self.name, script, result.status, result.output)
            )
        return result

    def spawn(self, script, name="job"):
        """Starts a script in the background of the guest; wait(name) collects it."""
        self.run(
            "rm -f /tmp/%(name)s.*; { sh -c %(script)s > /tmp/%(name)s.out 2>&1; "
            "echo $? > /tmp/%(name)s.new; mv /tmp/%(name)s.new /tmp/%(name)s.status; } "
            "> /dev/null 2>&1 < /dev/null &" % {"name": name, "script": shlex.quote(script)}
        )

    def ended(self, name="job"):
        """Whether a spawned script has ended."""
        return self.run("test -e /tmp/%s.status" % name, check=False).status == 0

    def wait_for_word(self, word, name="job", timeout_s=120):
        """Waits until a spawned script has printed a word; LabError if it ends without."""

        def said():
            has_ended = self.ended(name)
            output = self.run("cat /tmp/%s.out" % name, check=False).output
            if word not in output and has_ended:
                raise LabError(
                    "guest %s: %s ended without `%s`:\n%s" % (self.name, name, word, output)
                )
            return word in output

        what = "guest %s: `%s` from %s" % (self.name, word, name)
        process.wait_until(said, timeout_s, what, every_s=0.1)

    def wait(self, name="job", timeout_s=120, check=True):
        """Waits for a spawned script and returns its Result."""
        what = "guest %s: job %s" % (self.name, name)
        process.wait_until(lambda: self.ended(name), timeout_s, what, every_s=0.1)
        status, output = self.run("cd /tmp; cat %s.status %s.out" % (name, name)).output.split(
            "\n", 1
        )
        if check and status != "0":
            raise LabError("%s ended with %s:\n%s" % (what, status, output))
        return Result(int(status), output)

    def addresses(self, *with_prefix):
        """Brings the card up with these addresses ("10.0.0.1/24"), and again after each boot."""
        self.addresses_given = list(with_prefix)
        for address in with_prefix:
            self._give(address)
        return self

    def has_carrier(self):
        return self.run("cat /sys/class/net/eth0/carrier", check=False).output.strip() == "1"

    def iommu_mode(self):
        """How the guest's kernel in fact uses the IOMMU for the card: "strict", "lazy" or None."""
        group = "/sys/class/net/eth0/device/../iommu_group"
        kind = self.run("cat %s/type 2>/dev/null" % group, check=False).output.strip()
        return {"DMA": "strict", "DMA-FQ": "lazy", "": None}[kind]

    def counters(self):
        """The card's own counters: {"rx_packets": n, ...}."""
        text = self.run("cd /sys/class/net/eth0/statistics && grep . *").output
        return {name: int(value) for name, value in (line.split(":") for line in text.splitlines())}

    def json(self, script, timeout_s=120, check=True):
        """Runs a command that prints one JSON document."""
        result = self.run(script, timeout_s, check)
        try:
            return json.loads(result.output)
        except ValueError:
            raise LabError(
                "guest %s: `%s` printed no JSON:\n%s" % (self.name, script, result.output)
            ) from None

    def complaints(self):
        """Lines of the console in which the guest's kernel complains; empty if all is well."""
        with open(self.console_log, encoding="utf-8", errors="replace") as log:
            return [
                line.strip()
                for line in log
                if COMPLAINT.search(line) and not (self.expected and self.expected.search(line))
            ]

    def state(self):
        """What the guest is doing, for the report of a failure; also of one that does not answer."""
        lines = ["guest %s:" % self.name]
        lines += ["  QEMU's threads: " + process.threads(self.process.pid)]
        lines += ["  complaint: " + line for line in self.complaints()]
        try:
            lines += ["  " + line for line in self.run(STATE, 20, check=False).output.splitlines()]
        except LabError as error:
            lines += ["  " + line for line in str(error).splitlines()]
        return "\n".join(lines)

    # ---- the serial channel ----

    def _give(self, address):
        family = "-6" if ":" in address else "-4"
        self.run("ip link set eth0 up; ip %s address add %s dev eth0" % (family, address))

    def _connect(self):
        self._alive()
        try:
            self.channel.connect(self.channel_path)
            return True
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def _alive(self):
        if self.process.poll() is not None:
            raise LabError(
                "guest %s: QEMU ended with status %s:\n%s"
                % (self.name, self.process.returncode, process.tail(self.qemu_log))
            )

    def _send(self, line):
        self.channel.settimeout(30)
        self.channel.sendall(line.encode())

    def _receive(self):
        """What came over the channel; nothing at its end, also at a sudden one."""
        try:
            return self.channel.recv(65536)
        except ConnectionResetError:
            return b""

    def _line(self, wanted, timeout_s, what):
        """Returns the next wanted line. Others are remains of commands that timed out."""
        limit = process.Limit(timeout_s)
        others = []
        while True:
            line, newline, rest = self.received.partition(b"\n")
            if newline:
                self.received = rest
                text = line.decode(errors="replace").strip("\r\0")
                if wanted(text):
                    return text
                others.append(text[:80])
                continue
            if limit.passed():
                raise LabError(
                    "guest %s: no answer within %g s to: %s\n"
                    "  other lines that came: %s\n  the console's end:\n%s"
                    % (self.name, timeout_s, what, others, process.tail(self.console_log))
                )
            self.channel.settimeout(0.5)
            try:
                more = self._receive()
                if not more:
                    self.process.wait(10)
                    self._alive()
                self.received += more
            except socket.timeout:
                self._alive()


def encode(script):
    return base64.b64encode(script.encode()).decode()


def decode(text):
    return base64.b64decode(text).decode(errors="replace")
