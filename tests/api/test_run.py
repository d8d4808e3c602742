#!/usr/bin/env python3
"""`headgate run`: how it starts, what it refuses, how it ends.

    test_run.py HEADGATE     prints TAP
"""

import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import time

from harness import HEADGATE, Daemon, client, config, directory, run_tests, running


def refused(path, text, sentence, status=1):
    """The configuration is refused with that sentence, and nothing is left behind."""
    file = path / "headgate.yaml"
    file.write_text(text)
    before = sorted(path.iterdir())
    got = client("run", "-c", file)
    assert got == (status, "", f"headgate: {sentence}\n"), got
    assert sorted(path.iterdir()) == before, list(path.iterdir())


def refuses_a_bad_configuration():
    with directory() as path:
        file = path / "headgate.yaml"
        refused(path, "brigdes: {}\n",
                f"{file}:1:1: unknown key 'brigdes' in a configuration; expected one of api, workers, "
                "memory, bridges, ports")
        refused(path, config(path, more="workers: { cpus: one }\n"),
                f"{file}:6:18: found 'one'; expected a list of CPUs, as in [1]")
        refused(path, config(path, ports=("vm1", "vm1")),
                f"{file}:5:3: 'vm1' is here twice, first in line 4; expected it once")
        refused(path, config(path, ports=("a/b",)),
                f"{file}:4:3: 'a/b' cannot be a port's name; expected 1 to 31 letters, digits, '.', "
                "'_' or '-', beginning with a letter or digit")
        cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        got = client("config", "check", file)
        assert got[0] == 1, got
        file.write_text("workers: { cpus: [4095] }\n")
        got = client("run", "-c", file)
        assert got[0] == 1 and ":1:19: found '4095'; expected the number of a CPU" in got[2], (got, cpus)
        file.write_text("memory: { node: 1023 }\n")
        online = pathlib.Path("/sys/devices/system/node/online")
        nodes = online.read_text().strip() if online.exists() else "0"
        assert client("run", "-c", file) == (
            1, "", f"headgate: {file}:1:17: found '1023'; expected the number of a NUMA node that this "
            f"machine has: {nodes}\n")
        assert client("run", "-c", path / "none.yaml")[2] == (
            f"headgate: {path}/none.yaml: No such file or directory; expected a configuration file\n")


def undoes_what_it_began():
    """The second port cannot listen: the first one's socket and the API's are gone again."""
    with directory() as path:
        text = config(path) .replace(f"{path}/vm2.sock", f"{path}/none/vm2.sock")
        file = path / "headgate.yaml"
        file.write_text(text)
        status, out, err = client("run", "-c", file)
        assert (status, out) == (1, ""), (status, out)
        assert err.startswith(f"headgate: {file}:5:3: ") and "none/vm2.sock" in err, err
        assert list(path.iterdir()) == [file], list(path.iterdir())


def keeps_its_socket_private():
    with running() as daemon:
        assert stat.S_IMODE(daemon.api.stat().st_mode) == 0o600
    with directory() as path:
        shared = path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        file = path / "headgate.yaml"
        file.write_text(f"api: {shared}/api.sock\n")
        status, _, err = client("run", "-c", file)
        assert status == 1 and f"others may write in the directory {shared}" in err, err
        file.write_text(f"api: {path}/a/b/api.sock\n")
        status, _, err = client("run", "-c", file)
        assert status == 1 and f"cannot make the directory {path}/a/b: No such file" in err, err


def makes_its_directory():
    with directory() as path:
        daemon = Daemon(path, options=["-s", path / "new" / "api.sock"], config="{}\n")
        assert stat.S_IMODE((path / "new").stat().st_mode) == 0o700
        assert daemon.stop()[0] == 0
        assert list((path / "new").iterdir()) == []


def shares_its_socket_with_nobody():
    with running() as daemon:
        status, out, err = client("run", "-c", daemon.directory / "headgate.yaml")
        assert (status, out) == (1, ""), (status, out)
        assert f"api: {daemon.api} is in use; is another headgate running?" in err, err
        assert daemon.names() == ["vm1", "vm2"]


def replaces_a_socket_that_nobody_answers():
    with directory() as path:
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path / "api.sock"))
        dead.close()
        daemon = Daemon(path, config(path))
        assert daemon.names() == ["vm1", "vm2"]
        daemon.process.kill()  # leaves its sockets behind
        daemon.process.communicate()
        daemon = Daemon(path, config(path))
        assert daemon.names() == ["vm1", "vm2"]
        assert daemon.stop()[0] == 0


def touches_no_file_that_is_no_socket():
    with directory() as path:
        (path / "api.sock").write_text("precious")
        file = path / "headgate.yaml"
        file.write_text(config(path))
        assert client("run", "-c", file) == (
            1, "", f"headgate: api: {path}/api.sock is there and is no socket; expected a path that is "
            "free\n")
        assert (path / "api.sock").read_text() == "precious"


def leaves_the_socket_of_a_successor():
    with directory() as path:
        daemon = Daemon(path, config(path, ports=()))
        daemon.api.unlink()
        successor = socket.socket(socket.AF_UNIX)
        successor.bind(str(daemon.api))
        assert daemon.stop()[0] == 0
        assert daemon.api.exists()
        successor.close()


def speaks_to_no_peer_where_its_output_is_closed():
    with directory() as path:
        file = path / "headgate.yaml"
        file.write_text(config(path))
        program = subprocess.Popen(["sh", "-c", 'exec "$0" run -c "$1" <&- >&- 2>&-', HEADGATE, file])
        deadline = time.monotonic() + 60
        while client("-s", path / "api.sock", "port", "list")[0]:
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.02)
        for number in range(3):
            assert os.readlink(f"/proc/{program.pid}/fd/{number}") == "/dev/null", number
        program.terminate()
        assert program.wait(60) == 0


def ends_on_either_signal():
    for number in (signal.SIGTERM, signal.SIGINT):
        with directory() as path:
            daemon = Daemon(path, config(path))
            status, errors = daemon.stop(number)
            assert status == 0, (status, errors)


def tells_the_service_manager():
    with directory() as path:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(str(path / "notify"))
        manager.settimeout(60)
        daemon = Daemon(path, config(path), environment={"NOTIFY_SOCKET": str(path / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert daemon.stop()[0] == 0
        assert manager.recv(100) == b"STOPPING=1"
        manager.close()


def shows_the_first_steps():
    """Without a configuration, in the user's runtime directory. Root's is /run/headgate, where a real
    daemon may be at work: root becomes somebody else for this."""
    with directory() as path:
        program, user = HEADGATE, None
        if os.geteuid() == 0:
            user = 65534
            program = path / "program"
            shutil.copy(HEADGATE, program)
            os.chown(path, user, -1)
        how = {"environment": {"XDG_RUNTIME_DIR": str(path)}, "program": program, "user": user}
        daemon = Daemon(path, **how)
        text = "\n".join(daemon.printed)
        for name in ("vm1", "vm2"):
            assert f"path={path}/headgate/{name}.sock" in text, text
        status, out, err = client("port", "list", **how)
        assert status == 0 and "vm1" in out, err
        assert daemon.stop()[0] == 0


run_tests([
    refuses_a_bad_configuration,
    undoes_what_it_began,
    keeps_its_socket_private,
    makes_its_directory,
    shares_its_socket_with_nobody,
    replaces_a_socket_that_nobody_answers,
    touches_no_file_that_is_no_socket,
    leaves_the_socket_of_a_successor,
    speaks_to_no_peer_where_its_output_is_closed,
    ends_on_either_signal,
    tells_the_service_manager,
    shows_the_first_steps,
])
