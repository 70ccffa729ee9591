"""What extending a model did to each class that it had: gained, lost, or nothing that shows.

The model before and the model after saw the same test images, so the test is a paired one: of the
images that one of the two had right and the other had not, half would go each way if nothing had
changed (McNemar 1947; the exact form, which never names more than its level allows). It sees far
smaller changes than a comparison of two accuracies, which takes the images for others each time.
Stages record which images they had right; of one that an earlier version recorded the numbers alone
are known, and Fisher's exact test stands in, too careful where the images are the same. Of eighty
classes four would seem changed at 5 % by chance: Benjamini and Hochberg's procedure (1995) holds
the expected share of false ones among those that are named at 5 %. The images of different classes
are different ones, as it asks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accrete.catalog.manifests import DatasetManifest, ShardRef

LEVEL = 0.05
"""Share of false ones among the classes that are named as changed, in expectation."""

_PAIRED = "exact McNemar test on the same images"
_UNPAIRED = "Fisher's exact test"
_SAME = 1e-9
"""Relative difference below which two tables are equally likely; sums of logarithms round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedStage:
    """A finished stage and what it recorded of its test images."""

    class_names: tuple[str, ...]
    """By label."""
    dataset: DatasetManifest
    """Whose test images it was evaluated on."""
    record: Mapping[str, Any]
    """Its stored record."""

    def shards(self, name: str) -> tuple[ShardRef, ...]:
        """Return the test shards of a class."""
        return self.dataset.by_name[name].test

    def confusion_row(self, name: str) -> list[int]:
        """Return how many test images of a class were taken for each label."""
        row: list[int] = self.record["confusion"]["test"][self.class_names.index(name)]
        return row

    def right(self, name: str) -> NDArray[np.bool_] | None:
        """Return which test images of a class it had right, in their shards' order (N,).

        Returns:
            None where an earlier version recorded the stage, or what is recorded contradicts its
            confusion matrix.
        """
        recorded = self.record.get("test_right")
        if recorded is None:
            return None
        label, row = self.class_names.index(name), self.confusion_row(name)
        packed = np.frombuffer(bytes.fromhex(recorded[label]), np.uint8)
        bits = np.unpackbits(packed)[: sum(row)].astype(bool)
        return bits if len(bits) == sum(row) and bits.sum() == row[label] else None


def class_changes(before: EvaluatedStage, after: EvaluatedStage) -> dict[str, Any] | None:
    """Return what became of each class that a model had, as JSON values; None without test images.

    Args:
        before: the model that was extended.
        after: what it became, with all its classes.

    Returns:
        `classes`, those that lost most first, each with the accuracies before and after on the
        images that both saw, how many images were `lost` and `gained`, how many are now taken for
        a new class, `p` of the test, `q` as Benjamini and Hochberg adjust it, and the `verdict`:
        lost, gained or unclear; None where the two saw other images. And the sums.
    """
    if before.record["confusion"]["test"] is None or after.record["confusion"]["test"] is None:
        return None
    rows = [_compared(name, before, after) for name in before.class_names]
    tested = [row for row in rows if row["p"] is not None]
    for row, q in zip(tested, adjusted([row["p"] for row in tested]), strict=True):
        is_clear = q <= LEVEL
        row["q"] = q
        row["verdict"] = ("lost" if row["change"] < 0 else "gained") if is_clear else "unclear"
    counts = {
        verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("lost", "gained")
    }
    return {
        "level": LEVEL,
        "tests": sorted({row["test"] for row in tested}),
        "num_classes": len(rows),
        "num_compared": len(tested),
        "num_lost": counts["lost"],
        "num_gained": counts["gained"],
        "summary": _summary(len(rows), len(tested), counts),
        "classes": sorted(rows, key=_by_change),
    }


def _by_change(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Order by change, what is not known last."""
    change = row["change"]
    return change is None, 0.0 if change is None else change


def _summary(num_classes: int, num_compared: int, counts: Mapping[str, int]) -> str:
    if num_compared == 0:
        return f"none of {num_classes:,} old classes could be compared: other test images, or none"
    missing = num_classes - num_compared
    return (
        f"{counts['lost']:,} of {num_compared:,} old classes lost accuracy, "
        f"{counts['gained']:,} gained, at a false discovery rate of {100 * LEVEL:g} %"
        + (f"; {missing:,} more have other test images or none" if missing else "")
    )


def _compared(name: str, before: EvaluatedStage, after: EvaluatedStage) -> dict[str, Any]:
    """Return a class's row, as far as it can be known."""
    row = {
        "name": name,
        **dict.fromkeys(("num_images", "before", "after", "change", "num_lost", "num_gained")),
        "num_taken_for_new": sum(after.confusion_row(name)[len(before.class_names) :]),
        **dict.fromkeys(("test", "p", "q", "verdict")),
    }
    old, new = before.shards(name), after.shards(name)
    num_images = sum(before.confusion_row(name))
    if old != new[: len(old)] or num_images == 0:
        return row
    had, has = before.right(name), after.right(name)
    if had is not None and has is not None:
        has = has[:num_images]  # images that came later stand behind those that were there
        num_lost, num_gained = int((had & ~has).sum()), int((~had & has).sum())
        num_before, num_after = int(had.sum()), int(has.sum())
        test = {"test": _PAIRED, "p": mcnemar(num_lost, num_gained)}
        row |= {"num_lost": num_lost, "num_gained": num_gained, **test}
    elif old == new:
        num_before = before.confusion_row(name)[before.class_names.index(name)]
        num_after = after.confusion_row(name)[after.class_names.index(name)]
        row |= {"test": _UNPAIRED, "p": fisher(num_before, num_after, num_images)}
    else:
        return row
    return row | {
        "num_images": num_images,
        "before": num_before / num_images,
        "after": num_after / num_images,
        "change": (num_after - num_before) / num_images,
    }


def mcnemar(num_lost: int, num_gained: int) -> float:
    """Return the chance of at least so uneven a split of the images that changed, 0..1.

    Args:
        num_lost: images that were right and are not any more.
        num_gained: images that are right and were not.
    """
    total, fewer = num_lost + num_gained, min(num_lost, num_gained)
    term = tail = 1
    for number in range(fewer):
        term = term * (total - number) // (number + 1)
        tail += term
    both_tails: float = 2 * tail / (1 << total)
    return min(1.0, both_tails)


def fisher(num_before: int, num_after: int, num_images: int) -> float:
    """Return the chance of tables at most as likely as this one, of as many right ones, 0..1.

    Args:
        num_before: right before, of num_images.
        num_after: right after, of as many others.
        num_images: at least 1.
    """
    right = num_before + num_after
    possible = range(max(0, right - num_images), min(right, num_images) + 1)
    logs = [_log_choose(num_images, k) + _log_choose(num_images, right - k) for k in possible]
    seen = logs[num_before - possible.start]
    total = _log_choose(2 * num_images, right)
    return min(1.0, sum(math.exp(value - total) for value in logs if value <= seen + _SAME))


def _log_choose(total: int, chosen: int) -> float:
    parts = (total, chosen, total - chosen)
    whole, some, rest = (math.lgamma(part + 1) for part in parts)
    return whole - some - rest


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the least false discovery rate at which each is named (Benjamini and Hochberg)."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index], reverse=True)
    found = [1.0] * len(p_values)
    least = 1.0
    for number, index in enumerate(order):
        least = min(least, p_values[index] * len(p_values) / (len(p_values) - number))
        found[index] = least
    return found
