#!/usr/bin/env python3
"""Does what docs/tutorial.md tells its reader to do: the commands and the programs are taken from the page.

    test_tutorial.py TREE     prints TAP

Each ```sh block is run, in order, by one shell in an empty folder; each ```c block with a file= is saved under that
name when it is its turn. A ```text block is what the last ```sh block should have printed: digits may differ, the rest
may not. The clone is this tree itself, with what is built in it.
"""

import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

TREE = Path(sys.argv[1]).resolve()
PAGE = TREE / "docs/tutorial.md"


class Reader:
    def __init__(self, home):
        self.home = Path(home)
        (self.home / "work").mkdir()
        self.environment = {**os.environ, "HOME": str(home), "PWD": str(self.home / "work")}
        self.printed = ""

    def run(self, commands):
        """Runs commands where the ones before have ended, in the environment that they have left."""
        commands = re.sub(r"^git clone \S+ (\S+)$", rf"ln -s {TREE} \1", commands, flags=re.M)
        # The install log is what `make uninstall` goes by: it stays as it was.
        script = f"set -eu\ncd \"$PWD\"\n{commands}\nexec 1>&3\nenv -0\n"
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, "rb") as reader:
            process = subprocess.Popen(["bash", "-c", f"exec 3>&{write_end}\n" + script],
                                       env=self.environment, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, pass_fds=[write_end],
                                       cwd=self.environment["PWD"])
            os.close(write_end)
            self.printed = process.communicate(timeout=600)[0]
            left = reader.read().decode()
        assert process.returncode == 0, f"{commands}\n{self.printed}"
        self.environment = dict(entry.split("=", 1) for entry in left.split("\0") if entry)

    def save(self, name, text):
        (Path(self.environment["PWD"]) / name).write_text(text)

    def compare(self, text):
        def shape(said):
            return re.sub(r"\d+(\.\d+)?", "N", said.strip())

        assert shape(self.printed) == shape(text), f"expected:\n{text}\nfound:\n{self.printed}"


def main():
    log = TREE / "build/meson-logs/install-log.txt"
    kept = log.read_bytes() if log.exists() else None
    blocks = re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    blocks = [block for block in blocks if block[0] != "c" or block[1]]
    failed = 0
    print(f"1..{len(blocks)}")
    with tempfile.TemporaryDirectory() as home:
        reader = Reader(home)
        for number, (kind, name, text) in enumerate(blocks, 1):
            title = f"{name or kind}: {text.strip().splitlines()[0]}".replace("#", "")
            try:
                if kind == "sh":
                    reader.run(text)
                elif kind == "c":
                    reader.save(name, text)
                else:
                    reader.compare(text)
                print(f"ok {number} - {title}", flush=True)
            except (AssertionError, subprocess.SubprocessError):
                failed += 1
                print("# " + traceback.format_exc().replace("\n", "\n# "))
                print(f"not ok {number} - {title}", flush=True)
    if kept is not None:
        log.write_bytes(kept)
    sys.exit(failed != 0)


main()
