"""The guest image: a Debian cloud kernel and an initramfs of our own.

A guest has no disk. Everything that it needs is in the initramfs: busybox, the kernel modules of
the network card (and those that a user-space driver needs), iperf3, ethtool, the traffic probe, and
an init script. The image is made from packages and files, never by installing a kernel, so it needs
neither root nor a boot loader's hooks; the archive is written by this file, because one with device
nodes cannot be made from a directory without root.

The result is kept in the build folder and made again when anything it was made from changes.
"""

import glob
import hashlib
import os
import re
import shutil
import stat
import subprocess

from .process import LabError

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST_SOURCES = os.path.join(REPO, "demo", "guest")
PROBE = [
    os.path.join(GUEST_SOURCES, name) for name in ("probe.c", "probe_ping.c", "probe_stream.c")
]
KERNEL_PACKAGE = "linux-image-cloud-amd64"

# Modules by name; what they depend on is read from the modules themselves.
MODULES = ("virtio_pci", "virtio_net", "vfio_pci", "vfio_iommu_type1", "uio_pci_generic")
# Programs of the host that the guest runs too, with the shared libraries they ask for.
PROGRAMS = ("iperf3", "ethtool")


class Extra:
    """What a guest has beyond the usual.

    name       of the kind of guest, for file names
    programs   of the host, with their shared libraries
    plugins    shared libraries that a program loads by itself, as file names
    sources    C programs of ours: {program: file names of its .c files}; headers beside them
    """

    def __init__(self, name, programs=(), plugins=(), sources=None):
        self.name = name
        self.programs = programs
        self.plugins = plugins
        self.sources = sources or {}


class Image:
    """A kernel and an initramfs, as file names."""

    def __init__(self, kernel, initrd, release):
        self.kernel = kernel
        self.initrd = initrd
        self.release = release


def build(folder=None, say=lambda text: None, extra=Extra("plain")):
    """Returns the Image, making it in `folder` (default: build/guest) if it is missing or stale."""
    folder = folder or os.environ.get("HEADGATE_GUEST_DIR") or os.path.join(REPO, "build", "guest")
    os.makedirs(folder, exist_ok=True)
    root, release = find_kernel(folder, say)
    kernel = os.path.join(root, "boot", "vmlinuz-" + release)
    initrd = os.path.join(folder, "%s-%s.cpio" % (extra.name, release))
    stamp = initrd + ".stamp"

    inputs = input_files(kernel, extra)
    key = fingerprint(inputs)
    if os.path.exists(initrd) and read_text(stamp) == key:
        return Image(kernel, initrd, release)

    say("making the initramfs of a %s guest (kernel %s)" % (extra.name, release))
    archive = Archive()
    for name in ("dev", "proc", "sys", "tmp", "run", "root", "bin", "etc"):
        archive.directory(name)
    archive.device("dev/console", 5, 1)
    archive.program("init", os.path.join(GUEST_SOURCES, "init"))
    archive.program("bin/busybox", program("busybox"))
    for name, files in dict(extra.sources, probe=PROBE).items():
        archive.program("bin/" + name, compile_static(folder, name, files))
    for name in PROGRAMS + tuple(extra.programs):
        path = program(name)
        archive.program("bin/" + name, path)
        add_libraries(archive, path)
    for path in extra.plugins:
        archive.program(path.lstrip("/"), path)
        add_libraries(archive, path)
    add_modules(archive, root, release)
    archive.write(initrd)
    with open(stamp, "w", encoding="ascii") as out:
        out.write(key)
    return Image(kernel, initrd, release)


# ---- the kernel ----


def find_kernel(folder, say):
    """Returns (root, release): an installed cloud kernel, or the package unpacked in the cache."""
    cache = os.path.join(folder, "kernel")
    found = newest_kernel("/") or newest_kernel(cache)
    if not found:
        fetch_kernel(folder, say)
        found = newest_kernel(cache)
    if not found:
        raise LabError("%s holds no kernel with its modules" % cache)
    return found


def newest_kernel(root):
    for path in sorted(
        glob.glob(root + "/boot/vmlinuz-*cloud-amd64"), key=version_key, reverse=True
    ):
        release = os.path.basename(path)[len("vmlinuz-") :]
        if os.access(path, os.R_OK) and os.path.isdir(modules_folder(root, release)):
            return root, release
    return None


def fetch_kernel(folder, say):
    """Downloads the kernel package and unpacks it in the cache. Nothing is installed."""
    package = kernel_package()
    if not package:
        say("refreshing the package lists")
        run(([] if os.geteuid() == 0 else ["sudo", "-n"]) + ["apt-get", "update", "-q"])
        package = kernel_package()
    if not package:
        raise LabError("apt knows no package %s; try apt-get update" % KERNEL_PACKAGE)
    say("fetching the guest's kernel: %s" % package)
    download = os.path.join(folder, "download")
    shutil.rmtree(download, ignore_errors=True)
    os.makedirs(download)
    try:
        done = run(["apt-get", "download", package], cwd=download)
        found = glob.glob(os.path.join(download, "*.deb"))
        if not found:
            raise LabError(
                "apt-get download %s failed; is the package list fresh (apt-get update)?\n%s"
                % (package, done.stderr.strip())
            )
        unpacked = os.path.join(download, "kernel")
        done = run(["dpkg-deb", "-x", found[0], unpacked])
        if done.returncode != 0:
            raise LabError("cannot unpack %s: %s" % (found[0], done.stderr.strip()))
        target = os.path.join(folder, "kernel")
        shutil.rmtree(target, ignore_errors=True)
        os.rename(unpacked, target)
    finally:
        shutil.rmtree(download, ignore_errors=True)


