"""What the VM tests share: the way to the laboratory, TAP, and checks of a pair of guests.

A VM test is a unittest file that ends with vmtest.main(). Guests are expensive under emulation, so
a class boots a bench once and its tests share it; each test leaves it as it found it.
"""

import os
import sys
import traceback
import unittest

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(REPO, "demo"))

from lab import bench  # noqa: E402  (the path to it is set above)
from lab.accounts import Accounts  # noqa: E402

MIB = 1 << 20


class VmTest(unittest.TestCase):
    """A test on a bench with two ports, one of each role, and up to two guests."""

    PORTS = {"vm1": {"role": "server"}, "vm2": {"role": "client"}}

    @classmethod
    def guest_image(cls):
        """What the guests are made of; None: the usual."""

    @classmethod
    def setUpClass(cls):
        cls.failed = False
        cls.bench = None
        cls.addClassCleanup(cls.close_bench)

    def setUp(self):
        """Makes the bench before the first test, and a new one after a test that failed."""
        if self.bench is None:
            type(self).bench = bench.Bench(self.PORTS, guest_image=self.guest_image())
            self.bench.open()
            self.boot()

    @classmethod
    def boot(cls):
        """Boots what the tests of the class share."""
        cls.one, cls.two = cls.bench.guest("vm1"), cls.bench.guest("vm2")
        cls.bench.boot(cls.one, cls.two)

    @classmethod
    def close_bench(cls):
        """Ends everything; a daemon that ends badly or a guest that complained is a failure too."""
        if cls.bench is None:
            return
        this, cls.bench = cls.bench, None
        try:
            status = this.daemon.stop()
            complaints = {g.name: g.complaints() for g in this.guests if g.complaints()}
            cls.failed = cls.failed or status != 0 or bool(complaints)
        finally:
            this.close(failed=cls.failed)
        if status != 0:
            raise AssertionError("the daemon ended with status %s instead of 0" % status)
        if complaints:
            raise AssertionError("kernels of guests complain: %s" % complaints)

    def run(self, result=None):
        bad_before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > bad_before:
            type(self).failed = True
            if self.bench is not None:
                for line in self.bench.state().splitlines():
                    print("# " + line, flush=True)
                self.bench.keep_logs_in = log_folder(self.id())
                print("# logs: " + self.bench.keep_logs_in, flush=True)
            try:
                self.close_bench()
            except AssertionError as error:
                print("# then: %s" % error, flush=True)

    # ---- checks ----

    def check_ping(self, sender, address, count=200, interval_us=1000, payload_bytes=56):
        """Nothing lost, repeated or damaged; returns the round trip's figures."""
        report = self.with_room(
            lambda: bench.ping(sender, address, count, interval_us, payload_bytes)
        )
        for kind in ("lost", "duplicate", "damaged"):
            self.assertEqual(report[kind], 0, "ping %s to %s: %s" % (sender.name, address, report))
        return report["rtt_us"]

    def with_room(self, measure):
        """Measures again, twice at most, what lost frames because a guest had no room for them.

        A guest that the machine does not run for a while lets its receive ring fill up, and what
        does not fit is dropped, as by any card. The switch must have counted it as that.
        """
        for _ in range(2):
            full = self.full_n()
            report = measure()
            if report["lost"] == 0 or self.full_n() == full:
                return report
            self.note("a guest had no room, once more: %s" % report)
        return measure()

    def full_n(self):
        ports = self.bench.daemon.stats()["ports"].values()
        return sum(port["drops"]["tx_full"] for port in ports)

    def check_udp(self, sender, receiver, address, count=1000, payload_bytes=1400):
        report = self.with_room(
            lambda: bench.udp_stream(sender, receiver, address, count, 300, payload_bytes)
        )
        wanted = {"received": count, "lost": 0, "duplicate": 0, "damaged": 0, "reordered": 0}
        self.assertEqual(report, wanted, "UDP %s to %s" % (sender.name, address))

    def check_traffic(self, one, two, stream_bytes=8 * MIB):
        """All kinds of traffic, both ways, every byte and every frame checked."""
        accounts = Accounts(self.bench, *self.bench.guests)
        for sender, receiver in ((one, two), (two, one)):
            self.check_ping(sender, receiver.ipv4)
            self.check_ping(sender, receiver.ipv6)
            self.check_udp(sender, receiver, receiver.ipv4)
            for address in (receiver.ipv4, receiver.ipv6):
                bench.tcp_stream(sender, receiver, address, stream_bytes)
        accounts.close()
        self.assertEqual(accounts.problems(), [])
        return accounts

    def note(self, text):
        """A figure worth keeping in the test log; a TAP diagnostic."""
        print("# " + text, flush=True)


def log_folder(test_id):
    """Where the logs go when a test fails."""
    folder = os.environ.get("HEADGATE_TEST_LOGS") or os.path.join(REPO, "build", "vm-logs")
    return os.path.join(folder, test_id.partition(".")[2])


class TapResult(unittest.TestResult):
    """Prints the results as TAP while they come."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def line(self, text, test, error=None):
        """A result; of an error first what it says, then where: a long report is cut at its end."""
        self.number += 1
        name = test.id().partition(".")[2] if hasattr(test, "id") else str(test)
        print("%s %d - %s" % (text, self.number, name), flush=True)
        if error:
            rows = "".join(traceback.format_exception_only(error[0], error[1])).splitlines()
            rows += [
                "  at %s:%d, %s: %s" % (os.path.basename(at.filename), at.lineno, at.name, at.line)
                for at in reversed(traceback.extract_tb(error[2]))
            ]
            for row in rows:
                print("# " + row, flush=True)

    def addSuccess(self, test):
        self.line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("not ok", test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.line("not ok", test, err)


def main():
    """Runs the tests of the calling script; arguments select some, as unittest's -k."""
    loader = unittest.TestLoader()
    loader.testNamePatterns = ["*%s*" % word for word in sys.argv[1:]] or None
    suite = loader.loadTestsFromModule(sys.modules["__main__"])
    result = TapResult()
    suite.run(result)
    print("1..%d" % result.number)
    sys.exit(0 if result.wasSuccessful() and result.number > 0 else 1)
