"""How much a run was disturbed on its own machine.

The kernel counts for every thread the time it spent on a CPU and the time it waited for one
(/proc/PID/task/TID/schedstat, nanoseconds). The forwarding thread and the load generator should
have a CPU each to themselves: what their processes' busiest threads waited is somebody else's work.
"""

import contextlib
import pathlib

DISTURBED_SHARE = 0.06    # a switch's own slow path and timers stay below


class Watch:
    """The waiting of some processes; `share` is of the worst of them, set when the body ends."""
    share = 0.0


def _threads(pid):
    times = {}
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            ran_ns, waited_ns, _ = map(int, path.read_text().split())
            times[path.parent.name] = ran_ns, waited_ns
    return times


def _share(before, after):
    """Waiting as a share of the time the busiest thread wanted to run."""
    deltas = [(ran - before[tid][0], waited - before[tid][1])
              for tid, (ran, waited) in after.items() if tid in before]
    ran_ns, waited_ns = max(deltas, default=(0, 0))
    return waited_ns / (ran_ns + waited_ns) if ran_ns else 0.0


@contextlib.contextmanager
def watching(*pids):
    before = {pid: _threads(pid) for pid in pids}
    watch = Watch()
    yield watch
    watch.share = max(_share(before[pid], _threads(pid)) for pid in pids)
