"""The cells of DPDK's own benchmarks: what dpdk-test prints, under the names that our programs print.

    ring_ELEM_SIDES_OP     ELEM: 8 (pointers), 16 (values), bytes. SIDES: single, multi. OP: single, burst_N, bulk_N,
                           empty_bulk_N, two_cores_bulk_N (cycles for each element that passes, after what DPDK
                           prints), all_cores_bulk_N (multi alone: cycles of a core for its N in and out)
    pool_KIND_CORESc_getG_putP_keepK[_const]
                           KIND: nocache, cache, owncache. Cycles of a core for each object taken and given back
    lpm_OP                 add, lookup, lookup_bulk, lookup_x4, delete: cycles for each route or address
    hash_PLACE_HASHED_KEY_OP
                           PLACE: primary (no key is in its second bucket), both. HASHED: hash, prehash. KEY: bytes.
                           OP: add, lookup, lookup_bulk, delete. DPDK has these for tables with and without locks,
                           with and without data: its cells have that as prefix, `locks_`, and suffix `_data`; all of
                           them stand beside our one table. `ext_`: as many keys as there is room for, in a table
                           with extendable buckets there and an ordinary one here.
    aclFAMILY_KIND_RULES   FAMILY: 4, 6. KIND: acl, fw, ipc (acl_rules.h). Cycles for each key, bursts of 32;
                           of dpdk-test-acl, which has a run for each cell, on sets and keys that our program writes

Less is better in all of them.
"""

import re

NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"


def target(cell):
    """What share of DPDK's cycles a cell may take: less in those that packets use."""
    packets = (re.match(r"ring_.*(burst|bulk)_32$", cell) or re.match(r"pool_(own)?cache_", cell)
               or re.search(r"_bulk(_data)?$", cell) or cell.startswith("acl"))
    return 0.8 if packets else 1.0


def ring(lines, tsc_hz):
    in_cores = elem = size = None
    for line in lines:
        if match := re.match(r"### Testing (?:using )?(.*?) ###", line):
            in_cores = {"two physical cores": "two_cores_", "two hyperthreads": "two_threads_",
                        "empty bulk deq": "empty_"}.get(match[1], "")
        elif match := re.match(rf"(legacy APIs|elem APIs: element size (\d+)B): (..)/..: (\w+)"
                               rf"(?: \(size: (\d+)\))?: {NUMBER}", line):
            elem = match[2] or "8"
            sides = {"SP": "single", "MP": "multi"}[match[3]]
            size = f"_{match[5]}" if match[5] else ""
            yield f"ring_{elem}_{sides}_{in_cores}{match[4]}{size}", float(match[6])
        elif match := re.match(r"Core \[\d+\] count = (\d+)", line):
            pass
        elif match := re.match(r"Total count \(size: (\d+)\): (\d+)", line):
            # Two cores, each for 100 ms.
            yield f"ring_{elem}_multi_all_cores_bulk_{match[1]}", 2 * 0.1 * tsc_hz / int(match[2])


def pool(lines, tsc_hz):
    kind = None
    for line in lines:
        if match := re.match(r"start performance test .*\((without cache|with cache|with user-owned "
                             r"cache)\)", line):
            # After the default pool come others, "for NAME"; only the default one has a twin here.
            kind = None if " for " in line else {"without cache": "nocache", "with cache": "cache",
                                                 "with user-owned cache": "owncache"}[match[1]]
        elif kind and (match := re.match(
                r"mempool_autotest cache=\d+ cores=(\d+) n_get_bulk=(\d+) n_put_bulk=(\d+) "
                r"n_keep=(\d+) constant_n=(\d) rate_persec=(\d+)", line)):
            cores, get, put, keep, constant, rate = map(int, match.groups())
            name = f"pool_{kind}_{cores}c_get{get}_put{put}_keep{keep}" + "_const" * constant
            yield name, cores * tsc_hz / rate if rate else float("inf")


def lpm(lines, _):
    names = {"Average LPM Add": "add", "Average LPM Lookup": "lookup", "BULK LPM Lookup": "lookup_bulk",
             "LPM LookupX4": "lookup_x4", "Average LPM Delete": "delete"}
    for line in lines:
        match = re.match(rf"({'|'.join(names)}): {NUMBER} cycles", line)
        if match:
            yield f"lpm_{names[match[1]]}", float(match[2])


def hash_(lines, _):
    prefix = place = data = hashed = ""
    for line in map(str.strip, lines):
        if line.startswith(("Without locks", "With locks", "EXTENDABLE")):
            prefix = {"Witho": "", "With ": "locks_", "EXTEN": "ext_"}[line[:5]]
            place = "both" if prefix == "ext_" else place
        elif "LOCATION" in line:
            place = "primary" if line.startswith("ALL") else "both"
        elif line.startswith("Operations"):
            data = "_data" if "8-byte" in line else ""
        elif "pre-computed" in line:
            hashed = "prehash" if line.startswith("With ") else "hash"
        elif match := re.match(r"(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)$", line):
            for op, cycles in zip(("add", "lookup", "lookup_bulk", "delete"), match.groups()[1:]):
                yield f"{prefix}hash_{place}_{hashed}_{match[1]}_{op}{data}", float(cycles)


def acl(lines):
    """Cycles per key of one run of dpdk-test-acl; None if it has not built the set."""
    found = re.findall(rf"{NUMBER} cycles/pkt", "\n".join(lines))
    return float(found[-1]) if found else None


def of_ours(lines):
    """The cells that one of our programs prints: a name, a tab, cycles; comments begin with #."""
    for line in lines:
        if not line.startswith("#"):
            name, cycles = line.split("\t")
            yield name, float(cycles)


def ours(cell):
    """The name of our cell that stands beside one of DPDK's."""
    return re.sub(r"^(locks_)?((ext_)?hash_.*?)(_data)?$", r"\2", cell)


# program of ours -> (autotest, its reader, seconds are this many times shorter)
TESTS = {
    "ring": ("ring_perf_autotest", ring, 1),
    "pool": ("mempool_perf_autotest", pool, 25),
    "lpm": ("lpm_perf_autotest", lpm, 1),
    "hash": ("hash_perf_autotest", hash_, 1),
}

# The cells of our program acl that dpdk-test-acl has too.
ACL = [f"acl{family}_{kind}_{rules}" for family in (4, 6) for kind in ("acl", "fw", "ipc")
       for rules in (10, 100, 1000, 10000)]
