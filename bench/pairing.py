"""Paired measurement: systems alternate within a round, ratios are formed within a round.

The machines this runs on move by a factor of two within minutes (neighbours, and the placement of
the two virtual CPUs), so a mean per system compares weather. A ratio of two runs that lie
seconds apart does not; the median over the rounds is quoted. A run belongs to a placement (near or
far) when the core-to-core round trips before and after it agree; it is unsettled when they do not,
or when other work took one of the two CPUs. A round counts where all its runs are of one
placement; unsettled rounds are shown only where there are no others.
"""

import dataclasses
import functools
import statistics
import subprocess
import time

import contention
import frontends
import systems
from peers.headgate import built

FAR_FROM_NS = 200
SETTLED = ("near", "far")
SETTLE_S = 0.15
TRIES_N = 3


@dataclasses.dataclass
class Run:
    """One system under one load: the front-end's result and where the CPUs were."""
    cell: frontends.Cell
    system: str
    round: int
    result: frontends.Result
    roundtrip_ns: tuple

    @property
    def placement(self):
        sides = {"far" if ns >= FAR_FROM_NS else "near" for ns in self.roundtrip_ns}
        if len(sides) > 1 or self.result.waited_share > contention.DISTURBED_SHARE:
            return "unsettled"
        return sides.pop()


def roundtrip_ns():
    """Median round trip of a cache line between the two CPUs."""
    answer = subprocess.run([built("bench/roundtrip"), str(systems.FORWARDING_CPU),
                             str(frontends.FRONT_END_CPU)], capture_output=True, text=True,
                            check=True, timeout=30)
    return float(answer.stdout.split()[0])


def run_cell(directory, cell, opened, front_end, *, rounds_n, seconds, warmup_s, queue_size,
             verify=False, patient=True, progress=lambda run: None):
    """At least rounds_n rounds in one placement; the list of Runs.

    patient: runs that were disturbed are repeated, and up to twice as many rounds made; else what
    comes first is taken.
    """
    runs = []
    names = list(opened)
    for number in range((2 if patient else 1) * rounds_n):
        before_ns = roundtrip_ns()
        # Another system begins each round, so that none always follows the same one.
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            system = opened[name]
            result = _run_undisturbed(system, TRIES_N if patient else 1, functools.partial(
                front_end.run, directory, cell, system, seconds=seconds, warmup_s=warmup_s,
                queue_size=queue_size, verify=verify))
            after_ns = roundtrip_ns()
            runs.append(Run(cell, name, number, result, (before_ns, after_ns)))
            progress(runs[-1])
            before_ns = after_ns
        if max(len(rounds_of(runs, placement)) for placement in SETTLED) >= rounds_n:
            break
    return runs


def _run_undisturbed(system, tries_n, run):
    """The result of run() with the system active; again, while tries are left, when disturbed."""
    for _ in range(tries_n):
        with systems.running(system):
            result = run()
            # The switch shall see that its front-ends have left before it is paused.
            time.sleep(SETTLE_S)
        if result.waited_share <= contention.DISTURBED_SHARE:
            break
    return result


def rounds_of(runs, placement):
    """The rounds of which every run was in the placement: {round: {system: Run}}.

    An unsettled round is one that belongs to neither of the others.
    """
    rounds = {}
    for run in runs:
        rounds.setdefault(run.round, {})[run.system] = run
    def placement_of(by_system):
        met = {run.placement for run in by_system.values()}
        return met.pop() if len(met) == 1 else "unsettled"
    return {number: by_system for number, by_system in rounds.items()
            if placement_of(by_system) == placement}


@dataclasses.dataclass
class Summary:
    """One system in one cell and placement: medians over rounds_n rounds.

    ratio is the median of subject / this system, with the extremes; None for the subject itself.
    """
    cell: frontends.Cell
    placement: str
    system: str
    rounds_n: int
    pps: float
    bps: float
    cycles_per_packet: float
    ratio: float
    ratio_min: float
    ratio_max: float
    front_end_idle_share: float
    roundtrip_ns: tuple
    lost_share: float       # of the frames sent; None where not known
    ack_us: dict            # of invalidations: medians of each run's mean, median, p99; None: none


def median_known(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def lost_share(run):
    """Of what was sent in the interval and is no longer under way."""
    lost, received = run.result.lost, run.result.received
    return lost / (lost + received) if received is not None and lost + received else None


def ack_us(runs):
    told = [run.result.iommu["ack_us"] for run in runs
            if run.result.iommu and run.result.iommu["ack_us"]]
    return {key: statistics.median(one[key] for one in told)
            for key in ("mean", "median", "p99")} if told else None


def summarize(runs, subject):
    """The Summaries of one cell's runs, in the order of the systems, near before far."""
    out = []
    settled = [placement for placement in SETTLED if rounds_of(runs, placement)]
    for placement in settled or ["unsettled"]:
        rounds = list(rounds_of(runs, placement).values())
        for name in rounds[0] if rounds else ():
            mine = [by_system[name] for by_system in rounds]
            ratios = [by_system[subject].result.pps / by_system[name].result.pps
                      for by_system in rounds
                      if subject in by_system and name != subject and by_system[name].result.pps]
            trips = [ns for run in mine for ns in run.roundtrip_ns]
            out.append(Summary(
                mine[0].cell, placement, name, len(rounds),
                statistics.median(run.result.pps for run in mine),
                statistics.median(run.result.bps for run in mine),
                median_known(run.result.cycles_per_packet for run in mine),
                median_known(ratios), min(ratios, default=None), max(ratios, default=None),
                median_known(run.result.front_end_idle_share for run in mine),
                (min(trips), max(trips)), median_known(map(lost_share, mine)), ack_us(mine)))
    return sorted(out, key=lambda s: (s.placement != "near", systems.NAMES.index(s.system)))
