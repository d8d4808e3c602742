#!/usr/bin/env python3
"""The lints find what they are there for: each case plants one fault in a small tree.

    test_lints.py ROOT     ROOT: the tree whose lints and src/meson.build are tested; prints TAP
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(sys.argv[1])

LAYERS = """\
L0  base:
L1  mem:        L0
L1  ring:       L0
L2  port:       L0 L1
L2  port/tap:   L0 L1 port
"""

GOOD = {
    "docs/layers.txt": LAYERS,
    "Makefile": "all:\n\ttrue\ndemo:\n\ttrue\n",
    "README.md": "See [layers](docs/layers.txt). The step src/mem/mem.c:hg_take.\n"
                 "```sh\nmake demo\nsudo make\nbuild/src/headgate run -c x.yaml | cat\n```\n",
    "src/base/err.h": "int hg_err(void);\n",
    "src/mem/mem.h": '#include "base/err.h"\n',
    "src/mem/mem.c": '#include "mem/mem.h"\n\nint hg_take(int n,\n            int m)\n{\n}\n',
    "src/port/port.h": '#include <stdio.h>\n#include "mem/mem.h"\n',
    "src/port/tap/tap.c": '#include "port/port.h"\n',
}

# name, lint, file, its faulty content, what the complaint must say
FAULTS = [
    ("an include of a layer above", "layers", "src/base/err.h", '#include "mem/mem.h"\n',
     'src/base/err.h:1: base may not include "mem/mem.h"'),
    ("an include of a neighbour", "layers", "src/ring/ring.h", '\n#include "mem/mem.h"\n',
     'src/ring/ring.h:2: ring may not include "mem/mem.h"'),
    ("an include of a driver by its contract", "layers", "src/port/port.c",
     '#  include "port/tap/tap.c"\n', "port may not include"),
    ("an include that does not exist", "layers", "src/mem/a.c", '#include "mem/none.h"\n',
     "there is no src/mem/none.h"),
    ("a folder without a line", "layers", "src/rogue/a.c", "\n", "lies in no folder"),
    ("a rule that points upwards", "layers", "docs/layers.txt", "L0 base: L1\nL1 mem: L0\n",
     "'L1' is no layer and no folder listed above"),
    ("a rule that opens a whole layer to itself", "layers", "docs/layers.txt",
     "L0 base:\nL0 log: L0\n", "log may not see its own layer"),
    ("a link to nowhere", "docs", "docs/a.md", "[x](gone.md)\n", "docs/a.md:1: no file gone.md"),
    ("a name of a document that is gone", "docs", "src/mem/b.h", "/* see docs/gone.md */\n",
     "there is no docs/gone.md"),
    ("a make target that is gone", "docs", "README.md", "```sh\nmake nothing\n```\n",
     "Makefile has no target nothing"),
    ("a script that is gone", "docs", "README.md", "```sh\ntools/gone 3\n```\n",
     "there is no tools/gone"),
    ("a command nobody has", "docs", "README.md", "```sh\nfrobnicate\n```\n", "'frobnicate'"),
    ("a step in a file that is gone", "docs", "README.md", "mem/gone.c:hg_take\n",
     "there is no mem/gone.c"),
    ("a step that names no definition", "docs", "README.md", "mem/mem.c:hg_err\n",
     "does not define hg_err()"),
    ("a way of fewer than ten steps", "docs", "README.md",
     "## The packet's way\n\n1. mem/mem.c:hg_take\n", "has 1 file:function steps, expected 10"),
    ("a verb that --help does not know", "docs", "README.md",
     "```sh\nheadgate levitate\n```\n", "does not know 'levitate'"),
    ("an option that the man page forgot", "docs", "docs/man/headgate.1.scd",
     "*-c* _FILE_\n", "does not describe --watch"),
    ("an option that only the man page knows", "docs", "docs/man/headgate.1.scd",
     "*-c* _FILE_, *\\-\\-watch*, *-q*\n", "describes -q"),
]

HELP = "#!/bin/sh\necho 'headgate run -c FILE'\necho 'headgate stats [--watch]'\n"


def plant(tree, files):
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def complaints(lint, files):
    """(exit status, output) of a lint over a small tree with these files."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        plant(tree, GOOD | {"build/src/headgate": HELP} | files)
        (tree / "build/src/headgate").chmod(0o755)
        done = subprocess.run([ROOT / "tools/lint" / lint, tree], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


def build_with(source):
    """(succeeded, output) of building this tree's base and a folder above it in which `source` is
    called by nobody: only the link-alone program can notice what it calls."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        for name in ("meson.build", "meson_options.txt", "src/meson.build", "src/libheadgate.map",
                     "src/base", "tests/layers"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, tree / name)
        plant(tree, {
            "include/headgate/meson.build": "",
            "docs/man/page.7.scd": "page(7)\n\n# NAME\n\npage - a page\n",
            "docs/layers.txt": "L0 base:\nL1 mem: L0\nL1 ring: L0\n",
            "src/mem/meson.build": "sources = files('mem.c')\n",
            "src/mem/mem.c": "int hg_mem(void);\nint hg_mem(void)\n{\n    return 1;\n}\n",
            "src/ring/meson.build": "sources = files('ring.c')\n",
            "src/ring/ring.c": source,
        })
        for command in (["meson", "setup", "-Dtests=false", "out"], ["ninja", "-C", "out"]):
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
            if done.returncode != 0:
                break
        return done.returncode == 0, done.stdout + done.stderr


def run_cases():
    """Yields (name, ok, output)."""
    for lint in ("layers", "docs"):
        status, output = complaints(lint, {})
        yield f"{lint}: a tree without faults is clean", status == 0 and not output, output
    for name, lint, file, content, expected in FAULTS:
        status, output = complaints(lint, {file: content})
        yield f"{lint}: finds {name}", status == 1 and expected in output, output

    allowed = '#include "base/err.h"\nint hg_ring(void);\nint hg_ring(void)\n' \
              "{\n    return hg_err_set(0, 1, \"x\");\n}\n"
    ok, output = build_with(allowed)
    yield "build: a call into a lower layer links", ok, output
    forbidden = "int hg_mem(void);\nint hg_ring(void);\nint hg_ring(void)\n" \
                "{\n    return hg_mem();\n}\n"
    ok, output = build_with(forbidden)
    yield "build: a call of a neighbour does not link", \
        not ok and "undefined reference to `hg_mem'" in output, output


def main():
    cases = list(run_cases())
    print(f"1..{len(cases)}")
    for number, (name, ok, output) in enumerate(cases, 1):
        print(f"{'ok' if ok else 'not ok'} {number} - {name}")
        if not ok:
            print("".join(f"# {line}\n" for line in output.splitlines()), end="")
    return 0 if all(ok for _, ok, _ in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
