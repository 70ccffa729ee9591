"""The life of a model whose classes keep arriving: what equal accuracy costs at each arrival.

Pure. From scratch is measured at several budgets for each number of classes N_j; the one that the
validation images choose gives the accuracy A_j that all others are held against. A contestant is a
chain of stages for each budget of an arrival. What it needs at N_j is where its accuracy over what
the arrival cost, interpolated between budgets in the logarithm of the cost, comes within a margin
of A_j. Seeds are drawn with replacement, on both sides, for the intervals.
"""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from accrete.reports.statistics import DRAWS, cost_at

MARGIN = 0.005
"""How far below another an accuracy may be and still count as equal: half a point."""

_ROUNDING = 1e-9

Measure = Literal["images", "seconds"]
MEASURES: tuple[Measure, ...] = ("images", "seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One trained stage. Accuracies are shares of test images, None where there are none."""

    images: float
    """Training images seen."""
    seconds: float
    """Of training."""
    top1: float | None
    """Over all classes so far."""
    validation: float | None = None
    """The same on validation images."""
    top1_old: float | None = None
    """Over the classes before the arrival."""
    top1_new: float | None = None
    """Over those that arrived."""
    lost: float | None = None
    """The stage before's accuracy on its classes, less what is left of it."""

    def cost(self, measure: Measure) -> float:
        """Return what it took."""
        return self.images if measure == "images" else self.seconds


Ladder = Mapping[float, Mapping[int, Measured]]
"""From scratch on one number of classes: by budget, by seed."""
Chains = Mapping[float, Mapping[int, Sequence[Measured]]]
"""A contestant's stages, the first one too: by an arrival's budget, by seed."""
Seeds = Sequence[int]
"""Which repetitions count, some of them perhaps several times."""


class Reference(NamedTuple):
    """What from scratch comes to at one number of classes, with the budget that was chosen."""

    budget: float
    top1: float
    images: float
    seconds: float
    ended_at_largest: bool
    """Whether the search did: a larger budget might have been better still."""

    def cost(self, measure: Measure) -> float:
        """Return what it took."""
        return self.images if measure == "images" else self.seconds


class Needed(NamedTuple):
    """What a contestant needs for equal accuracy."""

    cost: float
    is_bound: bool
    """Whether the least of several budgets is good enough: a smaller one might have been, too."""


class Total(NamedTuple):
    """A whole life, and from scratch at each of its numbers of classes."""

    cost: float
    scratch: float
    budget: float | None = None
    """Of every arrival, where one budget served them all."""

    @property
    def ratio(self) -> float:
        """How many times more from scratch costs."""
        return self.scratch / self.cost


def mean_of(stages: Sequence[Measured], value: Callable[[Measured], float | None]) -> float | None:
    """Return a mean over repetitions, None where one of them has no such figure."""
    found = [value(stage) for stage in stages]
    known = [each for each in found if each is not None]
    return statistics.fmean(known) if known and len(known) == len(found) else None


def tuned(ladder: Ladder, seeds: Seeds) -> Reference | None:
    """Return from scratch at the smallest budget that is within the margin of the best.

    Both by the mean accuracy on validation images, of which there are few: it is taken to rise
    with the budget, and where a larger one had less, they have their mean (isotonic regression).
    By chance alone a small budget would be the best now and then, and an easy one to be as good as.
    The budget's test accuracy is what others are held to.

    Returns:
        None where there are no validation or no test images.
    """
    chosen: list[tuple[float, float]] = []
    for budget in sorted(ladder):
        value = mean_of(_of(ladder[budget], seeds), lambda stage: stage.validation)
        if value is None:
            return None
        chosen.append((budget, value))
    rising = _rising([value for _, value in chosen])
    budget = next(
        budget
        for (budget, _), value in zip(chosen, rising, strict=True)
        if value >= rising[-1] - MARGIN - _ROUNDING
    )
    stages = _of(ladder[budget], seeds)
    top1 = mean_of(stages, lambda stage: stage.top1)
    if top1 is None:
        return None
    return Reference(
        budget,
        top1,
        statistics.fmean(stage.images for stage in stages),
        statistics.fmean(stage.seconds for stage in stages),
        ended_at_largest=len(ladder) > 1 and budget == max(ladder),
    )


def _rising(values: Sequence[float]) -> list[float]:
    """Return the nearest values that never fall, by least squares: pool adjacent violators."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and statistics.fmean(pools[-2]) > statistics.fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [statistics.fmean(pool) for pool in pools for _ in pool]


def needed(
    chains: Chains, place: int, seeds: Seeds, target: float, measure: Measure
) -> Needed | None:
    """Return what an arrival costs where a contestant reaches an accuracy.

    Args:
        chains: the contestant's.
        place: of the arrival among the stages, from 1; 0 is the first stage.
        seeds: which repetitions count.
        target: the accuracy.
        measure: of the cost.

    Returns:
        None where it is not reached with the budgets tried.
    """
    curve: list[tuple[float, float]] = []
    for by_seed in chains.values():
        stages = [by_seed[seed][place] for seed in seeds]
        top1 = mean_of(stages, lambda stage: stage.top1)
        if top1 is None:
            return None
        curve.append((statistics.fmean(stage.cost(measure) for stage in stages), top1))
    curve.sort()
    if curve[0][1] >= target - _ROUNDING:
        return Needed(curve[0][0], is_bound=len(curve) > 1)
    cost = cost_at(target, curve)
    return None if cost is None else Needed(cost, is_bound=False)


def needed_total(
    chains: Chains, references: Sequence[Reference | None], seeds: Seeds, measure: Measure
) -> Total | None:
    """Return a life's first stage and what each arrival needs.

    Args:
        chains: a contestant's.
        references: from scratch at each stage's number of classes.
        seeds: which repetitions count.
        measure: of the cost.

    Returns:
        None where an arrival does not reach equal accuracy with the budgets tried.
    """
    by_seed = next(iter(chains.values()))
    cost = statistics.fmean(by_seed[seed][0].cost(measure) for seed in seeds)
    scratch = 0.0
    for place, reference in enumerate(references):
        if reference is None:
            return None
        scratch += reference.cost(measure)
        if place > 0:
            found = needed(chains, place, seeds, reference.top1 - MARGIN, measure)
            if found is None:
                return None
            cost += found.cost
    return Total(cost, scratch)


def one_budget_total(
    chains: Chains, references: Sequence[Reference | None], seeds: Seeds, measure: Measure
) -> Total | None:
    """Return the life of the smallest budget that is good enough at every arrival, as measured.

    Arguments as of `needed_total`; None where none of the budgets tried is.
    """
    for budget in sorted(chains):
        lives = [chains[budget][seed] for seed in seeds]
        if all(
            _is_equal([life[place] for life in lives], reference)
            for place, reference in enumerate(references)
            if place > 0
        ):
            cost = statistics.fmean(sum(stage.cost(measure) for stage in life) for life in lives)
            known = [reference for reference in references if reference is not None]
            if len(known) < len(references):
                return None
            return Total(cost, sum(each.cost(measure) for each in known), budget)
    return None


def _is_equal(stages: Sequence[Measured], reference: Reference | None) -> bool:
    top1 = mean_of(stages, lambda stage: stage.top1)
    return (
        top1 is not None and reference is not None and top1 >= reference.top1 - MARGIN - _ROUNDING
    )


def _of(by_seed: Mapping[int, Measured], seeds: Seeds) -> list[Measured]:
    return [by_seed[seed] for seed in seeds]


Drawn = Callable[[Seeds, Seeds], float | None]
"""A figure of seeds of the runs from scratch, and of seeds of a contestant's."""


class DrawnFigure(NamedTuple):
    """What draws of seeds say of a figure."""

    share: float
    """Of the draws that have one, above 0 to 1."""
    interval: list[float]
    """The 5th and 95th percentile of those."""

    @property
    def nearly_always(self) -> list[float] | None:
        """The interval; None where more than a twentieth of the draws have no figure."""
        return self.interval if self.share >= 0.95 else None


class Intervals:
    """Draws of seeds, the same for every figure."""

    def __init__(self, seeds: Seeds, num_draws: int = DRAWS) -> None:
        """Draw; of one seed there is nothing to draw."""
        rng = random.Random(0)  # noqa: S311  not a secret
        number = num_draws if len(seeds) > 1 else 0
        self._draws = [
            (tuple(rng.choices(seeds, k=len(seeds))), tuple(rng.choices(seeds, k=len(seeds))))
            for _ in range(number)
        ]
        # A few seeds make few draws that differ, each as often as it was drawn.
        self._weights: dict[tuple[Seeds, Seeds], int] = {}
        for scratch, others in self._draws:
            key = (tuple(sorted(scratch)), tuple(sorted(others)))
            self._weights[key] = self._weights.get(key, 0) + 1

    def of(self, figure: Drawn) -> list[float] | None:
        """Return the 5th and 95th percentile of a figure.

        Returns:
            None with one seed, or where more than a twentieth of the draws give no figure.
        """
        spread = self.spread(figure)
        return None if spread is None else spread.nearly_always

    def spread(self, figure: Drawn) -> DrawnFigure | None:
        """Return in which share of the draws there is a figure, and its percentiles there.

        Returns:
            None with one seed, or where no draw gives a figure.
        """
        found = [(figure(*seeds), weight) for seeds, weight in self._weights.items()]
        inside = sorted((value, weight) for value, weight in found if value is not None)
        total = sum(weight for _, weight in inside)
        if not total:
            return None
        sums = list(accumulate(weight for _, weight in inside))
        interval = [
            next(
                value for (value, _), upto in zip(inside, sums, strict=True) if upto > share * total
            )
            for share in (0.05, 0.95)
        ]
        return DrawnFigure(total / len(self._draws), interval)
