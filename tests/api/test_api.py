#!/usr/bin/env python3
"""The API of a running daemon: good requests, bad requests, and clients that do not behave.

    test_api.py HEADGATE     prints TAP
"""

import pathlib
import re
import resource
import shutil
import socket
import threading
import time

from harness import Connection, run_tests, running

ZERO_RX = {"packets": 0, "bytes": 0, "bytes_copied": 0, "bursts": 0, "notifications": 0, "notifications_saved": 0,
           "replicated": 0}
IOMMU_OFF = {"active": False, "entries": 0, "entries_max": 65536, "hits": 0, "ahead_hits": 0,
             "stops": 0, "misses": 0, "parked": 0, "parked_now": 0, "faults": 0,
             "faults_by_kind": {"unmapped": 0, "permission": 0}, "invalidations": 0,
             "evictions": 0, "invalidation_ack_us": {"median": 0, "p99": 0, "max": 0}}
ZERO_TX = {"packets": 0, "bytes": 0, "bytes_copied": 0, "bursts": 0, "notifications": 0, "notifications_saved": 0,
           "segmented": 0}


def tells_what_there_is():
    with running() as daemon:
        ports = daemon.get("/v1/ports")
        assert [port["name"] for port in ports] == ["vm1", "vm2"], ports
        port = daemon.get("/v1/ports/vm1")
        assert port == ports[0], port
        assert (port["type"], port["bridge"], port["state"]) == ("vhost-user", "br0", "waiting")
        assert port["options"]["socket"] == str(daemon.directory / "vm1.sock"), port
        assert port["options"]["role"] == "server", port
        assert any(f"path={daemon.directory}/vm1.sock" in line for line in port["qemu"]), port
        assert daemon.get("/v1/bridges") == [
            {"name": "br0", "ports": ["vm1", "vm2"],
             "fdb": {"addresses": 0, "age_s": 300, "max": 65536, "port_max": 16384,
                     "refused": 0}}]
        assert daemon.get("/v1/fdb") == []
        assert daemon.get("/v1/version")["version"]


def takes_memory_where_it_is_told_to():
    """A port whose buffers are the daemon's own."""
    online = pathlib.Path("/sys/devices/system/node/online")
    node = int(re.match(r"\d+", online.read_text())[0]) if online.exists() else 0
    with running(more="  own: { type: loop, bridge: br0 }\n"
                      f"memory: {{ pages: 4K, node: {node} }}\n") as daemon:
        stats = daemon.get("/v1/stats")
        assert stats["memory"] == {"pages": "4K", "node": node}, stats["memory"]
        assert stats["ports"]["own"]["state"] == "up", stats["ports"]["own"]


def counts_in_the_promised_shape():
    with running() as daemon:
        stats = daemon.get("/v1/stats")
        port = stats["ports"]["vm1"]
        assert (port["type"], port["state"]) == ("vhost-user", "waiting"), port
        assert port["rx"] == ZERO_RX and port["tx"] == ZERO_TX, port
        assert port["drops"]["tx_full"] == 0 and port["iommu"] == IOMMU_OFF, port
        assert port["queues"][0]["rx"] == ZERO_RX, port
        assert not port["queues"][0]["rx_running"], port
        worker = stats["workers"][0]
        for key in ("cpu", "packets", "busy_cycles", "idle_cycles", "sleeps"):
            assert isinstance(worker[key], int), worker
        assert stats["memory"] == {"pages": "auto"}, stats
        reasons = {drop["reason"]: drop for drop in daemon.get("/v1/drops")}
        assert set(reasons) == set(port["drops"]), reasons
        assert reasons["tx_full"]["frames"] == 0 and reasons["tx_full"]["sentence"], reasons
        assert reasons["tx_full"]["ports"] == {"vm1": 0, "vm2": 0}, reasons


def speaks_prometheus():
    with running() as daemon:
        samples = {}
        typed = set()
        for line in daemon.get("/metrics").splitlines():
            words = line.split(" ")
            if line.startswith("# TYPE "):
                assert words[2] not in typed, line
                typed.add(words[2])
            elif not line.startswith("#"):
                assert words[0].split("{")[0] in typed, line
                assert words[0] not in samples, line
                samples[words[0]] = float(words[1])
        assert samples['headgate_port_rx_packets_total{port="vm1"}'] == 0
        assert samples['headgate_port_drops_total{port="vm2",reason="runt"}'] == 0
        assert samples['headgate_port_up{port="vm1"}'] == 0
        assert samples['headgate_port_iommu_faults_total{port="vm1",kind="unmapped"}'] == 0
        assert any(name.startswith("headgate_worker_sleeps_total{cpu=") for name in samples)


