"""A bench: one daemon, some guests, and what is measured between them.

    with Bench(ports={"vm1": {}, "vm2": {}}) as bench:
        one, two = bench.guest("vm1"), bench.guest("vm2")
        bench.boot(one, two)
        print(ping(one, two.ipv4))

Everything lives in one temporary directory and is gone when the bench is; so are all processes.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time

from . import image, process
from .daemon import Headgate
from .guest import Guest
from .process import LabError

IPERF_PORT = 5201
STREAM_LIMIT_MS = 120000  # for one stream of bytes, from the first to the last
UDP_SILENCE_MS = 8000  # after which the rest of the datagrams is taken for lost
UDP_LIMIT_MS = 60000


class Bench:
    """See above. `ports` as for Headgate, without the sockets, which are private to the bench."""

    def __init__(self, ports, binary=None, guest_image=None, daemon=Headgate, keep_logs_in=None):
        self.folder = tempfile.mkdtemp(prefix="headgate-")
        self.keep_logs_in = keep_logs_in
        self.guests = []
        self.image = guest_image or image.build()
        self.binary = binary or default_binary()
        self.daemon = daemon(self.binary, self.folder, {})
        for name, options in ports.items():
            self.add_port(name, **options)

    def add_port(self, name, **options):
        """Adds a port to the configuration of a daemon that is not running yet."""
        self.daemon.ports[name] = dict({"socket": self.socket(name), "role": "server"}, **options)

    def socket(self, name):
        return os.path.join(self.folder, name + ".sock")

    def guest(self, port, number=None, **options):
        """A guest on a port, with the addresses 10.9.0.NUMBER and fd09::NUMBER. Not started."""
        number = number or len(self.guests) + 1
        role = self.daemon.ports.get(port, {}).get("role", "server")
        guest = Guest(
            port,
            self.folder,
            self.image,
            self.socket(port),
            "52:54:00:09:00:%02x" % number,
            listen=role == "client",
            **options,
        )
        guest.ipv4, guest.ipv6 = "10.9.0.%d" % number, "fd09::%d" % number
        self.guests.append(guest)
        return guest

    def boot(self, *guests):
        """Starts guests together and waits until they have their addresses and a carrier."""
        for guest in guests:
            guest.start()
        for guest in guests:
            guest.addresses_given = [guest.ipv4 + "/24", guest.ipv6 + "/64"]
            guest.ready()
        for guest in guests:
            process.wait_until(guest.has_carrier, 60, "guest %s: carrier" % guest.name)

    def discard(self, guest):
        """Ends a guest for good."""
        guest.stop()
        self.guests.remove(guest)

    def state(self):
        """What daemon and guests are doing, for the report of a failure. Never raises."""
        texts = []
        for part in [self.daemon_state] + [guest.state for guest in self.guests]:
            try:
                texts.append(part())
            except (LabError, OSError, subprocess.SubprocessError) as error:
                texts.append("%s: %s" % (type(error).__name__, error))
        return "\n".join(texts)

    def daemon_state(self):
        stats = self.daemon.stats()
        lines = ["headgate: threads: " + process.threads(self.daemon.process.pid)]
        for name, port in stats["ports"].items():
            drops = {reason: n for reason, n in port["drops"].items() if n}
            lines.append(
                "  %s: %s, rx %s, tx %s, drops %s"
                % (name, port["state"], brief(port["rx"]), brief(port["tx"]), drops)
            )
        lines += ["  worker: %s" % worker for worker in stats["workers"]]
        return "\n".join(lines)

    # ---- life ----

    def open(self):
        """Starts the daemon. Who opens, closes."""
        # A terminated script must clean up as an interrupted one does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.daemon.start()
        return self

    def __enter__(self):
        try:
            return self.open()
        except BaseException:
            self.close(failed=True)
            raise

    def __exit__(self, kind, error, trace):
        self.close(failed=kind is not None)
        return False

    def close(self, failed):
        for guest in self.guests:
            guest.stop()
        self.daemon.stop()
        if failed:
            self.save_logs()
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_logs(self):
        """Copies the logs of daemon and guests to keep_logs_in, if that was given."""
        if self.keep_logs_in:
            shutil.rmtree(self.keep_logs_in, ignore_errors=True)
            shutil.copytree(
                self.folder, self.keep_logs_in, ignore=shutil.ignore_patterns("*.sock", "*.serial")
            )


def brief(counters):
    return {name: n for name, n in counters.items() if n}


def default_binary():
    path = os.environ.get("HEADGATE") or os.path.join(image.REPO, "build", "src", "headgate")
    if not os.access(path, os.X_OK):
        raise LabError("%s: no such program; run make first" % path)
    return path


# ---- measurements between two guests ----


def ping(
    guest, address, count=1000, interval_us=1000, payload_bytes=56, check=False, linger_ms=5000
):
    """ICMP echo at a fixed spacing. Returns the probe's report; with check, loss is a LabError."""
    seconds = count * interval_us / 1e6
    return guest.json(
        "probe ping %s %d %d %d %d" % (address, count, interval_us, payload_bytes, linger_ms),
        timeout_s=60 + 10 * seconds,
        check=check,
    )


