"""The report as one HTML page that needs neither network nor script."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from accrete.core.processes import call_side_by_side
from accrete.errors import InputError
from accrete.reports import _run_figures as figures
from accrete.reports._page import check_rendered_format, inline, render_page
from accrete.reports.run_report import REPORT_FORMAT

MAX_CONFUSED_PAIRS = 12


class ConfusedPair(NamedTuple):
    """Test images of one class that were taken for another."""

    true_name: str
    predicted_name: str
    num_images: int
    share: float
    """Of the true class's test images, 0..1."""


def render_report(report: Mapping[str, Any]) -> str:
    """Return the report as one self-contained HTML page; the same report gives the same text.

    Args:
        report: the content of report.json, format 1. Its texts may hold anything: all of them
            are escaped.

    Raises:
        InputError: the report has another format, or no stage.
    """
    check_rendered_format("report", report["format"], REPORT_FORMAT)
    if not report["stages"]:
        raise InputError(
            f"the report of run {report['run']['name']} has no stage: wait for its first stage"
        )
    last = report["stages"][-1]
    return render_page(
        "report.html.j2",
        report=report,
        last=last,
        changes=report.get("class_changes"),  # an earlier version's report has none
        ranked=rank_classes(last["per_class"]),
        confused_pairs=confused_pairs(last["confusion"], _names(report)),
        figures=inline(_draw_figures(report)),
    )


def rank_classes(per_class: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the classes that have an accuracy, best first; equals stay in class order."""
    rated = [row for row in per_class if row["top1"] is not None]
    return sorted(rated, key=lambda row: -row["top1"])


def confused_pairs(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> list[ConfusedPair]:
    """Return the pairs of classes with the most test images mistaken, at most 12.

    Args:
        confusion: counts (num_classes, num_classes), rows true, columns predicted, by label;
            None without test images.
        names: class names by label.

    Returns:
        Pairs with at least one image, most images first; equals in class order.
    """
    if confusion is None:
        return []
    counts = np.array(confusion).reshape(len(names), len(names))
    mistaken = counts - np.diag(np.diag(counts))
    order = np.argsort(-mistaken, axis=None, kind="stable")[:MAX_CONFUSED_PAIRS]
    cells = (divmod(int(cell), len(names)) for cell in order)
    return [
        ConfusedPair(
            names[row],
            names[column],
            int(counts[row, column]),
            float(counts[row, column] / counts[row].sum()),
        )
        for row, column in cells
        if mistaken[row, column] > 0
    ]


def _names(report: Mapping[str, Any]) -> Sequence[str]:
    """Return the last stage's class names by label."""
    names: Sequence[str] = report["plan"]["class_order"]
    return names[: report["stages"][-1]["num_classes"]]


def _draw_figures(report: Mapping[str, Any]) -> dict[str, str]:
    """Return every figure by name."""
    stages, last = report["stages"], report["stages"][-1]
    drawings: dict[str, Callable[[], str]] = {
        "top1_over_classes": lambda: figures.top1_over_classes(stages),
        "top1_old_and_new": lambda: figures.top1_old_and_new(stages),
        "loss_and_lr": lambda: figures.loss_and_lr(stages),
        "cost_per_stage": lambda: figures.cost_per_stage(stages, report["scratch_estimate"]),
    }
    if last["confusion"] is not None:
        ranked = rank_classes(last["per_class"])
        names = _names(report)
        drawings["confusion_matrix"] = lambda: figures.confusion_matrix(last["confusion"], names)
        drawings["top1_per_class"] = lambda: figures.top1_per_class(ranked, last["top1"])
    return dict(zip(drawings, call_side_by_side([*drawings.values()]), strict=True))