def adds_and_removes_ports():
    with running() as daemon:
        status, port = daemon.add("vm3", queues=2, role="client")
        assert status == 201 and port["options"]["queues"] == 2, (status, port)
        assert port["options"]["role"] == "client", port
        assert daemon.names() == ["vm1", "vm2", "vm3"]
        assert daemon.get("/v1/bridges")[0]["ports"] == ["vm1", "vm2", "vm3"]
        assert daemon.ask("DELETE", "/v1/ports/vm1") == (204, "")
        assert daemon.names() == ["vm2", "vm3"]
        assert not (daemon.directory / "vm1.sock").exists()
        assert daemon.ask("DELETE", "/v1/ports/vm1") == (404, {"error": "there is no port 'vm1'"})
        assert daemon.add("vm1")[0] == 201
        assert daemon.names() == ["vm2", "vm3", "vm1"]


def changes_options():
    """What is not named stays; what is refused changes nothing; the bridge and the order stay."""
    with running(more="  vm3: { type: virtio-user, bridge: br0, socket: /nowhere/s, queues: 2 }\n"
                 ) as daemon:
        before = daemon.get("/v1/ports/vm1")
        status, port = daemon.ask("PATCH", "/v1/ports/vm1", {"coalesce_us": 50, "iommu": "off"})
        assert status == 200, port
        assert port["options"] == {**before["options"], "coalesce_us": 50, "iommu": "off"}, port
        assert port["bridge"] == "br0" and port["state"] == "waiting", port
        assert daemon.ask("PATCH", "/v1/ports/vm1", {}) == (200, port)
        assert daemon.names() == ["vm1", "vm2", "vm3"]
        moved = str(daemon.directory / "moved.sock")
        status, port = daemon.ask("PATCH", "/v1/ports/vm1", {"socket": moved})
        assert status == 200 and port["options"]["socket"] == moved, port
        assert sorted(file.name for file in daemon.directory.glob("*.sock")) == [
            "api.sock", "moved.sock", "vm2.sock"]
        for path, body, status, sentence in [
                ("vm1", {"queues": 17}, 400, "queues: found '17'; expected a number from 1 to 16"),
                ("vm1", {"mtu": None}, 400, "mtu: found null; expected a number from 68 to 65535"),
                ("vm1", {"type": "tap"}, 400,
                 "type: a port keeps its type; expected one of its options"),
                ("vm1", {"name": "x"}, 400, None),
                ("vm1", {"bridge": "br1"}, 404, "there is no bridge 'br1'"),
                ("vm1", {"socket": str(daemon.directory / "vm2.sock")}, 409, None),
                ("vm1", {"socket": "/nowhere/x.sock"}, None, None),
                ("vm1", "[]", 400, "found no JSON object; expected one with the options to change"),
                ("vm3", {"queue_size": 65}, 400, None),
                ("vm4", {"queues": 1}, 404, "there is no port 'vm4'")]:
            got = daemon.ask("PATCH", f"/v1/ports/{path}", body)
            assert 400 <= got[0] < 500 and status in (None, got[0]), (path, body, got)
            assert sentence in (None, got[1]["error"]), (path, body, got)
        assert daemon.get("/v1/ports/vm1") == port
        # One that can be opened neither anew nor as it was.
        (daemon.directory / "sub").mkdir()
        assert daemon.add("vm4", socket=str(daemon.directory / "sub" / "s"))[0] == 201
        shutil.rmtree(daemon.directory / "sub")
        status, body = daemon.ask("PATCH", "/v1/ports/vm4", {"queues": 1})
        assert 400 <= status < 500 and body["error"].endswith(
            "; the port is gone, since it cannot be opened as it was either"), body
        assert daemon.names() == ["vm1", "vm2", "vm3"]
        assert daemon.get("/v1/bridges")[0]["ports"].count("vm1") == 1


