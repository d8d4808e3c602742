"""Child processes that do not outlive us."""

import ctypes
import glob
import os
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1


class LabError(Exception):
    """Something of the laboratory broke; the text is meant to be read by the user."""


def start(command, log, cwd=None):
    """Starts a command with its output in the file `log`. The kernel ends it if we die first.

    Call it from the main thread: the kernel watches the thread that forked, not the process.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def die_with_parent():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )


def stop(process, timeout_s=30):
    """Asks a process to end, then insists. Returns its status, None if it had to be killed."""
    if process.poll() is not None:
        return process.returncode
    process.terminate()
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


class Limit:
    """A time limit for what hangs; it must never decide over what is merely slow.

    Limits are wide, since a test that passes does not wait for them. And they count the time in
    which somebody looked: a machine that stands still for a minute, as virtual ones do while they
    are moved, finds everything where it was, and less than LOOK_MAX_S of its limit used up.
    """

    LOOK_MAX_S = 5

    def __init__(self, seconds):
        self.left_s = seconds
        self.looked = time.monotonic()

    def passed(self):
        now = time.monotonic()
        self.left_s -= min(now - self.looked, self.LOOK_MAX_S)
        self.looked = now
        return self.left_s < 0


def wait_until(condition, timeout_s, what, every_s=0.02):
    """Waits for condition() to be true, returns its value; LabError names what did not happen."""
    limit = Limit(timeout_s)
    while True:
        value = condition()
        if value:
            return value
        if limit.passed():
            raise LabError("%s: not within %g s" % (what, timeout_s))
        time.sleep(every_s)


def threads(pid):
    """Name, state and processor seconds of each thread: whether it runs, waits or is stuck."""
    found = []
    for folder in sorted(glob.glob("/proc/%d/task/*" % pid)):
        try:
            with open(folder + "/stat", encoding="ascii", errors="replace") as stat:
                head, _, rest = stat.read().rpartition(")")
        except OSError:
            continue
        fields = rest.split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        found.append("%s %s %.1f s" % (head.partition("(")[2], fields[0], seconds))
    return ", ".join(found) or "none"


def tail(path, lines_n=15):
    """The last lines of a log, indented, for an error's text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return "".join("    " + line.rstrip() + "\n" for line in log.readlines()[-lines_n:])
    except FileNotFoundError:
        return ""