def tcp_stream(sender, receiver, address, total_bytes, port=5100):
    """One TCP stream, every byte checked by the receiver. Returns seconds; damage is a LabError."""
    receiver.spawn("probe tcp-recv %d %d" % (port, STREAM_LIMIT_MS), "tcp")
    wait_for_listener(receiver, port)
    sent = sender.json(
        "probe tcp-send %s %d %d %d" % (address, port, total_bytes, STREAM_LIMIT_MS),
        timeout_s=180,
    )
    received = receiver.wait("tcp", timeout_s=180).output
    if '"received_bytes": %d,' % total_bytes not in received:
        raise LabError(
            "TCP stream %s to %s: sent %d bytes, receiver says %s"
            % (sender.name, receiver.name, total_bytes, received)
        )
    return sent["seconds"]


def udp_stream(sender, receiver, address, count, interval_us, payload_bytes, port=5101):
    """Numbered datagrams, every byte checked. Returns the receiver's report."""
    receiver.spawn(
        "probe udp-recv %d %d %d %d" % (port, count, UDP_SILENCE_MS, UDP_LIMIT_MS), "udp"
    )
    wait_for_listener(receiver, port, "udp")
    sender.json(
        "probe udp-send %s %d %d %d %d" % (address, port, count, interval_us, payload_bytes)
    )
    receiver.wait("udp", check=False)
    return receiver.json("cat /tmp/udp.out")


def iperf(sender, receiver, address, seconds, options=""):
    """One iperf3 run. Returns {"bits_per_second", "retransmits"} as the receiving side saw it."""
    receiver.spawn("iperf3 -s -1 -p %d" % IPERF_PORT, "iperf")
    wait_for_listener(receiver, IPERF_PORT)
    report = sender.json(
        "iperf3 -J -c %s -p %d -t %d %s" % (address, IPERF_PORT, seconds, options),
        timeout_s=seconds + 90,
    )
    receiver.wait("iperf")
    return {
        "bits_per_second": report["end"]["sum_received"]["bits_per_second"],
        "bytes": report["end"]["sum_received"]["bytes"],
        "retransmits": report["end"]["sum_sent"].get("retransmits", 0),
    }


def wait_for_listener(guest, port, protocol="tcp"):
    """Waits until a socket of the guest is bound to the port (all of ours are IPv6 sockets)."""
    pattern = ":%04X 0" % port
    guest.run(
        "n=0; until grep -q '%s' /proc/net/%s6; do n=$((n + 1)); [ $n -lt 1000 ] || exit 1; "
        "usleep 50000; done" % (pattern, protocol)
    )
