"""What a comparison says in a sentence or two: never a speed-up without the accuracy beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from accrete.page import format_count, format_percent

Row = Mapping[str, Any]
Rows = Sequence[Row]


def headline(final: Rows, speed_ups: Rows) -> str:
    """Return what the longest staged budget cost, and what from scratch costs at that accuracy.

    Where that has no answer, the sentence says why, and another speaks of the longest budget
    that has one.

    Args:
        final: the comparison's `groups` that end with all classes, one of them staged at least.
        speed_ups: its `speed_ups`.
    """
    staged = sorted((g for g in final if g["kind"] == "staged"), key=lambda g: -g["budget_epochs"])
    scratch = sorted((g for g in final if g["kind"] == "scratch"), key=lambda g: g["images_seen"])
    longest = staged[0]
    classes = _classes(longest["num_classes"])
    if longest["top1"] is None:
        return f"No accuracy was measured on {classes}: no speed-up can be stated."
    reached = (
        f"Staged training reaches {format_percent(longest['top1'])} top-1 on {classes} after"
        f" {format_count(longest['images_seen'])} images; from scratch"
    )
    by_budget = {row["budget_epochs"]: row for row in speed_ups if row["measure"] == "images_seen"}
    row = by_budget.get(longest["budget_epochs"])
    if row is not None and row["ratio"] is not None:
        return f"{reached} that takes {_cost(row)}"
    sentence = f"{reached} {_why_none(longest['top1'], scratch)}."
    for group in staged[1:]:
        row = by_budget.get(group["budget_epochs"])
        if row is not None and row["ratio"] is not None:
            return (
                f"{sentence} Staged training reaches {format_percent(row['top1'])} after"
                f" {format_count(row['staged_cost'])} images; from scratch that takes {_cost(row)}"
            )
    return sentence


def _cost(row: Row) -> str:
    """Return the cost from scratch, how many times the staged one that is, and how sure it is."""
    about = float(f"{row['scratch_cost']:.3g}")  # interpolated: more digits would say nothing
    times = f"about {about:,.0f}: {row['ratio']:,.2f} times as many"
    low, high = row["low"], row["high"]
    if row["num_seeds"] == 1:
        text = f"{times} (one seed, which shows no spread)."
    elif low is None or high is None:
        text = f"{times} (the {row['num_seeds']} seeds lie too far apart for a range)."
    else:
        text = f"{times} ({low:,.2f}–{high:,.2f} over {row['num_seeds']} seeds)."
        if low <= 1 <= high:
            return f"{text} The range includes 1: it shows no difference."
    return f"{text} Staged training costs more." if row["ratio"] < 1 else text


def _why_none(top1: float, scratch: Rows) -> str:
    """Return why the curve from scratch says nothing at an accuracy."""
    if not scratch:
        return "nothing was trained on as many classes, so that no speed-up can be stated"
    best = max(scratch, key=lambda group: group["top1"])
    if top1 > best["top1"]:
        return (
            f"did not reach that accuracy within the budgets tried (at most"
            f" {format_percent(best['top1'])}, after {format_count(best['images_seen'])} images),"
            " so that no speed-up can be stated at it"
        )
    first = scratch[0]
    if top1 < first["top1"]:
        return (
            f"began above that accuracy ({format_percent(first['top1'])} after"
            f" {format_count(first['images_seen'])} images, the least budget tried), so that no"
            " speed-up can be stated at it"
        )
    return "was tried at too few budgets to say what that accuracy costs: no speed-up can be stated"


def _classes(num_classes: int) -> str:
    return "1 class" if num_classes == 1 else f"{num_classes:,} classes"
