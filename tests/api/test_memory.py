#!/usr/bin/env python3
"""Front-ends that truncate their memory under the daemon, while others carry traffic.

    test_memory.py HEADGATE LOADGEN     prints TAP
"""

import json
import os
import subprocess
import sys
import time

from frontend import RING_BYTES, FrontEnd
from harness import run_tests, running

LOADGEN = sys.argv[2]


def wait_for(daemon, what, found):
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, (what, daemon.get("/v1/ports"))
        time.sleep(0.01)


def port(daemon, name):
    return next(port for port in daemon.get("/v1/ports") if port["name"] == name)


def take_memory_away(daemon, keep_bytes):
    """One session of vm3, from its start to its end by truncation."""
    guest = FrontEnd(daemon.directory / "vm3.sock")
    guest.start()
    wait_for(daemon, "vm3 to be up", lambda: port(daemon, "vm3")["state"] == "up")
    guest.offer(0, 8 * RING_BYTES, 2048, True)
    guest.truncate(keep_bytes)
    if keep_bytes:  # the rings are there, the frame is not
        guest.offer(1, 8 * RING_BYTES, 100, False)
    else:
        os.eventfd_write(guest.kick[1], 1)
    wait_for(daemon, "vm3 to be broken",
             lambda: "memory file was truncated" in port(daemon, "vm3")["text"])
    assert port(daemon, "vm3")["state"] == "broken", port(daemon, "vm3")
    guest.close()


def a_truncated_memory_file_breaks_one_port():
    with running(("vm1", "vm2", "vm3")) as daemon:
        guests = subprocess.Popen(
            [LOADGEN, "--port", str(daemon.directory / "vm1.sock"), "--port",
             str(daemon.directory / "vm2.sock"), "--seconds", "3", "--verify", "--macs", "16",
             "--timeout", "90"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(daemon, "traffic",
                 lambda: daemon.get("/v1/stats")["ports"]["vm2"]["tx"]["packets"] > 1000)
        for turn in range(10):
            take_memory_away(daemon, 0 if turn % 2 else 2 * RING_BYTES)
        assert port(daemon, "vm1")["state"] == "up", port(daemon, "vm1")
        out, err = guests.communicate(timeout=180)
        assert guests.returncode == 0, err
        result = json.loads(out)
        assert result["rx"] > 0 and not result["misordered"] and not result["corrupt"], result


run_tests([a_truncated_memory_file_breaks_one_port])
