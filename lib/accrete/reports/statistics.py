"""How much less one way of training costs than another at equal accuracy; means over repetitions.

One side is a curve: mean accuracy over mean cost at several budgets. The other is a point. The
ratio is what the curve costs at the point's accuracy, over what the point costs; between budgets
the curve is interpolated in the logarithm of the cost, and beyond them there is no answer. The
spread comes from drawing seeds with replacement on both sides.
"""

import math
import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run, trained to its end."""

    budget: float
    """What its group of repetitions has in common, in any unit."""
    seed: int
    """Which repetition."""
    cost: float
    """Images, FLOPs or seconds, above 0."""
    top1: float
    """Share of test images classified right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedUp:
    """A ratio of costs, with the accuracy that it holds at."""

    top1: float
    """Mean accuracy of the point's trials."""
    ratio: float | None
    """The curve's cost over the point's; None: the curve does not reach that accuracy."""
    low: float | None
    """5th percentile; None: in more than a twentieth of the draws there was no answer."""
    high: float | None
    """95th percentile."""


def speed_up(point: Sequence[Trial], curve: Sequence[Trial]) -> SpeedUp:
    """Return how many times more the curve costs than the point, at the point's accuracy.

    Args:
        point: trials of one budget.
        curve: trials of several budgets, each with the same seeds.
    """
    rng = random.Random(0)  # noqa: S311  not a secret
    seeds = sorted({trial.seed for trial in curve})
    drawn = []
    for _ in range(DRAWS):
        some = rng.choices(point, k=len(point))
        chosen = rng.choices(seeds, k=len(seeds))
        others = [trial for seed in chosen for trial in curve if trial.seed == seed]
        drawn.append(_ratio(some, others))
    inside = sorted(value for value in drawn if value is not None)
    is_complete = len(inside) >= 0.95 * DRAWS
    return SpeedUp(
        top1=statistics.mean(trial.top1 for trial in point),
        ratio=_ratio(point, curve),
        low=inside[int(0.05 * len(inside))] if is_complete else None,
        high=inside[int(0.95 * len(inside))] if is_complete else None,
    )


def mean_curve(trials: Sequence[Trial]) -> list[tuple[float, float]]:
    """Return mean cost and mean accuracy at each budget, by cost."""
    groups: dict[float, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.budget, []).append(trial)
    return sorted(
        (statistics.mean(t.cost for t in group), statistics.mean(t.top1 for t in group))
        for group in groups.values()
    )


def cost_at(top1: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """Return the least cost at which a curve of (cost, top1) reaches an accuracy.

    Returns:
        None where the accuracy lies below the curve's beginning or above all of it.
    """
    for (cost, low), (next_cost, high) in pairwise(curve):
        if low <= top1 <= high and high > low:
            part = (top1 - low) / (high - low)
            return math.exp((1 - part) * math.log(cost) + part * math.log(next_cost))
    return None


def _ratio(point: Sequence[Trial], curve: Sequence[Trial]) -> float | None:
    ((cost, top1),) = mean_curve(point)
    other = cost_at(top1, mean_curve(curve))
    return None if other is None else other / cost


class Spread(NamedTuple):
    """A figure of several repetitions."""

    mean: float
    low: float
    high: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return mean, lowest and highest; None if a repetition has no figure, or there is none."""
    present = list(values)
    known = [value for value in present if value is not None]
    if not known or len(known) < len(present):
        return None
    return Spread(statistics.fmean(known), min(known), max(known))
