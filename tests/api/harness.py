"""A headgate of its own for each test, its API over the socket, and TAP for meson."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import traceback

HEADGATE = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None


class Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path, timeout_s=60):
        super().__init__("headgate", timeout=timeout_s)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """`headgate run` with a configuration, in a directory of its own."""

    def __init__(self, directory, config=None, options=(), environment=None, program=HEADGATE,
                 user=None):
        self.directory = pathlib.Path(directory)
        self.api = self.directory / "api.sock"
        argv = [program, "run", *options]
        if config is not None:
            file = self.directory / "headgate.yaml"
            file.write_text(config)
            argv += ["-c", file]
        self.process = subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, user=user,
                                        env={**os.environ, **(environment or {})})
        self.printed = []
        for line in self.process.stdout:
            self.printed.append(line.rstrip("\n"))
            if line == "headgate: ready\n":
                break
        else:
            raise AssertionError(f"not ready: {self.process.communicate()[1]}")

    def ask(self, method, path, body=None, headers=None):
        """(status, body as JSON or text) of a request."""
        connection = Connection(self.api)
        try:
            if body is not None and not isinstance(body, (str, bytes)):
                body = json.dumps(body)
            try:
                connection.request(method, path, body, headers or {})
            except BrokenPipeError:
                pass  # refused before all of it was sent; the answer is there
            response = connection.getresponse()
            text = response.read().decode()
            is_json = response.headers.get("Content-Type") == "application/json"
            return response.status, json.loads(text) if is_json and text else text
        finally:
            connection.close()

    def get(self, path):
        status, body = self.ask("GET", path)
        assert status == 200, (status, body)
        return body

    def add(self, name, **keys):
        return self.ask("POST", "/v1/ports",
                        {"name": name, "type": "vhost-user", "bridge": "br0",
                         "socket": str(self.directory / f"{name}.sock"), **keys})

    def names(self):
        return [port["name"] for port in self.get("/v1/ports")]

    def client(self, *args):
        return client("-s", self.api, *args)

    def stop(self, signal_number=signal.SIGTERM):
        """Ends it; returns its exit status and what it wrote to standard error."""
        self.process.send_signal(signal_number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def client(*args, environment=None, program=HEADGATE, user=None):
    """(exit status, standard output, standard error) of a command."""
    result = subprocess.run([str(program), *map(str, args)], capture_output=True, text=True,
                            timeout=60, check=False, stdin=subprocess.DEVNULL, user=user,
                            env={**os.environ, **(environment or {})})
    return result.returncode, result.stdout, result.stderr


def config(directory, ports=("vm1", "vm2"), more=""):
    """One bridge with the vhost-user ports named."""
    lines = [f"api: {directory}/api.sock", "bridges: { br0: }", "ports:" if ports else ""]
    lines += [f"  {name}: {{ type: vhost-user, bridge: br0, socket: {directory}/{name}.sock }}"
              for name in ports]
    return "\n".join(lines) + "\n" + more


@contextlib.contextmanager
def directory():
    with tempfile.TemporaryDirectory(prefix="headgate-") as path:
        yield pathlib.Path(path)


@contextlib.contextmanager
def running(ports=("vm1", "vm2"), more=""):
    """A daemon that must end well, with its files gone."""
    with directory() as path:
        daemon = Daemon(path, config(path, ports, more))
        try:
            yield daemon
        except BaseException:
            daemon.process.kill()
            print("# " + daemon.process.communicate()[1].replace("\n", "\n# "))
            raise
        status, errors = daemon.stop()
        assert status == 0, (status, errors)
        left = sorted(file.name for file in path.iterdir())
        assert left == ["headgate.yaml"], left


def run_tests(functions):
    """Runs them in turn and prints TAP; the sentence is the function's name."""
    failed = 0
    print(f"1..{len(functions)}", flush=True)
    for number, function in enumerate(functions, 1):
        try:
            function()
        except BaseException:  # pylint: disable=broad-except
            failed += 1
            print("# " + traceback.format_exc().replace("\n", "\n# "))
            print(f"not ok {number} - {function.__name__}", flush=True)
        else:
            print(f"ok {number} - {function.__name__}", flush=True)
    sys.exit(failed != 0)
