#!/usr/bin/env python3
"""A guest behind a virtual IOMMU, as its operator sees it: counters, words, options.

    test_iommu.py HEADGATE LOADGEN     prints TAP

The guest is the load generator, which is its own front-end and virtual IOMMU.
"""

import json
import subprocess
import sys
import time

from harness import run_tests, running

LOADGEN = sys.argv[2]


def guests(daemon, seconds, *options):
    """The guests of vm1 and vm2, every byte verified."""
    return subprocess.Popen(
        [LOADGEN, "--port", str(daemon.directory / "vm1.sock"), "--port",
         str(daemon.directory / "vm2.sock"), "--seconds", str(seconds), "--verify", "--timeout",
         "90", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(what, condition, limit_s=120):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def iommu_of(daemon, port="vm1"):
    return daemon.get("/v1/stats")["ports"][port]["iommu"]


def finish(process):
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert result["rx"] > 0 and not result["misordered"] and not result["corrupt"], result
    return result


def check_counters(now):
    assert now["active"] and 0 < now["entries"] <= now["entries_max"] == 65536, now
    assert now["hits"] > 0 and 0 <= now["ahead_hits"] <= now["hits"], now
    assert now["misses"] > 0 and now["parked"] >= now["parked_now"], now
    assert now["faults"] == sum(now["faults_by_kind"].values()) == 0, now
    times = now["invalidation_ack_us"]
    assert 0 < times["median"] <= times["p99"], times
    assert times["p99"] <= times["max"] * 1.1, times  # quantiles are of classes


def counts_what_a_virtual_iommu_does():
    with running() as daemon:
        load = guests(daemon, 2, "--iommu", "dynamic", "--page", "4K", "--live-pages", "512")
        wait_for("invalidations", lambda: iommu_of(daemon)["invalidations"] > 1000)
        check_counters(iommu_of(daemon))
        port = daemon.get("/v1/ports/vm1")
        assert port["text"] == "up: 1 queue pair, behind a virtual IOMMU", port
        assert "access_platform" in port["peer_features"] and port["iommu"]["active"], port
        assert "  virtual iommu    in use: " in daemon.client("port", "show", "vm1")[1]
        table = daemon.client("stats")[1].split("\n\n")[1].splitlines()
        assert table[0].split()[:4] == ["port", "iommu", "entries", "hits"], table
        assert [line.split()[:2] for line in table[1:]] == [["vm1", "on"], ["vm2", "on"]], table
        metrics = daemon.get("/metrics")
        assert 'headgate_port_iommu_active{port="vm1"} 1\n' in metrics, metrics
        assert 'headgate_port_iommu_invalidation_ack_seconds{port="vm2",quantile="1"} 0.0' in metrics
        finish(load)
        # The guest is gone; what it did is not.
        wait_for("the end", lambda: not iommu_of(daemon)["active"])
        gone = iommu_of(daemon)
        assert gone["entries"] == 0 and gone["invalidations"] > 1000, gone
        assert "not used by the guest" in daemon.client("port", "show", "vm1")[1]


def requires_and_refuses_by_option():
    """No restart of the daemon between the three: not offered, required, and required and used."""
    with running() as daemon:
        assert daemon.client("port", "set", "vm1", "iommu=off")[0] == 0
        load = guests(daemon, 1, "--iommu", "static")
        _, err = load.communicate(timeout=180)
        assert load.returncode != 0 and "does not offer access_platform" in err, err
        finish(guests(daemon, 1))
        assert not iommu_of(daemon)["misses"]

        assert daemon.client("port", "set", "vm1", "iommu=require")[0] == 0
        load = guests(daemon, 1)
        try:
            wait_for("refusal", lambda: daemon.get("/v1/ports/vm1")["state"] == "broken")
            assert daemon.get("/v1/ports/vm1")["text"] == (
                "refused: the guest does not use the virtual IOMMU that this port requires")
        finally:
            load.kill()
            load.communicate()
        assert daemon.get("/v1/stats")["ports"]["vm1"]["rx"]["packets"] == 0
        finish(guests(daemon, 1, "--iommu", "static"))


def a_port_changes_beside_a_guest_that_goes_on():
    """vm3's options change all the time; vm1 and vm2, behind their virtual IOMMUs, lose no session."""
    with running(("vm1", "vm2", "vm3")) as daemon:
        load = guests(daemon, 2, "--iommu", "static", "--page", "4K")
        wait_for("traffic", lambda: iommu_of(daemon)["hits"] > 1000)
        for turn in range(10):
            status, port = daemon.ask("PATCH", "/v1/ports/vm3", {"iotlb_entries": 2048 + turn,
                                                                 "coalesce_us": turn})
            assert status == 200 and port["options"]["iotlb_entries"] == 2048 + turn, port
        finish(load)
        for name in ("vm1", "vm2"):
            assert daemon.get(f"/v1/ports/{name}")["reconnects"] == 0, name
        assert daemon.names() == ["vm1", "vm2", "vm3"]


run_tests([counts_what_a_virtual_iommu_does, requires_and_refuses_by_option,
           a_port_changes_beside_a_guest_that_goes_on])
