"""Child processes that do not outlive us."""

import ctypes
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


def stop(process, timeout_s=10):
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


def wait_until(condition, timeout_s, what, every_s=0.02):
    """Waits for condition() to be true, returns its value; LabError names what did not happen."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError("%s: not within %g s" % (what, timeout_s))
        time.sleep(every_s)


def tail(path, lines_n=15):
    """The last lines of a log, indented, for an error's text."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return "".join("    " + line.rstrip() + "\n" for line in log.readlines()[-lines_n:])
    except FileNotFoundError:
        return ""