def kernel_package():
    """The package with the kernel itself, on which the meta package depends; None if unknown."""
    listing = run(["apt-cache", "depends", KERNEL_PACKAGE]).stdout
    match = re.search(r"Depends: (linux-image-\S+)", listing)
    return match.group(1) if match else None


def version_key(path):
    return [int(part) for part in re.findall(r"\d+", os.path.basename(path))]


def modules_folder(root, release):
    return os.path.join(root, "lib", "modules", release)


# ---- modules ----


def add_modules(archive, root, release):
    """Adds MODULES and all that they need, and the modules.dep that the guest's modprobe reads."""
    folder = modules_folder(root, release)
    files = {}
    for path in glob.glob(os.path.join(folder, "kernel", "**", "*.ko"), recursive=True):
        files[os.path.basename(path)[:-3].replace("-", "_")] = path
    # What is built in needs no file; the package lists it.
    builtin = set(
        os.path.basename(line)[:-3].replace("-", "_")
        for line in read_text(os.path.join(folder, "modules.builtin")).split()
    )

    needed = {}

    def visit(name):
        if name in needed or name in builtin:
            return
        if name not in files:
            raise LabError("kernel %s has no module %s" % (release, name))
        with open(files[name], "rb") as module:
            match = re.search(rb"\0depends=([^\0]*)\0", module.read())
        needed[name] = (
            [dep.replace("-", "_") for dep in match.group(1).decode().split(",") if dep]
            if match
            else []
        )
        for dependency in needed[name]:
            visit(dependency)

    for name in MODULES:
        visit(name)

    lines = []
    for name in needed:
        archive.file("lib/modules/%s/%s.ko" % (release, name), read_bytes(files[name]), 0o644)
        lines.append("%s.ko: %s" % (name, " ".join(dep + ".ko" for dep in closure(name, needed))))
    archive.file("lib/modules/%s/modules.dep" % release, ("\n".join(lines) + "\n").encode(), 0o644)


def closure(name, needed):
    """All that a module depends on, a module before those that it needs, as depmod writes it."""
    order = []

    def visit(module):
        for dependency in needed[module]:
            if dependency in needed:
                visit(dependency)
                if dependency not in order:
                    order.append(dependency)

    visit(name)
    return reversed(order)


# ---- programs ----


def program(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise LabError(
            "the program %s is missing; install its package (tools/deps names it)" % name
        )
    return path


def add_libraries(archive, path):
    """Adds the shared libraries that a program or library asks for."""
    listing = run(["ldd", path]).stdout
    for library in re.findall(r"(/\S+) \(0x", listing):
        archive.program(library.lstrip("/"), library)


def compile_static(folder, name, files):
    target = os.path.join(folder, name)
    options = "-std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static".split()
    compiler = os.environ.get("CC", "cc").split()
    done = run([*compiler, *options, "-o", target, *files])
    if done.returncode != 0:
        raise LabError("the guest's program %s does not compile:\n%s" % (name, done.stderr))
    return target


# ---- the archive ----


class Archive:
    """A cpio archive of the "newc" format (Linux, early-userspace/buffer-format.rst)."""

    def __init__(self):
        self.entries = {}

    def directory(self, name):
        self._parents(name)
        self.entries.setdefault(name, (stat.S_IFDIR | 0o755, b"", 0, 0))

    def device(self, name, major, minor):
        self._parents(name)
        self.entries[name] = (stat.S_IFCHR | 0o600, b"", major, minor)

    def file(self, name, data, mode):
        self._parents(name)
        self.entries[name] = (stat.S_IFREG | mode, data, 0, 0)

    def program(self, name, path):
        self.file(name, read_bytes(path), 0o755)

    def _parents(self, name):
        parent = os.path.dirname(name)
        if parent and parent not in self.entries:
            self.directory(parent)

    def write(self, path):
        """Writes the archive. Parents precede what is in them: dictionaries keep their order."""
        temporary = path + ".new"
        with open(temporary, "wb") as out:
            for inode, (name, (mode, data, major, minor)) in enumerate(self.entries.items(), 1):
                write_entry(out, inode, name, mode, data, major, minor)
            write_entry(out, 0, "TRAILER!!!", 0, b"", 0, 0)
        os.rename(temporary, path)


def write_entry(out, inode, name, mode, data, major, minor):
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode, mode, uid, gid, links, mtime, size, device, node's device, name's size, checksum
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(encoded), 0)
    out.write(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
    pad(out)
    out.write(data)
    pad(out)


def pad(out):
    out.write(b"\0" * (-out.tell() % 4))


# ---- small helpers ----


def input_files(kernel, extra):
    sources = [os.path.abspath(__file__), kernel, *extra.plugins]
    sources += sorted(glob.glob(os.path.join(GUEST_SOURCES, "*")))
    for folder in sorted(
        {os.path.dirname(path) for files in extra.sources.values() for path in files}
    ):
        sources += sorted(glob.glob(os.path.join(folder, "*.[ch]")))
    return sources + [program(name) for name in ("busybox",) + PROGRAMS + tuple(extra.programs)]


def fingerprint(paths):
    """Changes when one of the files changes; content for ours, size and time for the system's."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.encode())
        if path.startswith(REPO) and os.path.getsize(path) < 1 << 20:
            digest.update(read_bytes(path))
        else:
            status = os.stat(path)
            digest.update(b"%d %d" % (status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def read_bytes(path):
    with open(path, "rb") as source:
        return source.read()


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except FileNotFoundError:
        return ""


def run(command, cwd=None):
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False
    )
