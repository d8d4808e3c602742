#!/usr/bin/env python3
"""The client: what it prints, what it says when it is refused, and its exit status.

    test_client.py HEADGATE     prints TAP
"""

import json
import os
import shutil
import struct
import subprocess
import time

from frontend import RING_BYTES, FrontEnd
from harness import HEADGATE, client, directory, run_tests, running

COMMANDS = ["run", "config check", "port list", "port show", "port add", "port set", "port del", "bridge list",
            "bridge show", "fdb show", "stats", "drops", "version", "help"]


def rows(text):
    return [line.split() for line in text.splitlines()]


def shows_ports():
    with running() as daemon:
        status, out, err = daemon.client("port", "list")
        assert (status, err) == (0, ""), err
        assert rows(out) == [["port", "type", "bridge", "state", "queues"],
                             ["vm1", "vhost-user", "br0", "waiting", "0"],
                             ["vm2", "vhost-user", "br0", "waiting", "0"]], out
        status, out, err = daemon.client("port", "show", "vm1")
        assert status == 0 and out.startswith("vm1: vhost-user on bridge br0\n"), out
        assert f"path={daemon.directory}/vm1.sock" in out, out
        status, out, err = daemon.client("-j", "port", "show", "vm1")
        assert json.loads(out)["name"] == "vm1", out


def adds_and_removes_ports():
    with running() as daemon:
        sock = f"socket={daemon.directory}/vm3.sock"
        status, out, err = daemon.client("port", "add", "vm3", "type=vhost-user", "bridge=br0",
                                         sock, "queues=2")
        assert (status, err) == (0, "") and out.startswith("vm3: "), (out, err)
        assert daemon.names() == ["vm1", "vm2", "vm3"]
        assert daemon.client("port", "add", "vm3", "type=vhost-user", "bridge=br0", sock) == (
            1, "", "headgate: there is a port 'vm3' already; expected a new name\n")
        assert daemon.client("port", "del", "vm3") == (0, "", "")
        assert daemon.client("port", "del", "vm3") == (
            1, "", "headgate: there is no port 'vm3'\n")
        assert daemon.client("port", "show", "a/../b") == (
            1, "", "headgate: there is no port 'a/../b'\n")
        assert daemon.client("port", "add", "x/y", "type=vhost-user")[0] == 1
        assert daemon.client("port", "add", "vm4", "type") == (
            2, "", "headgate: port add: 'type': expected KEY=VALUE\n")
        assert daemon.client("port", "add", "vm4", "mtu=1", "mtu=2") == (
            2, "", "headgate: port add: 'mtu' is given twice\n")
        assert daemon.names() == ["vm1", "vm2"]


def changes_a_port():
    with running() as daemon:
        status, out, err = daemon.client("port", "set", "vm1", "coalesce_us=50", "iommu=require")
        assert (status, err) == (0, "") and out.startswith("vm1: vhost-user on bridge br0\n"), out
        assert ["coalesce_us", "50"] in rows(out) and ["iommu", "require"] in rows(out), out
        assert ["queues", "8"] in rows(out), out
        assert "-device intel-iommu," in out and "iommu_platform=on" in out, out
        assert daemon.client("port", "set", "vm1", "queues=0") == (
            1, "", "headgate: queues: found '0'; expected a number from 1 to 16\n")
        assert daemon.client("port", "set", "vm3", "queues=1") == (
            1, "", "headgate: there is no port 'vm3'\n")
        assert daemon.client("port", "set", "vm1", "queues") == (
            2, "", "headgate: port set: 'queues': expected KEY=VALUE\n")


def state_of(daemon, name):
    """The line of `port show` about the state."""
    line = daemon.client("port", "show", name)[1].splitlines()[1].split(maxsplit=1)
    assert line[0] == "state", line
    return line[1]


def wait_for_state(daemon, name, wanted):
    deadline = time.monotonic() + 60
    while state_of(daemon, name) != wanted:
        assert time.monotonic() < deadline, (state_of(daemon, name), wanted)
        time.sleep(0.02)


def says_what_a_session_waits_for_and_why_it_broke():
    with running() as daemon:
        path = daemon.directory / "vm1.sock"
        assert state_of(daemon, "vm1") == f"waiting for a front-end to connect to {path}"
        guest = FrontEnd(path)
        wait_for_state(daemon, "vm1",
                       "waiting: connected, waiting for the features that it accepts")
        guest.start()
        wait_for_state(daemon, "vm1", "up: 1 queue pair")
        # What it transmits begins with a descriptor that there is not.
        guest.memory[RING_BYTES + 4096:RING_BYTES + 4102] = struct.pack("=HHH", 0, 1, 999)
        os.eventfd_write(guest.kick[1], 1)
        broken = "ring 1 is broken: descriptor index not below the ring's size (999)"
        wait_for_state(daemon, "vm1", "broken: " + broken)
        assert daemon.get("/v1/ports/vm1")["text"] == broken
        assert ["vm1", "vhost-user", "br0", "broken", "0"] in rows(
            daemon.client("port", "list")[1])
        # Options change here too; the session ends with the port that it belonged to.
        assert daemon.client("port", "set", "vm1", "queues=1")[0] == 0
        assert state_of(daemon, "vm1") == f"waiting for a front-end to connect to {path}"
        guest.close()
        guest = FrontEnd(path)
        guest.start()
        wait_for_state(daemon, "vm1", "up: 1 queue pair")
        guest.close()


