"""Working ahead: what later steps of tools/check need is done while tests run, on processors that the
tests leave idle.

Nothing depends on it, and nobody reads what it says. The step itself, when its turn comes, stops the
work ahead, goes on from what is there (ninja's outputs, marks of files and models), and judges. Why not wait
for it instead: on a machine that others keep busy, it gets next to nothing.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


class Ahead:
    """A process that does a list of work in its order. It is this script again, with `--ahead WORK...`,
    and runs do_ahead()."""

    def __init__(self):
        self.work = []
        self.child = None

    def start(self):
        if self.work:
            self.child = subprocess.Popen([sys.executable, sys.argv[0], "--ahead", *self.work],
                                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          start_new_session=True)

    def stop(self):
        """Returns when nothing of it runs any more: when nobody holds its pipe open."""
        if self.child is not None:
            os.killpg(self.child.pid, signal.SIGTERM)
            self.child.communicate()
            self.child = None

    @contextlib.contextmanager
    def instead(self, work):
        """Around the place where that work is done in earnest."""
        self.stop()
        self.work = [other for other in self.work if other != work]
        yield
        self.start()


def give_way():
    """Runs this process, and what it starts, only where nobody else wants to run. SCHED_IDLE counts within
    a session; the kernel shares processors out among sessions first (sched(7), autogroup)."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):      # no autogroups here
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")
