"""Hugepages, borrowed from the kernel and given back.

The peers take 2 MiB pages through memfd, so no mount is needed. Pages are added to the kernel's
number, because those that are free already may be meant for somebody else, and exactly as many are
taken away again, so that two harnesses at once do not undo each other. Free pages are used where
none can be added.
"""

import contextlib
import fcntl
import pathlib
import re

from .process import Unavailable

PAGE_BYTES = 2 << 20
TOTAL = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
FREE = TOTAL.with_name("free_hugepages")
_LOCK = pathlib.Path("/tmp/headgate-hugepages.lock")


@contextlib.contextmanager
def _locked():
    with open(_LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path):
    return int(path.read_text())


def _available_bytes():
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(re.search(r"MemAvailable:\s+(\d+)", text).group(1)) << 10


@contextlib.contextmanager
def reserve(mib):
    """Holds at least `mib` MiB of free 2 MiB pages for the body; Unavailable with the reason."""
    want_n = -(-(mib << 20) // PAGE_BYTES)
    with _locked():
        added_n = _add(want_n)
    try:
        if added_n < want_n and _read(FREE) < want_n:
            raise Unavailable(f"{want_n} hugepages of 2 MiB are needed and {_read(FREE)} are free: "
                              f"as root, echo {want_n} > {TOTAL}, or free some memory")
        yield
    finally:
        with _locked():
            _add(-added_n)


def _add(pages_n):
    """Changes the kernel's number of pages; how many were added in fact, 0 without the right to."""
    if not TOTAL.exists():
        raise Unavailable("this kernel has no 2 MiB hugepages")
    before_n = _read(TOTAL)
    if pages_n * PAGE_BYTES > _available_bytes():
        return 0
    try:
        TOTAL.write_text(str(max(0, before_n + pages_n)))
    except OSError:
        return 0
    return _read(TOTAL) - before_n
