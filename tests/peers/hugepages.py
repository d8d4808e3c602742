"""Hugepages, borrowed from the kernel and given back.

The peers take 2 MiB pages through memfd, so no mount is needed. What is free already is used
first; only the difference is added to nr_hugepages, and exactly that difference is taken away
again, so that two harnesses at once do not undo each other.
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
    added_n = 0
    try:
        with _locked():
            if not TOTAL.exists():
                raise Unavailable("this kernel has no 2 MiB hugepages")
            missing_n = max(0, want_n - _read(FREE))
            if missing_n * PAGE_BYTES > _available_bytes():
                raise Unavailable(f"{mib} MiB of hugepages wanted, less memory is available")
            before_n = _read(TOTAL)
            if missing_n:
                try:
                    TOTAL.write_text(str(before_n + missing_n))
                except OSError as error:
                    raise Unavailable(f"cannot reserve {missing_n} hugepages ({error.strerror}): "
                                      f"run as root, or echo {before_n + missing_n} > {TOTAL}") from None
            added_n = _read(TOTAL) - before_n
            if added_n < missing_n:
                raise Unavailable(f"the kernel found {added_n} of {missing_n} hugepages: "
                                  "memory is fragmented")
        yield
    finally:
        if added_n:
            with _locked():
                TOTAL.write_text(str(max(0, _read(TOTAL) - added_n)))
