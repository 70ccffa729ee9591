"""The figures of a life, from its arrivals to inline SVG text."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, StrMethodFormatter

from accrete.reports._plotting import (
    COLOURS,
    MIN_BARS,
    Rows,
    as_svg,
    column,
    show_percent,
)

_SIZE_IN = (4.9, 4.3)


@as_svg("Top-1 accuracy and number of classes over the arrivals", _SIZE_IN)
def accuracy_and_classes(figure: Figure, arrivals: Rows) -> None:
    """Draw the accuracy on all, old and new classes after each arrival, the classes below."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    number = column(arrivals, "number")
    values = []
    for key, line, colour, label in (
        ("top1", "o-", "ink", "all classes"),
        ("top1_old", "^:", "blue", "old ones"),
        ("top1_new", "s", "orange", "new ones"),
    ):
        values.append(column(arrivals, key))
        upper.plot(number, values[-1], line, color=COLOURS[colour], clip_on=False, label=label)
    show_percent(upper, np.concatenate(values))
    figure.legend(loc="outside upper left", ncols=3)
    new = column(arrivals, "num_new_classes")
    old = column(arrivals, "num_classes") - new
    lower.bar(number, old, 0.7, color=COLOURS["blue"])
    lower.bar(number, new, 0.7, bottom=old, color=COLOURS["orange"])
    lower.set_ylabel("classes")
    lower.grid(axis="y")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _show_arrivals(lower, len(arrivals))


@as_svg("Images seen and seconds of training, per arrival", _SIZE_IN)
def cost_per_arrival(figure: Figure, arrivals: Rows) -> None:
    """Draw what each arrival's training cost."""
    upper, lower = figure.subplots(2, 1, sharex=True)
    number = column(arrivals, "number")
    upper.bar(number, column(arrivals, "images_seen"), 0.7, color=COLOURS["blue"])
    upper.set_ylabel("images seen")
    upper.yaxis.set_major_formatter(EngFormatter(sep=""))
    lower.bar(number, column(arrivals, "train_s"), 0.7, color=COLOURS["green"])
    lower.set_ylabel("training, seconds")
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    for ax in (upper, lower):
        ax.grid(axis="y")
    _show_arrivals(lower, len(arrivals))


def _show_arrivals(ax: Axes, num_arrivals: int) -> None:
    """Number the arrivals from 0, which is the beginning."""
    ax.set_xlim(-0.6, max(num_arrivals, MIN_BARS) - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    ax.set_xlabel("arrival (0: the first model)")
