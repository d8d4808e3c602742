"""A station: a testpmd that sends the frames of one capture file and records what it receives.

It stands at one end of a line of switches, as a guest (virtio-user) or as a back-end (vhost). Its
port 0 is the capture files, port 1 the device; io mode joins them. Frames stay within one ring's
length, so that nothing is lost while the other end is being started, and contents and order can be
compared exactly.
"""

import contextlib

from . import frames, testpmd
from .process import PeerFailed, wait_until

RING_N = 1024
BUFFER_BYTES = 2176             # testpmd's default: 2 KiB and 128 bytes of headroom
SMALL_BUFFER_BYTES = 256        # 128 bytes of data each: longer frames become chains


class Station:
    """One end of a line; made by running()."""

    def __init__(self, process, sink, own_frames):
        self.process = process
        self.sink = sink
        self.sent = own_frames

    def received_n(self):
        """Frames that came from the device and were handed to the capture file."""
        return self.process.counters()[0]["tx"]


@contextlib.contextmanager
def running(directory, name, vdev, own_frames, *, buffer_bytes=BUFFER_BYTES, cpu=1):
    """A Station with its device up and nothing sent yet."""
    source, sink = directory / f"{name}-out.pcap", directory / f"{name}-in.pcap"
    frames.write_capture(source, own_frames)
    with testpmd.running(directory, name, [testpmd.pcap_vdev(0, source=source, sink=sink), vdev],
                         cpu=cpu, memory_mib=256, buffer_bytes=buffer_bytes,
                         args=["--no-flush-rx", "--disable-device-start",
                               f"--rxd={RING_N}", f"--txd={RING_N}"]) as process:
        # Only the virtio driver wants to be told that frames are larger than buffers; the other
        # ports refuse the word.
        if buffer_bytes < BUFFER_BYTES and vdev.startswith("net_virtio_user"):
            process.command("port config 1 rx_offload scatter on")
        process.start_ports()
        # A full ring makes the sender wait; without this, io mode would drop.
        process.command("set fwd io retry")
        yield Station(process, sink, own_frames)


def exchange(a, b, timeout_s=90):
    """Both stations send all they have; what each received: (frames at a, frames at b).

    Returns when everything arrived, or after timeout_s without all of it; the stations are ended,
    so that their capture files are complete.
    """
    for station in (a, b):
        station.process.wait_links_up([1])
    for station in (a, b):
        station.process.start()
    with contextlib.suppress(PeerFailed):
        wait_until(lambda: a.received_n() >= len(b.sent) and b.received_n() >= len(a.sent),
                   timeout_s, "frame")
    for station in (a, b):
        station.process.stop()
    return frames.read_capture(a.sink), frames.read_capture(b.sink)