def fills_up_to_the_last_port():
    with running(ports=()) as daemon:
        for number in range(256):
            status, body = daemon.add(f"p{number}", queues=1)
            assert status == 201, (number, status, body)
        assert daemon.add("more") == (
            422, {"error": "there are 256 ports already, as many as there can be"})
        for number in range(256):
            assert daemon.ask("DELETE", f"/v1/ports/p{number}")[0] == 204
        assert daemon.names() == []


def refuses_what_it_does_not_understand():
    with running() as daemon:
        sock = str(daemon.directory / "x.sock")
        good = {"name": "x", "type": "vhost-user", "bridge": "br0", "socket": sock}
        cases = [
            ("GET", "/", None, 404, "there is nothing at '/'; see headgate-api(7)"),
            ("GET", "/v1/port", None, 404, "there is nothing at '/v1/port'; see headgate-api(7)"),
            ("GET", "/v1/ports/", None, 404, "there is no port ''"),
            ("GET", "/v1/ports/a/b", None, 404, "there is no port 'a/b'"),
            ("GET", "/v1/ports/a%2Fb", None, 404, "there is no port 'a/b'"),
            ("GET", "/v1/ports/..%2f..%2fetc%2fpasswd", None, 404,
             "there is no port '../../etc/passwd'"),
            ("GET", "/v1/ports/%1b%5b31m", None, 404, "there is no port '?[31m'"),
            ("DELETE", "/v1/stats", None, 405,
             "/v1/stats does not take 'DELETE'; expected one of GET, HEAD"),
            ("PUT", "/v1/ports", "{}", 405,
             "/v1/ports does not take 'PUT'; expected one of GET, HEAD, POST"),
            ("POST", "/v1/ports/vm1", "{}", 405,
             "/v1/ports/* does not take 'POST'; expected one of GET, HEAD, PATCH, DELETE"),
            ("POST", "/v1/ports", "{", 400, None),
            ("POST", "/v1/ports", b"\xff\xfe", 400, None),
            ("POST", "/v1/ports", "[" * 60000, 400, None),
            ("POST", "/v1/ports", "[1]", 400,
             "found no JSON object; expected one with name, type, bridge"),
            ("POST", "/v1/ports", {"name": 1}, 400, "name: found no string; expected the port's name"),
            ("POST", "/v1/ports", {**good, "name": "a/b"}, 400,
             "'a/b' cannot be a port's name; expected 1 to 31 letters, digits, '.', '_' or '-', "
             "beginning with a letter or digit"),
            ("POST", "/v1/ports", {**good, "name": "vm1"}, 409,
             "there is a port 'vm1' already; expected a new name"),
            ("POST", "/v1/ports", {**good, "bridge": "br1"}, 404, "there is no bridge 'br1'"),
            ("POST", "/v1/ports", {**good, "socket": "../x"}, 400,
             "socket: found '../x'; expected the absolute path of a file, without '..'"),
            ("POST", "/v1/ports", {**good, "socket": "/tmp/../x"}, 400,
             "socket: found '/tmp/../x'; expected the absolute path of a file, without '..'"),
            ("POST", "/v1/ports", {**good, "queues": 0}, 400,
             "queues: found '0'; expected a number from 1 to 16"),
            ("POST", "/v1/ports", {**good, "queues": [1]}, 400,
             "queues: found an array; expected a number from 1 to 16"),
            ("POST", "/v1/ports", {**good, **{f"k{i}": 1 for i in range(100)}}, 400,
             "found 104 keys; expected at most 64"),
            ("POST", "/v1/ports", {**good, "socket": "/nonexistent/x.sock"}, None, None),
            ("POST", "/v1/ports", {**good, "socket": str(daemon.directory / "vm2.sock")}, 409, None),
        ]
        for method, path, body, status, sentence in cases:
            got = daemon.ask(method, path, body)
            assert 400 <= got[0] < 500, (method, path, got)
            assert status in (None, got[0]), (method, path, got)
            assert sentence in (None, got[1]["error"]), (method, path, got)
        assert daemon.names() == ["vm1", "vm2"]


