"""`goodput.py`, the arithmetic: what part of its time a job keeps that is killed now and then."""

import math
import random
from dataclasses import dataclass

_SIMULATED_KILLS = 300
"""In a simulated run; the longer it is, the less does chance say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodputCosts:
    """What being killed and snapshots cost a job."""

    stall_s: float
    """The training loop stands still for each snapshot's copy."""
    write_s: float
    """From then until the snapshot is stored, in a thread; the next one waits for it."""
    slowdown: float
    """Share of a step's speed that is lost while a snapshot is written."""
    start_s: float
    """From the start of a process to its first step, a snapshot to go on from included."""
    away_s: float
    """From a kill to the start of the next process: the scheduler's, a new node's."""


def young_daly_s(cost_s: float, mtbf_s: float) -> float:
    """Return the interval that loses least, to first order: √(2·C·M).

    J. W. Young, "A first order approximation to the optimum checkpoint interval", CACM 17(9), 1974;
    refined by J. T. Daly, Future Generation Computer Systems 22(3), 2006.

    Args:
        cost_s: C, training time that a snapshot takes.
        mtbf_s: M, mean time between kills.
    """
    return math.sqrt(2 * cost_s * mtbf_s)


def snapshot_cost_s(costs: GoodputCosts) -> float:
    """Return C: the training time that a snapshot takes."""
    return costs.stall_s + costs.slowdown * costs.write_s


def simulate(costs: GoodputCosts, interval_s: float, mtbf_s: float, rng: random.Random) -> float:
    """Return effective training time over total time of one long job.

    Kills come at exponential times, counted from the start of each process; one may hit a start.
    The loop takes a snapshot after the interval, or once the last one is stored if that is later. A
    kill takes what was done since the last snapshot that was stored.

    Args:
        costs: of snapshots and starts.
        interval_s: between snapshots.
        mtbf_s: mean time between kills.
        rng: draws the kills.
    """
    total_s = kept_s = 0.0
    for _ in range(_SIMULATED_KILLS):
        lives_s = rng.expovariate(1 / mtbf_s)
        kept_s += kept_s_of(costs, interval_s, lives_s - costs.start_s)
        total_s += lives_s + costs.away_s
    return kept_s / total_s


def kept_s_of(costs: GoodputCosts, interval_s: float, trains_s: float) -> float:
    """Return the training that is stored of a process that trains for so long before its end."""
    period_s = costs.stall_s + max(interval_s, costs.write_s)
    if trains_s < interval_s:
        return 0.0
    # The first one is taken after the interval, the n-th n - 1 periods later.
    begun = 1 + int((trains_s - interval_s) / period_s)
    last_s = interval_s + (begun - 1) * period_s
    stored = begun if last_s + costs.stall_s + costs.write_s <= trains_s else begun - 1
    if not stored:
        return 0.0
    at_s = interval_s + (stored - 1) * period_s
    return max(0.0, at_s - (stored - 1) * snapshot_cost_s(costs))


def expected(costs: GoodputCosts, interval_s: float, mtbf_s: float, *, seed: int = 0) -> float:
    """Return the mean of ten simulated jobs."""
    rng = random.Random(seed)
    return sum(simulate(costs, interval_s, mtbf_s, rng) for _ in range(10)) / 10
