#!/usr/bin/env python3
"""Ports that come and go while others carry traffic.

    test_traffic.py HEADGATE LOADGEN     prints TAP
"""

import json
import subprocess
import sys
import time

from harness import run_tests, running

LOADGEN = sys.argv[2]


def load(daemon, seconds):
    """The load generator as the guests of vm1 and vm2, every byte verified."""
    return subprocess.Popen(
        [LOADGEN, "--port", str(daemon.directory / "vm1.sock"), "--port",
         str(daemon.directory / "vm2.sock"), "--seconds", str(seconds), "--verify", "--macs", "16",
         "--timeout", "90"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_traffic(daemon, more_than=0):
    deadline = time.monotonic() + 120
    while True:
        ports = daemon.get("/v1/stats")["ports"]
        if min(ports[name]["tx"]["packets"] for name in ("vm1", "vm2")) > more_than:
            return
        assert time.monotonic() < deadline, ports
        time.sleep(0.05)


def check_account(stats):
    """Every frame received was transmitted or has a name."""
    ports = stats["ports"].values()
    received = sum(port["rx"]["packets"] + port["rx"]["replicated"] for port in ports)
    sent = sum(port["tx"]["packets"] for port in ports)
    dropped = sum(sum(port["drops"].values()) for port in ports)
    assert received == sent + dropped, (received, sent, dropped)


def neighbours_come_and_go():
    with running() as daemon:
        guests = load(daemon, 2)
        wait_for_traffic(daemon, 1000)
        for turn in range(10):
            assert daemon.add(f"t{turn}")[0] == 201
            assert daemon.add(f"u{turn}", type="virtio-user")[0] == 201
            assert daemon.ask("PATCH", f"/v1/ports/t{turn}", {"coalesce_us": turn + 1})[0] == 200
            assert daemon.ask("DELETE", f"/v1/ports/t{turn}")[0] == 204
            assert daemon.ask("DELETE", f"/v1/ports/u{turn}")[0] == 204
        out, err = guests.communicate(timeout=180)
        assert guests.returncode == 0, err
        result = json.loads(out)
        assert result["rx"] > 0, result
        assert not result["misordered"] and not result["corrupt"], result
        stats = daemon.get("/v1/stats")
        check_account(stats)
        for port in stats["ports"].values():
            unexpected = {reason for reason, n in port["drops"].items() if n}
            unexpected -= {"tx_full", "port_down"}  # full rings; one guest ends first
            assert not unexpected, port["drops"]
        assert stats["workers"][0]["packets"] > 0, stats["workers"]
        assert {address["port"] for address in daemon.get("/v1/fdb")} == {"vm1", "vm2"}


def a_port_goes_under_load():
    with running() as daemon:
        guests = load(daemon, 2)
        wait_for_traffic(daemon, 1000)
        assert daemon.ask("DELETE", "/v1/ports/vm1")[0] == 204
        assert {address["port"] for address in daemon.get("/v1/fdb")} <= {"vm2"}
        assert daemon.names() == ["vm2"]
        assert daemon.add("vm1")[0] == 201
        guests.communicate(timeout=180)
        # And the next guests find it working.
        guests = load(daemon, 1)
        out, err = guests.communicate(timeout=180)
        assert guests.returncode == 0 and json.loads(out)["rx"] > 0, (out, err)


def ends_under_load():
    with running() as daemon:
        guests = load(daemon, 3)
        wait_for_traffic(daemon, 1000)
    guests.communicate(timeout=180)


run_tests([neighbours_come_and_go, a_port_goes_under_load, ends_under_load])
