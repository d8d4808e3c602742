"""Our own load generator, bench/loadgen: two front-ends on one CPU that number and check frames."""

import json
import subprocess

from .headgate import built
from .process import Child, PeerFailed

CPU = 1
ATTACH_TIMEOUT_S = 60


class Loadgen(Child):
    """A running loadgen; finish() waits for its figures."""

    def __init__(self, directory, ports, *, size, macs, dirs, seconds, warmup_s, verify=False,
                 queue_size=1024, packed=False, iommu="off", page=None, live_pages=None,
                 check_unmapped=False, in_flight=None, window=None):
        """ports: two (socket, role), role client (it connects) or server (it listens).

        page: "4K" or "2M", a page for each buffer, live_pages of them on each port; None: buffers
        in a row. iommu: "off", "static" or "dynamic", see bench/loadgen/ring.h; in_flight
        invalidations at once. window: frames under way in one direction.
        """
        argv = [built("bench/loadgen")]
        for socket, role in ports:
            argv += ["--port", f"{socket},{role}"]
        argv += ["--size", size, "--macs", macs, "--dirs", dirs, "--seconds", seconds,
                 "--warmup", warmup_s, "--cpu", CPU, "--queue-size", queue_size,
                 "--timeout", ATTACH_TIMEOUT_S]
        argv += ["--iommu", iommu] if iommu != "off" else []
        argv += ["--in-flight", in_flight] if in_flight else []
        argv += ["--window", window] if window else []
        argv += ["--page", page, "--live-pages", live_pages] if page else []
        for flag, wanted in (("--verify", verify), ("--packed", packed),
                             ("--check-unmapped", check_unmapped)):
            argv += [flag] if wanted else []
        # It first shows every address to the switch, 20,000 a second and side, twice.
        self.until_measuring_s = ATTACH_TIMEOUT_S + macs / 10000 + 2 * warmup_s
        self.timeout_s = self.until_measuring_s + 10 * seconds
        log = directory / "loadgen.log"
        log.unlink(missing_ok=True)     # an earlier run's words must not be taken for this one's
        super().__init__(argv, log, stdout=subprocess.PIPE)

    def wait_measuring(self):
        """Until the switch is attached and warm, and the measured interval begins."""
        self.wait_for_output("loadgen: measuring", self.until_measuring_s)

    def finish(self):
        """The figures it printed, as a dictionary; PeerFailed when it complains or hangs."""
        try:
            answer, _ = self.popen.communicate(timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise PeerFailed(f"loadgen did not end within {self.timeout_s} s:\n"
                             f"{self.tail()}") from None
        if self.popen.returncode:
            raise PeerFailed(f"loadgen: status {self.popen.returncode}:\n{self.tail()}")
        return json.loads(answer)


def run(directory, ports, *, warmup_s=0.3, **options):
    """One complete run; the figures."""
    return Loadgen(directory, ports, warmup_s=warmup_s, **options).finish()
