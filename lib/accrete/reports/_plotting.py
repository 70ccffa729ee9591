"""The look and the axes that figures share, and how a figure becomes inline SVG text.

The text is set by the browser and every colour is a CSS variable with a fallback
(`--plot-ink`, `--plot-blue`, …), so that one drawing serves light, dark and print.
"""

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Concatenate, Literal, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)
from numpy.typing import NDArray

Row = Mapping[str, Any]
Rows = Sequence[Row]

MAX_NAME_CHARS = 16
MAX_SLANTED_NAMES = 15
MIN_BARS = 4
"""Bars that an axis has room for at least: a single one must not fill it."""
MAX_STAGE_TICKS = 14
LABEL_GAP = 0.025
"""Least distance between two stage numbers, as a share of the axis."""


def column(rows: Rows, key: str) -> NDArray[np.float64]:
    """Return one field of every row, null as nan: a gap in the drawing."""
    return np.array([row[key] for row in rows], dtype=np.float64)


def show_percent(ax: Axes, values: NDArray[np.float64]) -> None:
    """Show accuracies from the ten per cent below the lowest up to a little over 100 %."""
    lowest = np.nanmin(values, initial=1.0)
    ax.set_ylim(max(0.0, np.floor(lowest * 10 - 0.5) / 10), 1.018)
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.grid(axis="y")
    ax.set_ylabel("top-1, test images")


def show_stages(ax: Axes, num_stages: int) -> None:
    """Make the x axis count stages from 1."""
    ax.set_xlim(0.4, max(num_stages, MIN_BARS) + 0.6)
    ax.set_xticks(range(1, num_stages + 1, -(-num_stages // MAX_STAGE_TICKS)))
    ax.set_xlabel("stage")


def rule_off_stages(upper: Axes, lower: Axes, stages: Rows) -> None:
    """Rule off the stages on both axes, over optimizer steps, and number them on the upper one."""
    ends = np.cumsum(column(stages, "num_steps"))
    starts = np.concatenate([[0.0], ends[:-1]])
    place, labelled = upper.get_xaxis_transform(), 0.0
    for stage, start, end in zip(stages, starts, ends, strict=True):
        for ax in (upper, lower):
            ax.axvline(start, color=COLOURS["ink"], lw=0.6, ls=(0, (2, 3)))
        middle = (start + end) / 2
        if stage["index"] == 1 or middle - labelled > LABEL_GAP * ends[-1]:
            upper.text(middle, 1.03, f"{stage['index']}", transform=place, ha="center")
            labelled = middle
    upper.text(-0.01, 1.03, "stage", transform=upper.transAxes, ha="right")
    lower.set_xlim(0, max(ends[-1], 1))


def name_classes(ax: Axes, names: Sequence[str]) -> None:
    """Put class names on the x axis at 0, 1, …; upright if many, slanted unless very short."""
    ax.set_xticks(range(len(names)), [short_name(name) for name in names])
    if max(map(len, names), default=0) > 2:
        angle, anchor = (90, "center") if len(names) > MAX_SLANTED_NAMES else (45, "top")
        for tick in ax.get_xticklabels():
            tick.set(rotation=angle, ha="right", va=anchor, rotation_mode="anchor")


def short_name(name: str) -> str:
    """Return a class name that leaves room for the drawing."""
    return name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 1] + "…"


def zoom_percent(ax: Axes, values: NDArray[np.float64]) -> None:
    """Show accuracies no further than they reach, and at least four per cent of them."""
    lowest, highest = np.nanmin(values, initial=1.0), np.nanmax(values, initial=0.0)
    margin = max(0.16 * (highest - lowest), 0.02)  # room for labels
    ax.set_ylim(max(0.0, lowest - margin), min(1.018, highest + margin))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g} %"))
    ax.grid(axis="y")
    ax.set_ylabel("top-1, test images")


def show_log(
    ax: Axes, which: Literal["x", "y"], values: NDArray[np.float64], *, room: float
) -> None:
    """Make an axis logarithmic, with a few round ticks whether it spans a tenth or decades.

    Args:
        ax: the drawing.
        which: its x or its y axis.
        values: what the axis shows, above 0.
        room: how far the axis goes on each side, as a share of what the values span.
    """
    lowest, highest = np.nanmin(values), np.nanmax(values)
    margin = max((highest / lowest) ** room, 1.15)
    low, high = lowest / margin, highest * margin
    ax.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(FixedLocator(_round_ticks(low, high)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(EngFormatter(sep=""))


def _round_ticks(low: float, high: float) -> list[float]:
    """Return at least three round numbers between two, as few as there can be."""
    for digits in ((1,), (1, 3), (1, 2, 5)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in digits]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) >= 3:
            return inside
    even = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high]


P = ParamSpec("P")

# Okabe and Ito's colours: they stay apart under the common kinds of colour blindness.
COLOURS = {
    "ink": "#5b6470",
    "grid": "#dfe3e8",
    "text": "#1c2128",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "sky": "#56b4e9",
    "pink": "#cc79a7",
    "amber": "#e69f00",
    "green": "#009e73",
}

# In proportion to their place on the page, so that all texts come out at one size.
HALF_IN, FULL_IN = (4.9, 3.1), (9.6, 3.6)

STYLE: Any = {
    "svg.fonttype": "none",
    "image.composite_image": False,  # else a confusion matrix is resampled instead of embedded
    "text.parse_math": False,  # a class may be named "$x_1"
    "font.size": 9.5,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["ink"],
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.fontsize": "medium",
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
    "hatch.color": COLOURS["ink"],
    "hatch.linewidth": 0.6,
}


def as_svg(
    label: str, size_in: tuple[float, float]
) -> Callable[[Callable[Concatenate[Figure, P], None]], Callable[P, str]]:
    """Turn a function that draws into a figure into one that returns an <svg> element.

    Args:
        label: what the figure shows, for a reader who cannot see it; HTML-safe.
        size_in: width and height at 72 units to the inch; the page scales the drawing.

    Returns:
        A decorator; the drawing function loses its first parameter, the figure.
    """

    def decorate(draw: Callable[Concatenate[Figure, P], None]) -> Callable[P, str]:
        def render(*args: P.args, **kwargs: P.kwargs) -> str:
            # The salt names the figure: ids stay the same between runs and differ on one page.
            with mpl.rc_context({**STYLE, "svg.hashsalt": draw.__name__}), _any_script():
                figure = Figure(figsize=size_in, layout="constrained", facecolor="none")
                draw(figure, *args, **kwargs)
                return _inline_svg(figure, label)

        render.__name__, render.__doc__ = draw.__name__, draw.__doc__
        return render

    return decorate


def _any_script() -> AbstractContextManager[None]:
    """Silence warnings on glyphs that the layout's font lacks: the browser sets the text."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def _inline_svg(figure: Figure, label: str) -> str:
    """Return the figure as one <svg> element that neither styles nor names others on its page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = re.sub(r"<style.*?</style>", "", buffer.getvalue(), count=1, flags=re.DOTALL)
    _, view_box, body = re.split(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', text, maxsplit=1)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    for name, colour in COLOURS.items():
        body = re.sub(rf"(fill|stroke): {colour}", rf"\1: var(--plot-{name}, {colour})", body)
    opening = f'<svg role="img" aria-label="{label}" viewBox="{view_box}" stroke-linejoin="round">'
    return opening + body.strip()