def refuses_what_is_too_large():
    with running() as daemon:
        status, body = daemon.ask("POST", "/v1/ports", " " * 65536 + "{}")
        assert (status, body) == (413, {"error": "the request has more than 65536 bytes"})
        # Told to a client that sends all of it before it reads, as curl does.
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(daemon.api))
        raw.settimeout(60)
        raw.sendall(b"POST /v1/ports HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        raw.sendall(b"x" * 1000000)
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")
        raw.close()
        # Announced without being sent: the answer does not wait for it.
        connection = Connection(daemon.api)
        connection.putrequest("POST", "/v1/ports")
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
        # Not announced.
        connection = Connection(daemon.api)
        connection.request("POST", "/v1/ports", iter([b"x" * 4096] * 64), encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        assert connection.getresponse().status == 413
        connection.close()
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(daemon.api))
        raw.settimeout(60)
        try:
            raw.sendall(b"GET /" + b"a" * 1000000 + b" HTTP/1.1\r\n\r\n")
        except OSError:
            pass  # it hangs up in the middle
        raw.close()
        assert daemon.names() == ["vm1", "vm2"]


def survives_noise():
    noises = [b"", b"\0" * 100, b"\r\n" * 1000, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01" * 50,
              b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
              b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
              b"GET /v1/stats HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n"]
    with running() as daemon:
        for noise in noises:
            raw = socket.socket(socket.AF_UNIX)
            raw.connect(str(daemon.api))
            try:
                raw.sendall(noise)
                raw.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has hung up already
            raw.close()
        assert daemon.names() == ["vm1", "vm2"]


def serves_others_while_clients_are_slow():
    with running() as daemon:
        slow = []
        for number in range(100):
            raw = socket.socket(socket.AF_UNIX)
            raw.connect(str(daemon.api))
            raw.sendall(b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
                        [: 10 + number])
            slow.append(raw)
        for _ in range(20):
            start = time.monotonic()
            assert daemon.names() == ["vm1", "vm2"]
            assert time.monotonic() - start < 2
        for raw in slow:
            raw.close()
        # A client that asks and never reads.
        deaf = socket.socket(socket.AF_UNIX)
        deaf.connect(str(daemon.api))
        deaf.setblocking(False)
        try:
            for _ in range(10000):
                deaf.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        except BlockingIOError:
            pass
        assert daemon.names() == ["vm1", "vm2"]
        deaf.close()


def survives_a_thousand_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with running() as daemon:
        before = len(list((daemon.directory.parent / f"/proc/{daemon.process.pid}/fd").iterdir()))
        crowd = []
        for _ in range(1000):
            raw = socket.socket(socket.AF_UNIX)
            raw.connect(str(daemon.api))
            crowd.append(raw)
        # All places are taken by those who say nothing. They are closed after a while.
        start = time.monotonic()
        connection = Connection(daemon.api, timeout_s=60)
        for raw in crowd[:800]:
            raw.close()
        connection.request("GET", "/v1/ports")
        assert connection.getresponse().status == 200
        assert time.monotonic() - start < 50
        connection.close()
        for raw in crowd:
            raw.close()
        assert daemon.names() == ["vm1", "vm2"]
        deadline = time.monotonic() + 60
        while True:
            after = len(list((daemon.directory.parent / f"/proc/{daemon.process.pid}/fd").iterdir()))
            if after <= before + 1:
                break
            assert time.monotonic() < deadline, (before, after)
            time.sleep(0.1)


def answers_many_at_once():
    with running() as daemon:
        failures = []

        def work(number):
            try:
                for turn in range(10):
                    name = f"t{number}-{turn}"
                    assert daemon.add(name, queues=1)[0] == 201
                    assert name in daemon.get("/v1/stats")["ports"]
                    assert daemon.ask("DELETE", f"/v1/ports/{name}")[0] == 204
            except BaseException as failure:  # pylint: disable=broad-except
                failures.append(failure)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        assert daemon.names() == ["vm1", "vm2"]


run_tests([
    tells_what_there_is,
    takes_memory_where_it_is_told_to,
    counts_in_the_promised_shape,
    speaks_prometheus,
    adds_and_removes_ports,
    changes_options,
    fills_up_to_the_last_port,
    refuses_what_it_does_not_understand,
    refuses_what_is_too_large,
    survives_noise,
    serves_others_while_clients_are_slow,
    survives_a_thousand_connections,
    answers_many_at_once,
])
