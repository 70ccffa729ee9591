"""The figures of a comparison: staged training beside training from scratch, as inline SVG text."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from accrete.core.units import format_percent
from accrete.reports._plotting import (
    COLOURS,
    FULL_IN,
    HALF_IN,
    Rows,
    as_svg,
    column,
    show_log,
    show_percent,
    zoom_percent,
)

MAX_LABELLED_POINTS = 8


class Way(NamedTuple):
    """How one of the two ways of training is drawn."""

    name: str
    line: str
    colour: str
    side: int
    """To which side its markers and labels move, where both ways have the same x."""


WAYS = {
    "staged": ("staged", "o-", "blue", -1),
    "scratch": ("from scratch", "s--", "orange", 1),
}


@as_svg("Top-1 accuracy over the number of classes, staged beside from scratch", FULL_IN)
def both_top1_over_classes(figure: Figure, points: Rows) -> None:
    """Draw both ways' accuracy over the number of classes (the paper's Figure 2).

    Args:
        points: the comparison's `over_classes`, by number of classes.
    """
    ax = figure.subplots()
    shown = {}
    for kind, values in WAYS.items():
        way = Way(*values)
        known = [p[kind] | {"num_classes": p["num_classes"]} for p in points if p[kind] is not None]
        if not known:
            continue
        num_classes = column(known, "num_classes")
        bars = np.stack([column(known, key) for key in ("top1", "low", "high")])
        # Side by side, or the bars of one way hide those of the other.
        aside = ScaledTranslation(way.side * 3 / 72, 0, figure.dpi_scale_trans)
        _with_bars(ax, num_classes, bars, way, line=way.line, transform=ax.transData + aside)
        shown[kind] = bars
    if len(points) <= MAX_LABELLED_POINTS:
        _label_top1(ax, points)
    show_percent(ax, np.concatenate(list(shown.values()), axis=None))
    ax.set_xlim(0, max(point["num_classes"] for point in points) * 1.08)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("classes in the model")
    figure.legend(loc="outside upper left", ncols=2)


@as_svg("Final top-1 accuracy over images seen, staged beside from scratch", HALF_IN)
def top1_over_images(figure: Figure, groups: Rows, speed_ups: Rows) -> None:
    """Draw final accuracy over images seen; arguments are those of `top1_over_seconds`."""
    _top1_over_cost(figure, groups, speed_ups, "images_seen")
    figure.axes[0].set_xlabel("images seen, all stages")


@as_svg("Final top-1 accuracy over seconds of training, staged beside from scratch", HALF_IN)
def top1_over_seconds(figure: Figure, groups: Rows, speed_ups: Rows) -> None:
    """Draw final accuracy over seconds of training.

    Args:
        groups: the comparison's `groups` that end with all classes.
        speed_ups: its `speed_ups`; those of this cost are drawn from point to curve.
    """
    _top1_over_cost(figure, groups, speed_ups, "train_s")
    figure.axes[0].xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    figure.axes[0].set_xlabel("seconds of training, all stages")


def _top1_over_cost(figure: Figure, groups: Rows, speed_ups: Rows, measure: str) -> None:
    """Draw the from-scratch curve, the staged points, and the distance at equal accuracy."""
    ax = figure.subplots()
    for kind, values in WAYS.items():
        way = Way(*values)
        rows = sorted((g for g in groups if g["kind"] == kind), key=lambda group: group[measure])
        if not rows:
            continue
        bars = np.stack([column(rows, key) for key in ("top1", "top1_low", "top1_high")])
        line = way.line if kind == "scratch" else "o"  # only the curve is interpolated
        _with_bars(ax, column(rows, measure), bars, way, line=line)
    for row in speed_ups:
        if row["measure"] == measure and row["ratio"] is not None:
            _draw_speed_up(ax, row)
    zoom_percent(ax, np.stack([column(groups, key) for key in ("top1_low", "top1_high")]))
    show_log(ax, "x", column(groups, measure), room=0.35)
    figure.legend(loc="outside upper left", ncols=2)


def _with_bars(
    ax: Axes, x: NDArray[np.float64], bars: NDArray[np.float64], way: Way, line: str, **where: Any
) -> None:
    """Draw means with a bar from the lowest to the highest of each.

    Args:
        ax: the drawing.
        x: shape (n,).
        bars: shape (3, n): mean, lowest, highest, 0..1; nan: a gap.
        way: which colour, and the name in the legend.
        line: matplotlib's shorthand for marker and line.
        where: another transform.
    """
    mean, low, high = bars
    reach = np.maximum([mean - low, high - mean], 0)  # a mean of equals may round beyond them
    ax.errorbar(
        x,
        mean,
        yerr=reach,
        fmt=line,
        color=COLOURS[way.colour],
        label=way.name,
        capsize=3,
        elinewidth=1.1,
        clip_on=False,
        **where,
    )


def _label_top1(ax: Axes, points: Rows) -> None:
    """Write each mean on the far side of its bar: the higher way's above, the lower's below."""
    for point in points:
        known = [point[kind] for kind in WAYS if point[kind] is not None]
        for row in known:
            is_above = row["top1"] == max(other["top1"] for other in known)
            ax.annotate(
                f"{format_percent(row['top1'], 1)}",
                (point["num_classes"], row["high"] if is_above else row["low"]),
                (0, 7 if is_above else -7),
                textcoords="offset points",
                ha="center",
                va="bottom" if is_above else "top",
            )


def _draw_speed_up(ax: Axes, row: Any) -> None:
    """Draw how far the curve lies from the point at the point's accuracy, and write how far."""
    point, curve, top1 = row["staged_cost"], row["scratch_cost"], row["top1"]
    ax.plot([point, curve], [top1, top1], ":", color=COLOURS["ink"], lw=1.4)
    side = -1 if point < curve else 1  # away from the curve
    ax.annotate(
        f"{row['ratio']:.2f}×\nat {format_percent(top1, 1)}",
        (point, top1),
        (5 * side, -3 * side),
        textcoords="offset points",
        ha="right" if side < 0 else "left",
        va="bottom" if side < 0 else "top",
    )
