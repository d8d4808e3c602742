"""What the benchmark prints: a table to read, JSON to compute with."""

import dataclasses
import json
import platform
import re

def _header(subject, iommu):
    return (f"{'system':<15}{'Mpps':>9}{'Gb/s':>9}{'cycles/packet':>15}"
            f"{subject + '/system':>23}{'min':>7}{'max':>7}{'front-end idle':>16}"
            + (f"{'lost':>7}{'ack us mean':>13}{'p99':>9}" if iommu else ""))


def _number(value, form):
    return "-" if value is None else format(value, form)


def _rate(summary):
    """Mpps with three significant digits also for the few frames of TSO."""
    return f"{summary.pps / 1e6:.3f}" if summary.pps < 1e6 else f"{summary.pps / 1e6:.2f}"


def _iommu(summary):
    """What was lost and how long invalidations took, where that is to be told."""
    ack = summary.ack_us or {"mean": None, "p99": None}
    return (f"{_number(summary.lost_share, '.1%'):>7}{_number(ack['mean'], '.1f'):>13}"
            f"{_number(ack['p99'], '.1f'):>9}")


def cell_table(summaries, subject):
    """The text of one cell: a block for each placement that was met."""
    lines = []
    iommu = any(s.cell.guest and s.cell.guest.mapping == "dynamic" for s in summaries)
    for placement in ("near", "far", "unsettled"):
        rows = [s for s in summaries if s.placement == placement]
        if not rows:
            continue
        low_ns, high_ns = (f(ns for s in rows for ns in s.roundtrip_ns) for f in (min, max))
        lines += [f"{rows[0].cell} - {placement}, round trip {low_ns:.0f}-{high_ns:.0f} ns, "
                  f"{rows[0].rounds_n} rounds", _header(subject, iommu)]
        lines += [f"{s.system:<15}{_rate(s):>9}{s.bps / 1e9:>9.2f}"
                  f"{_number(s.cycles_per_packet, '.0f'):>15}{_number(s.ratio, '.2f'):>23}"
                  f"{_number(s.ratio_min, '.2f'):>7}{_number(s.ratio_max, '.2f'):>7}"
                  f"{_number(s.front_end_idle_share, '.0%'):>16}"
                  + (_iommu(s) if iommu else "") for s in rows]
        lines.append("")
    return "\n".join(lines)


def machine():
    """One line on where the figures are from."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return f"{model[1] if model else platform.machine()}, Linux {platform.release()}"


def as_json(runs, summaries, settings):
    """Everything measured, run by run, and the summaries."""
    def plain(item):
        value = dataclasses.asdict(item)
        if hasattr(item, "placement"):
            value["placement"] = item.placement
        return value
    return json.dumps({"machine": machine(), "settings": settings,
                       "summaries": [plain(s) for s in summaries],
                       "runs": [plain(r) for r in runs]}, indent=1)
