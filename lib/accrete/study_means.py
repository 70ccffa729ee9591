"""The trainings of a study by combination: their means over seeds, and how far seeds differ."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accrete.errors import InputError
from accrete.spread import Spread, spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """All trainings that start from so many classes and add so many; figures are means."""

    num_initial: int
    """n1: classes that the model starts from; 0: it starts from random weights."""
    num_added: int
    """Δn: classes added, at once or in each stage."""
    num_classes: int
    """Of the final model."""
    num_stages: int
    num_seeds: int
    num_unconverged: int
    """Trainings that reached their bound first; above 0, `images_seen` is a lower bound."""
    num_old_images: float
    """Training images of the classes that the model starts from."""
    num_new_images: float
    """Training images of the classes added."""
    num_epochs: float
    images_seen: Spread
    train_s: float
    top1: Spread | None
    """None without test images."""

    @property
    def error(self) -> Spread | None:
        """Share of test images classified wrong."""
        if self.top1 is None:
            return None
        return Spread(1 - self.top1.mean, 1 - self.top1.high, 1 - self.top1.low)

    @property
    def is_bound(self) -> bool:
        """Whether `images_seen` only says how many images were not enough."""
        return self.num_unconverged > 0


def combine(cells: Sequence[Mapping[str, Any]]) -> list[Combination]:
    """Return the trainings of a study by classes started from, then by classes added.

    Args:
        cells: the study's `cells`.

    Raises:
        InputError: trainings of one combination end with different numbers of classes.
    """
    groups: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["num_initial"], cell["num_added"]), []).append(cell)
    return [_mean(group) for _, group in sorted(groups.items())]


def _mean(cells: Sequence[Mapping[str, Any]]) -> Combination:
    first = cells[0]
    for cell in cells:
        if cell["num_classes"] != first["num_classes"]:
            raise InputError(
                f"training {first['name']} ends with {first['num_classes']} classes, but"
                f" {cell['name']}, of the same combination, with {cell['num_classes']}: a mean of"
                " both would say nothing; put them into studies of their own"
            )
    images_seen = spread(cell["images_seen"] for cell in cells)
    assert images_seen is not None
    means = {
        key: statistics.fmean(cell[key] for cell in cells)
        for key in ("num_old_images", "num_new_images", "num_epochs", "train_s")
    }
    return Combination(
        num_initial=first["num_initial"],
        num_added=first["num_added"],
        num_classes=first["num_classes"],
        num_stages=first["num_stages"],
        num_seeds=len(cells),
        num_unconverged=sum(cell["converged"] is False for cell in cells),
        images_seen=images_seen,
        top1=spread(cell["top1"] for cell in cells),
        **means,
    )
