"""What the interoperation tests share: frames, the comparison, and how a file of tests ends."""

import contextlib
import os
import sys
import unittest

from peers import frames, station
from peers.process import Unavailable, private_dir

SKIPPED = 77                    # meson's status for a test that could not run here
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


def main():
    """Runs the tests of the calling file; the exit status says skipped when all of them were."""
    program = unittest.main(module="__main__", verbosity=2, exit=False)
    result = program.result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.testsRun and len(result.skipped) == result.testsRun else os.EX_OK)
