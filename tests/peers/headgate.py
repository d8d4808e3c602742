"""The daemon of this tree, run as its users run it: a config file, a socket, SIGTERM at the end."""

import contextlib
import json
import os
import pathlib
import subprocess

from .process import Child, PeerFailed, Unavailable

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HEADGATE_BUILD", ROOT / "build"))


def built(*names):
    """The first of the programs that exists in the build directory, or Unavailable."""
    for name in names:
        if (BUILD / name).is_file():
            return BUILD / name
    raise Unavailable(f"{BUILD / names[0]} is not built")


def _flow_style(value):
    """A value as YAML's flow style. JSON is a subset of it, but plain words read better."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_flow_style(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow_style, value)) + "]"
    return str(value)


def config_text(api, ports, *, cpu=0, idle="adaptive", bridges=None):
    """The YAML of one bridge (or those given) and the ports {name: {key: value}} on it."""
    lines = [f"api: {api}", f"workers: {{ cpus: [{cpu}], idle: {idle} }}", "bridges:"]
    lines += [f"  {name}: {_flow_style(keys)}" for name, keys in (bridges or {"br0": {}}).items()]
    lines.append("ports:")
    lines += [f"  {name}: {_flow_style({'bridge': 'br0', **keys})}" for name, keys in ports.items()]
    return "\n".join(lines) + "\n"


class Headgate(Child):
    """A running `headgate run -c FILE`."""

    def __init__(self, directory, ports, **options):
        self.program = built("headgate", "src/headgate")
        self.api = directory / "api.sock"
        self.config = directory / "headgate.yaml"
        self.config.write_text(config_text(self.api, ports, **options))
        super().__init__([self.program, "run", "-c", self.config], directory / "headgate.log")
        try:
            self.wait_for_output("headgate: ready", timeout_s=60)
        except PeerFailed:
            self.stop()
            raise

    def client(self, *args):
        """Standard output of `headgate ARGS` against this daemon; PeerFailed with its sentence."""
        argv = [str(self.program), *map(str, args), "-s", str(self.api)]
        result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        if result.returncode:
            raise PeerFailed(f"{' '.join(argv[1:])}: status {result.returncode}: "
                             f"{result.stderr.strip()}")
        return result.stdout

    def stats(self):
        return json.loads(self.client("stats", "-j"))

    def drops(self):
        """{port: {reason: frames}} of the reasons that have counted something."""
        return {name: {reason: n for reason, n in port["drops"].items() if n}
                for name, port in self.stats()["ports"].items()}

    def wait_ports_up(self, names, timeout_s=60):
        def up():
            ports = self.stats()["ports"]
            return all(ports[name]["state"] == "up" for name in names)
        self.wait_for(up, timeout_s, f"state up of {', '.join(names)}")


@contextlib.contextmanager
def running(directory, ports, **options):
    """A Headgate with its own directory. Its exit status on SIGTERM must be 0."""
    directory.mkdir()
    daemon = Headgate(directory, ports, **options)
    try:
        yield daemon
    finally:
        ended_early = not daemon.alive()
        status = daemon.stop()
    if ended_early or status:
        raise PeerFailed(f"headgate ended with status {status}:\n{daemon.tail()}")
