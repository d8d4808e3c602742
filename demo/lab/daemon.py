"""One Headgate daemon and its client."""

import json
import os
import subprocess
import time

from . import process
from .process import LabError

READY = "headgate: ready"


class Headgate:
    """A daemon: start() returns when it is ready; stop() ends it and says how it ended.

    binary    the program
    folder    private to the run: the API's socket, the configuration and the log go there
    ports     {name: {"socket": path, "role": "server" | "client", ...}}, all of one bridge
    """

    def __init__(self, binary, folder, ports, workers="{ cpus: [0], idle: adaptive }"):
        self.binary = binary
        self.folder = folder
        self.ports = ports
        self.workers = workers
        self.process = None
        self.api = os.path.join(folder, "api.sock")
        self.config = os.path.join(folder, "headgate.yaml")
        self.log = os.path.join(folder, "headgate.log")

    def start(self):
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(self.config_text())
        seen = file_size(self.log)  # a daemon that is started again goes on in the same log
        self.process = process.start([self.binary, "run", "-c", self.config], self.log)

        def ready():
            if self.process.poll() is not None:
                raise LabError(
                    "headgate ended with status %s:\n%s"
                    % (self.process.returncode, process.tail(self.log))
                )
            with open(self.log, encoding="utf-8", errors="replace") as log:
                log.seek(seen)
                return READY in log.read().splitlines()

        process.wait_until(ready, 60, "headgate: the line `%s`" % READY)
        return self

    def stop(self):
        """Ends the daemon with SIGTERM; returns its exit status, None if it did not obey."""
        if self.process is None:
            return None
        status = process.stop(self.process)
        self.process = None
        return status

    def kill(self):
        """Ends the daemon as a crash would."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def config_text(self):
        lines = ["api: " + self.api, "workers: " + self.workers, "bridges:", "  br0: {}", "ports:"]
        for name, options in self.ports.items():
            keys = dict({"type": "vhost-user", "bridge": "br0"}, **options)
            lines.append(
                "  %s: { %s }" % (name, ", ".join("%s: %s" % item for item in keys.items()))
            )
        return "\n".join(lines) + "\n"

    # ---- the client ----

    def client(self, *arguments, check=True):
        """Runs `headgate ARGUMENTS -s SOCKET`; returns its standard output."""
        done = subprocess.run(
            [self.binary, *arguments, "-s", self.api],
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode != 0:
            raise LabError(
                "headgate %s: status %d: %s"
                % (" ".join(arguments), done.returncode, done.stderr.strip())
            )
        return done.stdout

    def stats(self):
        """The document of `headgate stats -j`."""
        return json.loads(self.client("stats", "-j"))

    def iommu(self, port):
        """What `headgate stats -j` says about the virtual IOMMU of a port."""
        return self.stats()["ports"][port]["iommu"]

    # ---- what the operating system knows about it ----

    def cpu_seconds(self):
        """Processor time that the daemon has used so far."""
        with open("/proc/%d/stat" % self.process.pid, encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_share(self, seconds):
        """Watches the daemon for a while; returns the share of one processor that it used."""
        start, used = time.monotonic(), self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - used) / (time.monotonic() - start)

    def descriptors_n(self):
        """Open file descriptors."""
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def memory_files_n(self):
        """Shared memory files that are mapped, such as those of guests. How many mappings there are of
        one depends on where its guest has put the pages of its rings."""
        with open("/proc/%d/maps" % self.process.pid, encoding="utf-8") as maps:
            return len({line.split()[4] for line in maps if "memfd:" in line})


def file_size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0
