"""Child processes that end with us, and a private directory for each harness.

A child is only ever ended through the handle of the process we started, never by name. Its
output goes to a file in the private directory, so that a failure can show what the peer said.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1
LOOK_MAX_S = 5
_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """This machine lacks something that the peer needs: a reason to skip, not a failure."""


class PeerFailed(Exception):
    """A peer did not start, ended early or did not answer in time."""


def find_program(name, package, extra_dirs=()):
    """The path of a program, or Unavailable with the Debian package that has it."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", *extra_dirs])
    found = shutil.which(name, path=path)
    if not found:
        raise Unavailable(f"{name} is not installed (Debian package {package})")
    return found


@contextlib.contextmanager
def private_dir():
    """A directory for sockets, logs and captures; kept (and named) when HEADGATE_KEEP is set.

    It lies in /tmp whatever TMPDIR says, because a UNIX socket's path has 107 bytes.
    """
    path = pathlib.Path(tempfile.mkdtemp(prefix="hg-", dir="/tmp"))
    try:
        yield path
    finally:
        if os.environ.get("HEADGATE_KEEP"):
            print(f"# kept: {path}", flush=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def wait_until(condition, timeout_s, what):
    """Polls until condition() is true and returns its value; PeerFailed after timeout_s.

    Limits are for what hangs, not for what is slow: they are wide, and a pause of the whole machine
    between two looks counts LOOK_MAX_S at most.
    """
    left_s, looked = timeout_s, time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        now = time.monotonic()
        left_s -= min(now - looked, LOOK_MAX_S)
        looked = now
        if left_s < 0:
            raise PeerFailed(f"no {what} within {timeout_s} s")
        time.sleep(0.05)


def end_cleanly_on_signals():
    """Makes SIGTERM and SIGHUP leave through every `finally`, as SIGINT does: what was borrowed is
    given back also when a time limit ends the harness."""
    def leave(number, _frame):
        sys.exit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A process of ours with its output in a log file."""

    def __init__(self, argv, log, *, cpu=None, stdin=subprocess.DEVNULL, stdout=None, stderr=None,
                 env=None):
        """Starts argv; the output streams go to the file `log` unless given."""
        self.name = pathlib.Path(argv[0]).name
        self.log = pathlib.Path(log)

        def before_exec():
            _die_with_parent()
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})

        with open(self.log, "ab") as sink:
            self.popen = subprocess.Popen(
                [str(a) for a in argv], stdin=stdin, stdout=stdout or sink,
                stderr=stderr or sink,
                preexec_fn=before_exec, env={**os.environ, **(env or {})})

    def alive(self):
        return self.popen.poll() is None

    def expect_alive(self):
        """PeerFailed, with the end of the log, when the process is gone."""
        if not self.alive():
            raise PeerFailed(f"{self.name} ended with status {self.popen.returncode}:\n"
                             f"{self.tail()}")

    def tail(self, lines_n=15):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join("    " + line for line in text.splitlines()[-lines_n:])

    def wait_for(self, condition, timeout_s, what):
        """wait_until, but a child that died is reported at once."""
        def check():
            self.expect_alive()
            return condition()
        try:
            return wait_until(check, timeout_s, what)
        except PeerFailed as error:
            raise PeerFailed(f"{self.name}: {error}\n{self.tail()}") from None

    def wait_for_output(self, text, timeout_s=60):
        return self.wait_for(lambda: text in self.log.read_text(errors="replace"), timeout_s,
                             f"line with {text!r}")

    def pause(self):
        """Takes the process off its CPU until resume(), with everything it holds."""
        self.expect_alive()
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self):
        self.popen.send_signal(signal.SIGCONT)

    def stop(self, timeout_s=30):
        """SIGTERM, then SIGKILL after timeout_s. Returns the exit status."""
        if self.alive():
            self.popen.terminate()
            self.resume()
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()
