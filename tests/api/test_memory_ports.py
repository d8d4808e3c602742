#!/usr/bin/env python3
"""Memory ports in the daemon: what a generator makes arrives at a sink, whole and in order.

    test_memory_ports.py HEADGATE     prints TAP
"""

import time

from harness import client, directory, Daemon, run_tests


def configuration(path, *ports):
    return "\n".join([f"api: {path}/api.sock", "bridges: { br0: }", "ports:"]
                     + [f"  {port}" for port in ports]) + "\n"


def wait_for(daemon, port, text):
    """The port's status, when it says so."""
    for _ in range(500):
        status = daemon.get(f"/v1/ports/{port}")["text"]
        if status == text:
            return
        time.sleep(0.02)
    raise AssertionError(f"{port}: {status!r}, expected {text!r}")


def a_sink_gets_all_that_a_generator_makes():
    with directory() as path:
        daemon = Daemon(path, configuration(
            path, "sink: { type: sink, bridge: br0 }",
            "gen: { type: generator, bridge: br0, count: 100000, size: 1514, flows: 100 }"))
        wait_for(daemon, "gen", "ended: all 100000 frames are made")
        wait_for(daemon, "sink",
                 "up: 100000 frames, 0 missing, 0 late, 0 spoilt, 0 of no generator")
        stats = daemon.get("/v1/stats")["ports"]
        assert stats["gen"]["rx"]["packets"] == stats["sink"]["tx"]["packets"] == 100000, stats
        assert stats["sink"]["tx"]["bytes"] == 151400000, stats
        assert daemon.stop() == (0, ""), "ends"


def a_generator_with_a_rate_lets_its_worker_sleep():
    with directory() as path:
        daemon = Daemon(path, configuration(
            path, "gen: { type: generator, bridge: br0, rate: 50 }",
            "null: { type: 'null', bridge: br0 }"))
        time.sleep(1)
        worker = daemon.get("/v1/stats")["workers"][0]
        assert 25 <= worker["packets"] <= 100, worker
        assert worker["sleeps"] >= 20, worker
        assert daemon.stop() == (0, ""), "ends"


def a_loop_sends_back():
    """The bridge learns the generator's address behind the loop, and refuses to send a frame back."""
    with directory() as path:
        daemon = Daemon(path, configuration(
            path, "loop: { type: loop, bridge: br0 }",
            "gen: { type: generator, bridge: br0, count: 1 }"))
        wait_for(daemon, "gen", "ended: all 1 frames are made")
        time.sleep(0.2)
        stats = daemon.get("/v1/stats")["ports"]
        assert stats["loop"]["rx"]["packets"] == 1, stats
        assert stats["gen"]["tx"]["packets"] == 1, stats
        assert daemon.stop() == (0, ""), "ends"


def options_are_checked_with_line_and_column():
    with directory() as path:
        file = path / "headgate.yaml"
        file.write_text(configuration(path, "gen: { type: generator, bridge: br0, dst: 10/8 }"))
        got = client("config", "check", file)
        assert got[0] == 1 and f"{file}:4:45: dst: found '10/8'; expected an IPv4 prefix" in got[2], got


run_tests([a_sink_gets_all_that_a_generator_makes, a_generator_with_a_rate_lets_its_worker_sleep,
           a_loop_sends_back, options_are_checked_with_line_and_column])
