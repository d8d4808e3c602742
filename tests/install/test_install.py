#!/usr/bin/env python3
"""Installs into an empty DESTDIR and uses what is there from an arbitrary folder: C and C++ programs found
by pkg-config, linked with the shared and with the static library, run; man pages and the daemon are in
place; uninstalling leaves no file.

    test_install.py BUILD SOURCE     BUILD: a release build that is complete; SOURCE: this folder
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD, SOURCE = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
LOG = BUILD / "meson-logs/install-log.txt" # by which `make uninstall` removes
LANGUAGES = {"C": ["gcc", "-std=c17"], "C++": ["g++", "-std=c++17", "-xc++"]}


def run(command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options).stdout


class Installed:
    def __init__(self, folder):
        self.root = Path(folder) / "destdir"
        self.work = Path(folder) / "elsewhere"
        self.work.mkdir()
        self.environment = os.environ | {"DESTDIR": str(self.root)}
        run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], env=self.environment)
        self.pc = next(self.root.rglob("libheadgate.pc"))

    def flags(self, *options):
        environment = os.environ | {"PKG_CONFIG_SYSROOT_DIR": str(self.root),
                                    "PKG_CONFIG_PATH": str(self.pc.parent)}
        return run(["pkg-config", *options, "--cflags", "--libs", "libheadgate"],
                   env=environment).split()

    def program(self, compiler, link, flags):
        """Compiles and runs; returns what the program said."""
        command = [*compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", self.work / "program",
                   SOURCE / "program.c", "-xnone", *link, *flags]
        run(command, cwd=self.work)
        return run([self.work / "program"], cwd="/", env={"LD_LIBRARY_PATH": str(self.pc.parents[1])})


def links(installed, compiler, static):
    flags = installed.flags("--static") if static else installed.flags()
    said = installed.program(compiler, ["-static"] if static else [], flags)
    version = run(["pkg-config", "--modversion", str(installed.pc)]).strip()
    assert said == f"{version}, port type vhost-user\n", said
    needed = run(["readelf", "-d", installed.work / "program"])
    assert ("libheadgate.so.0" in needed) != static, needed


def everything_is_there(installed):
    names = {str(path.relative_to(installed.root)) for path in installed.root.rglob("*")}
    for wanted in ("bin/headgate", "man1/headgate.1", "man3/libheadgate.3", "man3/hg_qsbr.3",
                   "include/headgate/headgate.h", "include/headgate/mem/arena.h", "libheadgate.so",
                   "libheadgate.so.0", "libheadgate.a", "pkgconfig/libheadgate.pc"):
        assert any(name.endswith("/" + wanted) for name in names), f"no {wanted}"
    for header in installed.root.rglob("*.h"):
        assert '#include "' not in header.read_text(), header


def uninstalling_leaves_nothing(installed):
    run(["ninja", "-C", BUILD, "uninstall"], env=installed.environment)
    left = [str(path) for path in installed.root.rglob("*") if not path.is_dir()]
    assert not left, left


def main():
    log = LOG.read_bytes() if LOG.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        installed = Installed(folder)
        cases = [("everything is there", lambda: everything_is_there(installed))]
        for language, compiler in LANGUAGES.items():
            for static in (False, True):
                name = f"a {language} program runs with the {'static' if static else 'shared'} library"
                cases.append((name, lambda c=compiler, s=static: links(installed, c, s)))
        cases.append(("uninstalling leaves nothing", lambda: uninstalling_leaves_nothing(installed)))
        print(f"1..{len(cases)}")
        for number, (name, case) in enumerate(cases, 1):
            try:
                case()
                print(f"ok {number} - {name}")
            except (AssertionError, subprocess.CalledProcessError, StopIteration) as error:
                print(f"not ok {number} - {name}")
                print(f"# {error}\n{getattr(error, 'output', '')}", file=sys.stderr)
    if log is not None:
        LOG.write_bytes(log)


main()
