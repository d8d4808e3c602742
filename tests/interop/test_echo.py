#!/usr/bin/env python3
"""The example vhost-echo with DPDK's virtio-user driver as its guest: frames bounce between the two."""

import os
import subprocess
import time
from pathlib import Path

from lines import LineTest, main
from peers import testpmd
from peers.process import wait_until

EXAMPLE = Path(os.environ["HEADGATE_BUILD"]) / "examples/4-vhost-echo"


class Echo(LineTest):
    def test_frames_bounce(self):
        socket = self.directory / "echo.sock"
        echo = subprocess.Popen([EXAMPLE, "-c", "0", socket], stdout=subprocess.PIPE, text=True)
        try:
            wait_until(socket.exists, 10, "the echo's socket")
            guest = self.enter(testpmd.running(self.directory, "guest",
                                               [testpmd.virtio_user_vdev(0, socket)], cpu=1,
                                               memory_mib=256, forward="io"))
            guest.start(tx_first_bursts=2)
            time.sleep(1)
            guest.command("stop")
        finally:
            echo.terminate()
            report = echo.communicate(timeout=20)[0]
        self.assertEqual(0, echo.returncode)
        # 64 frames were sent first; all others are echoes of echoes.
        self.assertRegex(report, r"port 0 vhost-user0: rx \d{4,}, tx \d{4,}")


if __name__ == "__main__":
    main()
