"""The load generators: two front-ends on one CPU, one for each port of the switch.

    run(cell, system, ...)  -> Result of one run
    offers(cell)            whether it can make this load

`loadgen` is our own (bench/loadgen.c): it numbers and checks frames. `testpmd` is DPDK's
virtio-user, a front-end that nobody here wrote; it replays frames from a capture file.
"""

import dataclasses
import time

import contention
from peers import frames, loadgen, testpmd

FRONT_END_CPU = loadgen.CPU
WINDOW_N = 128  # frames under way where each buffer is mapped for one use: half a ring
TSO_SEGMENT_BYTES = 1460
TSO_FRAME_BYTES = 54 + 44 * TSO_SEGMENT_BYTES


@dataclasses.dataclass(frozen=True)
class Guest:
    """Buffers scattered over pages, one for each, and how they are mapped where there is an IOMMU.

    page: "4K" or "2M"; live: pages on one port; mapping: "static" or "dynamic", each buffer for
    one use; in_flight: invalidations at once, None: as many as there are.
    """
    page: str
    live: int
    mapping: str = "static"
    in_flight: int = None

    def __str__(self):
        how = ("mapped once" if self.mapping == "static" else
               "mapped for each use" + (", one invalidation at a time" if self.in_flight == 1
                                        else ""))
        return f"{self.live} pages of {self.page}, {how}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One load: frame size in bytes or "tso", directions (1 or 2), source addresses per side."""
    size: object
    dirs: int
    macs: int
    packed: bool = False
    guest: Guest = None     # None: buffers in a row

    @property
    def tso(self):
        return self.size == "tso"

    def __str__(self):
        size = "64 KiB TSO" if self.tso else f"{self.size} bytes"
        return (f"{size}, {'two directions' if self.dirs == 2 else 'one direction'}, "
                f"{self.macs} address{'es' if self.macs > 1 else ''}"
                + (", packed rings" if self.packed else "")
                + (f", {self.guest}" if self.guest else ""))


@dataclasses.dataclass
class Result:
    """What one run delivered, all directions summed; counts are None where not checked.

    waited_share: of the time that a busy thread wanted its CPU, how much it did not get it.
    front_end_idle_share: of the front-end's cycles; near 0, the front-end limits the switch.
    """
    pps: float
    bps: float
    per_direction_pps: list
    cycles_per_packet: float
    waited_share: float
    front_end_idle_share: float = None
    lost: int = None
    misordered: int = None
    corrupt: int = None
    received: int = None
    iommu: dict = None      # what loadgen says of its virtual IOMMU


class Loadgen:
    name = "loadgen"

    def offers(self, _cell):
        return True

    def run(self, directory, cell, system, *, seconds, warmup_s, queue_size,
            verify=False):
        role = "server" if system.front_end_listens else "client"
        memory = {}
        if guest := cell.guest:
            dynamic = guest.mapping == "dynamic"
            queue_size = min(queue_size, guest.live // 2)
            memory = {"page": guest.page, "live_pages": guest.live,
                      "iommu": guest.mapping if system.iommu else "off",
                      "in_flight": guest.in_flight, "window": WINDOW_N if dynamic else None,
                      "check_unmapped": verify and dynamic}
        child = loadgen.Loadgen(directory, [(socket, role) for socket in system.sockets],
                                size=cell.size, macs=cell.macs, dirs=cell.dirs, seconds=seconds,
                                warmup_s=warmup_s, queue_size=queue_size, verify=verify,
                                packed=cell.packed, **memory)
        try:
            child.wait_measuring()
            with contention.watching(child.popen.pid, system.pid) as watch:
                cycles = system.measure(0.7 * seconds)
            told = child.finish()
        finally:
            child.stop()
        return Result(told["rx_pps"], told["rx_bps"],
                      [direction["rx_pps"] for direction in told["per_direction"]], cycles,
                      watch.share, told["idle_share"], told["lost"], told["misordered"],
                      told["corrupt"], told["rx"], told.get("iommu"))


class TestpmdFrontEnd:
    """Ports 1 and 2 face the switch; 0 and 3 are their sources, capture files in a loop."""
    name = "testpmd"

    def offers(self, cell):
        return cell.guest is None and (not cell.tso or cell.macs == 1)

    def run(self, directory, cell, system, *, seconds, warmup_s, queue_size,
            verify=False):
        del verify
        sources = [self._source(directory, 0, cell, 10, 11),
                   self._source(directory, 1, cell, 11, 10) if cell.dirs == 2
                   else "net_null0,no-rx=1"]
        ports = [testpmd.virtio_user_vdev(n, socket, server=system.front_end_listens,
                                          queue_size=queue_size, packed=cell.packed)
                 for n, socket in enumerate(system.sockets)]
        buffers = ({"buffer_bytes": 65535, "buffers_n": 8192} if cell.tso
                   else {"buffers_n": 65536})
        with testpmd.running(directory, "frontend", [sources[0], *ports, sources[1]],
                             cpu=FRONT_END_CPU, memory_mib=1024, **buffers,
                             forward="csum" if cell.tso else "io") as front:
            if cell.tso:
                self._segment_in_hardware(front)
            system.wait_attached()
            front.wait_links_up([1, 2])
            front.start()
            time.sleep(warmup_s)
            front.command("clear fwd stats all")
            begin = time.monotonic()
            with contention.watching(front.popen.pid, system.pid) as watch:
                cycles = system.measure(seconds)
            counters = front.counters()
            elapsed_s = time.monotonic() - begin
        rates = [counters[port]["rx"] / elapsed_s for port in ((2, 1) if cell.dirs == 2 else (2,))]
        size = TSO_FRAME_BYTES if cell.tso else cell.size
        return Result(sum(rates), sum(rates) * size * 8, rates, cycles, watch.share)

    @staticmethod
    def _source(directory, index, cell, group, peer_group):
        make, size = ((frames.tcp_frame, TSO_FRAME_BYTES) if cell.tso
                      else (frames.udp_frame, cell.size))
        capture = directory / f"{cell.size}-{cell.macs}-{group}.pcap"
        if not capture.exists():
            frames.write_capture(capture, (make(size, (group, n % cell.macs),
                                                (peer_group, n % cell.macs), n)
                                           for n in range(max(cell.macs, 32))))
        return f"net_pcap{index},rx_pcap={capture},infinite_rx=1"

    @staticmethod
    def _segment_in_hardware(front):
        """Sends the 64 KiB frames with checksum and segmentation left to the receiver."""
        front.command("port stop all")
        for port in (1, 2):
            front.command(f"csum set tcp hw {port}")
            front.command(f"tso set {TSO_SEGMENT_BYTES} {port}")
        front.start_ports()


BY_NAME = {front_end.name: front_end for front_end in (Loadgen(), TestpmdFrontEnd())}
