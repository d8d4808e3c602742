"""dpdk-testpmd, driven through its console: DPDK's vhost back-end and its virtio front-end.

The console gets its commands through a pipe and answers on a pseudo-terminal, because testpmd's
output is block-buffered towards anything else. Each command ends when the prompt is back.
"""

import contextlib
import os
import re
import select
import subprocess
import time
import tty

from . import hugepages
from .process import Child, PeerFailed, find_program

PROMPT = "testpmd> "


class Testpmd(Child):
    """One testpmd: a main thread for the console and one forwarding thread, on one CPU."""

    def __init__(self, directory, name, vdevs, *, cpu, forward="io", memory_mib=512,
                 buffer_bytes=2176, buffers_n=16384, args=()):
        """Starts with the virtual devices given; forwarding waits for start().

        buffer_bytes includes 128 bytes of headroom. memory_mib must hold all the buffers.
        """
        program = find_program("dpdk-testpmd", "dpdk-dev")
        self.terminal, slave = os.openpty()
        tty.setraw(slave)
        argv = [program, "--lcores", f"0@{cpu},1@{cpu}", "--no-pci", "--in-memory",
                "--single-file-segments", "--file-prefix", f"hg{os.getpid()}{name}",
                "--log-level", "lib.vhost.config:warning", "-m", memory_mib]
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += ["--", "-i", "--nb-cores=1", f"--forward-mode={forward}",
                 f"--mbuf-size={buffer_bytes}", f"--total-num-mbufs={buffers_n}", *args]
        self.text = ""
        self.stopped = False
        try:
            super().__init__(argv, directory / f"{name}.log", stdin=subprocess.PIPE, stdout=slave,
                             stderr=slave)
        finally:
            os.close(slave)
        try:
            self._check_ports(self._read_to_prompt(timeout_s=90))
        except PeerFailed:
            self.stop()
            raise

    def _read_to_prompt(self, timeout_s):
        """Everything up to the next prompt; also kept in the log."""
        deadline = time.monotonic() + timeout_s
        while PROMPT not in self.text:
            left_s = deadline - time.monotonic()
            if left_s < 0:
                raise PeerFailed(f"testpmd gave no prompt within {timeout_s} s:\n{self.tail()}")
            if not select.select([self.terminal], [], [], left_s)[0]:
                continue
            try:
                chunk = os.read(self.terminal, 65536)
            except OSError:
                self.popen.wait()
                self.expect_alive()
            with open(self.log, "ab") as log:
                log.write(chunk)
            self.text += chunk.decode(errors="replace").replace("\r", "")
        answer, _, self.text = self.text.partition(PROMPT)
        return answer

    def command(self, line, timeout_s=60):
        """Runs one console command and returns what it printed."""
        self.expect_alive()
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()
        return self._read_to_prompt(timeout_s)

    def start(self, tx_first_bursts=0):
        self.command(f"start tx_first {tx_first_bursts}" if tx_first_bursts else "start")

    def start_ports(self):
        """For ports that were not started (--disable-device-start) or that were stopped."""
        self._check_ports(self.command("port start all"))

    def _check_ports(self, answer):
        if re.search("Start ports failed|Fail to", answer):
            raise PeerFailed(f"testpmd could not start its ports:\n{answer}\n{self.tail(40)}")

    def wait_links_up(self, ports, timeout_s=60):
        """Until every port says that its other side is there."""
        for port in ports:
            self.wait_for(lambda: "Link status: up" in self.command(f"show port info {port}"),
                          timeout_s, f"link on port {port}")

    def counters(self):
        """{port: {"rx": packets, "tx": packets, ...}} of `show fwd stats all`, without cycles."""
        return parse_forward_stats(self.command("show fwd stats all"))[0]

    def measure(self, seconds):
        """Forwarding statistics of an interval: (counters, cycles per packet or None)."""
        self.command("clear fwd stats all")
        begin = time.monotonic()
        time.sleep(seconds)
        answer = self.command("show fwd stats all")
        elapsed_s = time.monotonic() - begin
        counters, cycles = parse_forward_stats(answer)
        return counters, cycles, elapsed_s

    def stop(self, timeout_s=30):
        """Ends testpmd by its own command, by signals if it does not obey."""
        if self.stopped:
            return self.popen.returncode
        self.stopped = True
        with contextlib.suppress(OSError, PeerFailed):
            if self.alive():
                self.resume()
                self.command("stop", timeout_s=20)
                self.popen.stdin.write(b"quit\n")
                self.popen.stdin.flush()
                self._drain(timeout_s=20)
        status = super().stop(timeout_s)
        with contextlib.suppress(OSError):
            self.popen.stdin.close()
        os.close(self.terminal)
        return status

    def _drain(self, timeout_s):
        """Reads what testpmd says while it quits: a full terminal would block it."""
        deadline = time.monotonic() + timeout_s
        while self.alive() and time.monotonic() < deadline:
            readable = select.select([self.terminal], [], [], 0.05)[0]
            if readable and not os.read(self.terminal, 65536):
                return


def parse_forward_stats(text):
    """The per-port counters and the cycles per packet of `show fwd stats all`."""
    ports = {}
    for block in re.finditer(r"Forward statistics for port (\d+)\s+-+\n(.*?)\n\s*-{20,}", text,
                             re.S):
        rx = re.search(r"RX-packets:\s*(\d+)\s+RX-dropped:\s*(\d+)", block[2])
        tx = re.search(r"TX-packets:\s*(\d+)\s+TX-dropped:\s*(\d+)", block[2])
        ports[int(block[1])] = {"rx": int(rx[1]), "rx_dropped": int(rx[2]),
                                "tx": int(tx[1]), "tx_dropped": int(tx[2])}
    cycles = re.search(r"CPU cycles/packet=([\d.]+)", text)
    return ports, float(cycles[1]) if cycles else None


@contextlib.contextmanager
def running(directory, name, vdevs, **options):
    """A Testpmd with its hugepages, ended with the body."""
    with hugepages.reserve(options.get("memory_mib", 512)):
        testpmd = Testpmd(directory, name, vdevs, **options)
        try:
            yield testpmd
        finally:
            testpmd.stop()


def vhost_vdev(index, socket, *, client=False, tso=False, queues=1, iommu=False):
    """The back-end of one vhost-user socket.

    With iommu a virtual IOMMU is offered. With tso the segmentation features are offered and, by legacy-ol-flags, the metadata of a
    received frame is set as transmit flags, without which io mode would lose it.
    """
    offload = ",tso=1,legacy-ol-flags=1" if tso else ""
    return (f"net_vhost{index},iface={socket},queues={queues},client={int(client)}{offload}"
            f"{',iommu-support=1' if iommu else ''}")


def virtio_user_vdev(index, socket, *, server=False, packed=False, mergeable=True, mac=None,
                     queue_size=1024):
    """The front-end of one vhost-user socket: what a DPDK guest or container would run."""
    return (f"net_virtio_user{index},path={socket},queues=1,queue_size={queue_size},"
            f"server={int(server)},packed_vq={int(packed)},mrg_rxbuf={int(mergeable)}"
            + (f",mac={mac}" if mac else ""))


def pcap_vdev(index, *, source=None, sink=None):
    """A port that reads its frames from one capture file and writes to another."""
    parts = [f"net_pcap{index}"]
    if source:
        parts.append(f"rx_pcap={source}")
    if sink:
        parts.append(f"tx_pcap={sink}")
    return ",".join(parts)
