"""What the interoperation tests share: frames, the comparison, and how a file of tests ends."""

import contextlib
import sys
import unittest

from peers import frames, station
from peers.process import Unavailable, end_cleanly_on_signals, private_dir

A, B = 10, 11                   # groups of the two ends' addresses
# Frames that fit a ring of 1024: in one descriptor each, and in chains of 128 bytes each.
WHOLE_N = 900
CHAINED_N = 75


def frames_from(group, peer_group, count_n, *, largest=1518):
    """count_n frames of all lengths from 64 to `largest`, from 16 addresses to 16 others."""
    span = largest - 63
    return [frames.udp_frame(64 + number * 89 % span, (group, number % 16),
                             (peer_group, number % 16), number) for number in range(count_n)]


class LineTest(unittest.TestCase):
    """A test with a private directory, closed after everything that was entered."""

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.directory = self.enter(private_dir())

    def enter(self, manager):
        """Enters a context manager for the length of the test; Unavailable becomes a skip."""
        try:
            return self.stack.enter_context(manager)
        except Unavailable as reason:
            self.skipTest(str(reason))

    def station(self, name, vdev, own_frames, **options):
        return self.enter(station.running(self.directory, name, vdev, own_frames, **options))

    def check_exchange(self, a, b, *, order_of_flows=True):
        """Everything arrives at the other end: every frame, unchanged, in order, and no other.

        Without order_of_flows only the frames between the same two addresses keep their order:
        OVS hands a burst on flow by flow.
        """
        at_a, at_b = station.exchange(a, b)
        for way, sent, received in (("a to b", a.sent, at_b), ("b to a", b.sent, at_a)):
            self.assertEqual(len(sent), len(received), f"{way}: frames sent and received")
            if not order_of_flows:
                sent, received = (sorted(f, key=lambda frame: frame[:12]) for f in (sent, received))
            self.same_frames(sent, received, way)

    def check_load(self, figures):
        """A verified loadgen run: frames in both directions, all of them whole and in order."""
        for way in figures["per_direction"]:
            self.assertGreater(way["rx_pps"], 0, figures)
        self.assertEqual((0, 0), (figures["misordered"], figures["corrupt"]), figures)

    def same_frames(self, sent, received, way):
        for number, (expected, got) in enumerate(zip(sent, received)):
            self.assertEqual(expected.hex(), got.hex(), f"{way}: frame {number} of {len(sent)}")


class Tap(unittest.TestResult):
    """Prints the Test Anything Protocol, a line as each test ends."""

    def _line(self, ok, test, directive=""):
        name = test.id().partition(".")[2]
        print(f"{'ok' if ok else 'not ok'} {self.testsRun} - {name}{directive}", flush=True)

    def _failed(self, test, error):
        for line in self._exc_info_to_string(error, test).splitlines():
            print(f"# {line}")
        self._line(False, test)

    def addSuccess(self, test):
        self._line(True, test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._failed(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line(True, test, f" # SKIP {reason}")

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err:
            self._failed(subtest, err)


def main():
    """Runs the calling file's tests, or those named as arguments (TestClass.test_name)."""
    end_cleanly_on_signals()
    module = sys.modules["__main__"]
    suite = (unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:]
             else unittest.defaultTestLoader.loadTestsFromModule(module))
    print(f"1..{suite.countTestCases()}", flush=True)
    result = Tap()
    suite.run(result)
    sys.exit(0 if result.wasSuccessful() else 1)
