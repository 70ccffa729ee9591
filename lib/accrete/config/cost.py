"""What a stage costs, and the plan that costs least.

The paper leaves open "how to determine the appropriate α_j". Here the images that a stage needs to
converge are measured, modelled and minimized. The model is

    t(old, new) = c · new^p · (old + new)^q,   p >= 0, q >= 0,

in training images: rising in both arguments, the same for any unit of data, and defined for
old = 0, which no cell of the paper's Table I is: a first stage, and so training from scratch, costs
what the formula says there. That is an assumption, and every result says so.

numpy only. D_{j-1} is `old`, d_j is `new`, both in images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accrete.config.plan import Plan, sizes_by_alpha, sizes_by_increment
from accrete.core.serialization import from_json
from accrete.core.untrusted import decode_json, read_small_file
from accrete.errors import ConfigError

Costs = NDArray[np.float64]

_DRAWS = 400
"""Parameter draws behind an interval; their own error is a few per cent of its width."""

_IMAGES_PER_CLASS = 500
"""CIFAR-100's, in which the paper's tables count classes."""

TABLE_I = {
    (10, 1): 82, (50, 1): 408, (80, 1): 648,
    (10, 5): 330, (50, 5): 1015, (80, 5): 1485,
    (10, 10): 650, (50, 10): 1950, (80, 10): 3285,
    (10, 20): 1480, (50, 20): 2400, (80, 20): 4600,
    (10, 50): 2610, (50, 50): 4450,
}  # fmt: skip
"""Thousands of steps, which we read as images, by (n1, Δn): the paper's Table I."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A stage that was trained until it converged."""

    old_images: int
    """|D_{j-1}|, at least 0."""
    new_images: int
    """|d_j|, at least 1."""
    images: float
    """Training images seen until it converged, above 0."""

    def __post_init__(self) -> None:
        if self.old_images < 0 or self.new_images < 1 or not 0 < self.images < math.inf:
            raise ConfigError(
                f"a stage of {self.new_images} new images beside {self.old_images} old ones that "
                f"took {self.images} images is no measurement: correct or remove it"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Images that a stage takes to converge, fitted to measurements."""

    source: str
    """What it was fitted to, for people."""
    parameters: tuple[float, float, float]
    """log c, p, q."""
    covariance: tuple[tuple[float, ...], ...]
    """Of the parameters, 3×3."""
    scatter: float
    """Standard deviation of log(measured / modelled)."""
    num_measurements: int
    """How many it was fitted to."""
    stage_images: float = 0.0
    """What every stage costs beside training (pod start, pull, compile), in images' time."""

    def stage_cost(self, old: float, new: float) -> float:
        """Return the expected cost of a stage, in images."""
        return float(self.costs(np.array([old], np.float64), np.array([new], np.float64))[0])

    def costs(self, old: Costs, new: Costs) -> Costs:
        """Return the expected cost of stages, in images, fixed costs included."""
        return self._trained(self.parameters, old, new) + self.stage_images

    def plan_cost(self, stage_images: Sequence[tuple[int, int]]) -> float:
        """Return the expected cost of a plan.

        Args:
            stage_images: (|D_{j-1}|, |d_j|) of each stage.
        """
        old, new = np.array(stage_images, np.float64).T
        return float(self.costs(old, new).sum())

    def interval(self, stage_images: Sequence[tuple[int, int]]) -> tuple[float, float]:
        """Return where the cost of a plan lies at 90 %, by the uncertainty of the fit alone."""
        old, new = np.array(stage_images, np.float64).T
        totals = [self._trained(drawn, old, new).sum() for drawn in self._drawn_parameters()]
        fixed = self.stage_images * len(old)
        low, high = np.quantile(totals, (0.05, 0.95))
        return float(low) + fixed, float(high) + fixed

    @staticmethod
    def _trained(parameters: Sequence[float], old: Costs, new: Costs) -> Costs:
        log_c, p, q = parameters
        return np.exp(log_c + p * np.log(new) + q * np.log(old + new))

    def _drawn_parameters(self) -> list[list[float]]:
        """Return plausible parameters; the same ones every time, so that plans compare."""
        rng = np.random.default_rng(0)
        drawn = rng.multivariate_normal(self.parameters, self.covariance, _DRAWS)
        return [list(map(float, row)) for row in drawn]


def paper_prior() -> CostModel:
    """Return the model fitted to the paper's Table I (VGG-19, CIFAR-100, fixed lr 0.01)."""
    measurements = [
        Measurement(
            old_images=n1 * _IMAGES_PER_CLASS,
            new_images=dn * _IMAGES_PER_CLASS,
            images=1e3 * thousands,
        )
        for (n1, dn), thousands in TABLE_I.items()
    ]
    return fit(measurements, source="the paper's Table I")


def fit(measurements: Sequence[Measurement], *, source: str) -> CostModel:
    """Fit the model to measurements, by least squares on logarithms.

    Raises:
        ConfigError: fewer than four, or all of one size.
    """
    if len(measurements) < 4:
        raise ConfigError(
            f"{source} has {len(measurements)} measurements: a cost model takes at least 4, "
            "at several sizes"
        )
    new = np.log([m.new_images for m in measurements])
    total = np.log([m.old_images + m.new_images for m in measurements])
    images = np.log([m.images for m in measurements])
    if min(np.ptp(new), np.ptp(total)) < 1e-9:
        raise ConfigError(
            f"{source} has stages of one size only: vary both the old and the new images"
        )
    columns = [np.ones_like(new), new, total]
    used, values = _least_squares(columns, images)
    residuals = images - np.stack(columns, 1) @ values
    scatter = math.sqrt(float(residuals @ residuals) / max(1, len(images) - len(used)))
    design = np.stack([columns[n] for n in used], 1)
    covariance = np.zeros((3, 3))
    covariance[np.ix_(used, used)] = scatter**2 * np.linalg.pinv(design.T @ design)
    return CostModel(
        source=source,
        parameters=(float(values[0]), float(values[1]), float(values[2])),
        covariance=tuple(tuple(map(float, row)) for row in covariance),
        scatter=scatter,
        num_measurements=len(measurements),
    )


def _least_squares(columns: Sequence[Costs], target: Costs) -> tuple[list[int], Costs]:
    """Return the columns used and their weights, those of the last two not below zero."""
    best: tuple[float, list[int], Costs] | None = None
    for used in ([0, 1, 2], [0, 1], [0, 2], [0]):
        design = np.stack([columns[n] for n in used], 1)
        solved = np.linalg.lstsq(design, target, rcond=None)[0]
        weights = np.zeros(3)
        weights[used] = solved
        error = float(((target - design @ solved) ** 2).sum())
        if (weights[1:] >= 0).all() and (best is None or error < best[0]):
            best = error, used, weights
    assert best is not None  # a constant alone has no sign to break
    return best[1], best[2]


def read_measurements(path: Path) -> list[Measurement]:
    """Return the measurements of a JSON file, a list of objects with Measurement's fields.

    Raises:
        ConfigError: it cannot be read, or is not of that form.
    """
    try:
        rows = decode_json(read_small_file(path))
    except ValueError as error:
        raise ConfigError(f"measured costs {path} cannot be read ({error})") from error
    if not isinstance(rows, list):
        raise ConfigError(f"measured costs {path} hold no list: give what `accrete study` wrote")
    return [from_json(Measurement, row, f"{path}[{n}]") for n, row in enumerate(rows)]


def cheapest_sizes(
    model: CostModel,
    class_images: Sequence[int],
    *,
    initial: int | None = None,
    max_stages: int | None = None,
    min_classes: int = 1,
) -> tuple[int, ...]:
    """Return the stage sizes of least expected cost, exactly, by dynamic programming.

    Args:
        model: what a stage costs.
        class_images: training images of each class, in class order.
        initial: classes of the first stage; None: as few or many as is cheapest.
        max_stages: most stages; None: any number.
        min_classes: least classes a stage, 1..N.

    Returns:
        Classes of each stage; of equally cheap plans the one of fewer stages.

    Raises:
        ConfigError: a bound is outside its range.
    """
    num_classes = len(class_images)
    if not 1 <= min_classes <= num_classes:
        raise ConfigError(f"least classes per stage are {min_classes}: give 1 to {num_classes}")
    if max_stages is not None and max_stages < 1:
        raise ConfigError(f"most stages are {max_stages}: give at least 1")
    seen = np.concatenate([[0.0], np.cumsum(np.asarray(class_images, np.float64))])
    if initial is not None:
        return _after(model, seen, initial, max_stages, min_classes)
    return _from(model, seen, max_stages, min_classes)


def _after(
    model: CostModel, seen: Costs, initial: int, max_stages: int | None, min_classes: int
) -> tuple[int, ...]:
    """Return the cheapest sizes that begin with a given one."""
    num_classes = len(seen) - 1
    if not min_classes <= initial <= num_classes:
        raise ConfigError(
            f"initial classes are {initial}: give {min_classes} to {num_classes}, or leave it out"
        )
    left = num_classes - initial
    if left == 0:
        return (initial,)
    if left < min_classes or max_stages == 1:
        raise ConfigError(
            f"{left} classes are left after the first stage of {initial}, which no stage may add "
            "alone: change --initial, --max-stages or --min-classes"
        )
    rest = _from(model, seen[initial:], max_stages and max_stages - 1, min_classes)
    return (initial, *rest)


def _from(
    model: CostModel, seen: Costs, max_stages: int | None, min_classes: int
) -> tuple[int, ...]:
    """Return the cheapest sizes from seen[0] images on."""
    num_classes = len(seen) - 1
    if max_stages is None or num_classes // min_classes <= max_stages:
        return _cheapest(model, seen, min_classes)
    return _cheapest_of(model, seen, min_classes, max_stages)


def _cheapest(model: CostModel, seen: Costs, min_classes: int) -> tuple[int, ...]:
    """Return the cheapest sizes with any number of stages: best[j] = min_i best[i] + cost(i, j)."""
    num_classes = len(seen) - 1
    best = np.full(num_classes + 1, np.inf)
    best[0] = 0.0
    came_from = np.zeros(num_classes + 1, np.int64)
    for end in range(min_classes, num_classes + 1):
        old = seen[: end - min_classes + 1]
        totals = best[: len(old)] + model.costs(old, seen[end] - old)
        came_from[end] = int(totals.argmin())
        best[end] = totals[came_from[end]]
    return _sizes(lambda end, _: int(came_from[end]), num_classes, 0)


def _cheapest_of(
    model: CostModel, seen: Costs, min_classes: int, max_stages: int
) -> tuple[int, ...]:
    """Return the cheapest sizes with at most so many stages: best[t, j] = min_i best[t-1, i] + …"""
    num_classes = len(seen) - 1
    best = np.full((max_stages + 1, num_classes + 1), np.inf)
    best[0, 0] = 0.0
    came_from = np.zeros((max_stages + 1, num_classes + 1), np.int64)
    for end in range(min_classes, num_classes + 1):
        old = seen[: end - min_classes + 1]
        totals = best[:-1, : len(old)] + model.costs(old, seen[end] - old)
        came_from[1:, end] = totals.argmin(1)
        best[1:, end] = totals.min(1)
    stages = int(best[:, num_classes].argmin())
    return _sizes(lambda end, left: int(came_from[left, end]), num_classes, stages)


def _sizes(came_from: Callable[[int, int], int], end: int, stages: int) -> tuple[int, ...]:
    """Return the sizes of a path, walked back from its end."""
    sizes = []
    while end:
        start = came_from(end, stages)
        sizes.append(end - start)
        end, stages = start, stages - 1
    return tuple(reversed(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A plan and its expected cost."""

    name: str
    """For people: `alpha = 1`, `from scratch`."""
    stage_sizes: tuple[int, ...]
    """Classes of each stage."""
    images: float
    """Expected cost, in training images, fixed costs included."""
    low: float
    """5th percentile of the cost, by the uncertainty of the fit."""
    high: float
    """95th percentile."""


def stage_spans(class_images: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return (|D_{j-1}|, |d_j|) of each stage."""
    spans = []
    start = seen = 0
    for size in sizes:
        new = sum(class_images[start : start + size])
        spans.append((seen, new))
        start, seen = start + size, seen + new
    return spans


def priced(
    model: CostModel, class_images: Sequence[int], sizes: Sequence[int], name: str
) -> Alternative:
    """Return a plan with its expected cost."""
    spans = stage_spans(class_images, sizes)
    low, high = model.interval(spans)
    return Alternative(
        name=name, stage_sizes=tuple(sizes), images=model.plan_cost(spans), low=low, high=high
    )


def alternatives(model: CostModel, plan: Plan, initial: int) -> list[Alternative]:
    """Return the plan and those to compare it with.

    Args:
        model: what stages cost.
        plan: the one chosen.
        initial: classes that the others start from.
    """
    images = plan.class_images
    rows = [priced(model, images, plan.stage_sizes, plan.rule)]
    for text in ("1/2", "1", "2"):
        ratio = Fraction(text)
        sizes = sizes_by_alpha(images, initial, ratio)
        rows.append(
            priced(model, images, sizes, f"alpha = {float(ratio):g} from {initial} classes")
        )
    one_by_one = sizes_by_increment(len(images), initial, 1)
    rows.append(priced(model, images, one_by_one, f"one class at a time from {initial}"))
    rows.append(priced(model, images, (len(images),), "from scratch: all at once"))
    return rows
