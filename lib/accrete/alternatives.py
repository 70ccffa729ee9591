"""Plans side by side: what each would cost, by a cost model.

Pure. The rows are the plans that one asks about first: the one chosen, α = 0.5, 1 and 2, one class
at a time, and all classes at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from accrete.cost import CostModel
from accrete.plan import Plan, sizes_by_alpha, sizes_by_step


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
    one_by_one = sizes_by_step(len(images), initial, 1)
    rows.append(priced(model, images, one_by_one, f"one class at a time from {initial}"))
    rows.append(priced(model, images, (len(images),), "from scratch: all at once"))
    return rows
