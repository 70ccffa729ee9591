"""The report as one HTML page that needs neither network nor script."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from accrete import figures
from accrete.errors import InputError

REPORT_FORMAT = 1
NONE_MARK = "–"
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
    if report["format"] != REPORT_FORMAT:
        raise InputError(
            f"the report has format {report['format']}, but this version of accrete renders"
            f" format {REPORT_FORMAT}: use the version that wrote it"
        )
    if not report["stages"]:
        raise InputError(
            f"the report of run {report['run']['name']} has no stage: wait for its first stage"
        )
    last = report["stages"][-1]
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        last=last,
        ranked=rank_classes(last["per_class"]),
        confused_pairs=confused_pairs(last["confusion"], _names(report)),
        figures=_draw_figures(report),
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


def format_percent(share: float | None) -> str:
    """Return 0.9861 as `98.6 %`."""
    return NONE_MARK if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def format_count(number: float | None) -> str:
    """Return 12034 as `12,034`."""
    return NONE_MARK if number is None else f"{number:,.0f}"


def format_decimals(number: float | None, num_digits: int) -> str:
    """Return a number with a fixed count of digits after the point."""
    return NONE_MARK if number is None else f"{number:,.{num_digits}f}"


def format_seconds(seconds: float) -> str:
    """Return a duration in the unit that a reader would pick: `41 ms`, `8.1 s`, `3 h 12 min`."""
    space = "\N{NO-BREAK SPACE}"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f}{space}ms"
    if seconds < 99.95:
        return f"{seconds:.1f}{space}s"
    if seconds < 7200:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}{space}min{space}{rest:02d}{space}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,}{space}h{space}{minutes:02d}{space}min"


def _format_time(created_at: str) -> str:
    """Return `2026-11-23T11:00:00Z` as `2026-11-23 11:00:00 UTC`."""
    return created_at.replace("T", " ").replace("Z", " UTC")


def _pretty_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("accrete"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(
        percent=format_percent,
        whole=format_count,
        decimals=format_decimals,
        seconds=format_seconds,
        time=_format_time,
        pretty_json=_pretty_json,
    )
    return environment


def _names(report: Mapping[str, Any]) -> Sequence[str]:
    """Return the last stage's class names by label."""
    names: Sequence[str] = report["plan"]["class_order"]
    return names[: report["stages"][-1]["num_classes"]]


def _draw_figures(report: Mapping[str, Any]) -> dict[str, Markup]:
    """Return every figure by name; the drawing escapes its own texts."""
    stages, last = report["stages"], report["stages"][-1]
    drawn = {
        "top1_over_classes": figures.top1_over_classes(stages),
        "top1_old_and_new": figures.top1_old_and_new(stages),
        "loss_and_lr": figures.loss_and_lr(stages),
        "cost_per_stage": figures.cost_per_stage(stages, report["scratch_estimate"]),
    }
    if last["confusion"] is not None:
        ranked = rank_classes(last["per_class"])
        drawn["confusion_matrix"] = figures.confusion_matrix(last["confusion"], _names(report))
        drawn["top1_per_class"] = figures.top1_per_class(ranked, last["top1"])
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704  escaped SVG