def shows_bridges_and_counters():
    with running() as daemon:
        assert rows(daemon.client("bridge", "list")[1]) == [["bridge", "ports", "addresses"],
                                                            ["br0", "2", "0"]]
        assert "vm1 vm2" in daemon.client("bridge", "show", "br0")[1]
        assert daemon.client("bridge", "show", "br1") == (
            1, "", "headgate: there is no bridge 'br1'\n")
        assert rows(daemon.client("fdb", "show")[1]) == [
            ["address", "vlan", "bridge", "port", "seen"]]
        assert daemon.client("fdb", "show", "br1")[0] == 1
        assert json.loads(daemon.client("fdb", "show", "br0", "-j")[1]) == []
        out = daemon.client("stats")[1]
        assert out.startswith("port  state ") and "worker  cpu" in out, out
        assert "queue" in daemon.client("stats", "-a")[1]
        assert set(json.loads(daemon.client("stats", "-j")[1])["ports"]) == {"vm1", "vm2"}
        assert daemon.client("drops")[1] == "nothing was dropped\n"
        assert "tx_full" in daemon.client("drops", "--all")[1]
        assert len(json.loads(daemon.client("drops", "-j")[1])) > 10


def says_that_nobody_is_there():
    with directory() as path:
        assert client("-s", path / "no.sock", "port", "list") == (
            1, "", f"headgate: nobody answers at {path}/no.sock; expected `headgate run` by the "
            "same user, or -s with the socket of another\n")


def says_that_somebody_else_is_there():
    with running() as daemon:
        status, _, err = client("-s", daemon.directory / "vm1.sock", "port", "list")
        assert status == 1, status
        assert f"what answers at {daemon.directory}/vm1.sock does not speak HTTP" in err, err
        if os.geteuid() == 0:
            daemon.directory.chmod(0o711)
            program = daemon.directory.parent / f"{daemon.directory.name}-client"
            shutil.copy(HEADGATE, program)
            try:
                got = client("-s", daemon.api, "port", "list", program=program, user=65534)
            finally:
                program.unlink()
            assert got == (1, "", f"headgate: may not open {daemon.api}; expected to be the user who "
                           "started `headgate run` there, or root\n"), got


def says_that_its_answer_was_lost():
    with open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([HEADGATE, "version"], stdout=full, stderr=subprocess.PIPE, text=True,
                                timeout=60, check=False)
    assert (result.returncode, result.stderr) == (
        1, "headgate: standard output does not take all of the answer\n"), result


def knows_a_wrong_command_line():
    for argv, sentence in [
            ([], "no command; `headgate help` lists them"),
            (["frob"], "there is no command 'frob'; `headgate help` lists them"),
            (["port"], "port what? Expected one of list, show, add, set, del"),
            (["config"], "config what? Expected check"),
            (["version", "x"],
             "version: found 1 operand, expected no operands; see `headgate help version`"),
            (["run", "-c", ""], "-c: found nothing, expected the name of a file"),
            (["run", "-s", "a.sock"],
             "-s: found 'a.sock'; expected the absolute path of a socket, at most 107 bytes"),
            (["port", "frob"],
             "there is no command 'port frob'; expected one of list, show, add, set, del"),
            (["port", "set", "vm1"],
             "port set: found 1 operand, expected the NAME of a port and KEY=VALUE...; see "
             "`headgate help port set`"),
            (["port", "show"],
             "port show: found 0 operands, expected the NAME of a port; see `headgate help port show`"),
            (["port", "list", "x"],
             "port list: found 1 operand, expected no operands; see `headgate help port list`"),
            (["drops", "-w"], "'drops' takes no -w; see `headgate help drops`"),
            (["port", "list", "--frob"], "unrecognized option '--frob'"),
            (["stats", "-s"], "option requires an argument -- 's'"),
            (["stats", "-s", "x" * 200], "-s: expected the path of a socket, at most 107 bytes")]:
        assert client(*argv) == (2, "", f"headgate: {sentence}\n"), (argv, client(*argv))


def helps_with_every_command():
    listing = client("help")[1]
    for command in COMMANDS:
        assert f"  headgate {command} " in listing, command
        status, out, _ = client("help", *command.split())
        assert status == 0 and out.startswith(f"headgate {command}"), out
        assert client(*command.split(), "--help") == (0, out, ""), command
    assert client("--help") == (0, listing, "")
    assert client("--version") == client("version")


run_tests([
    shows_ports,
    adds_and_removes_ports,
    changes_a_port,
    says_what_a_session_waits_for_and_why_it_broke,
    shows_bridges_and_counters,
    says_that_nobody_is_there,
    says_that_somebody_else_is_there,
    says_that_its_answer_was_lost,
    knows_a_wrong_command_line,
    helps_with_every_command,
])
