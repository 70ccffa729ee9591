"""The figures of a study over (classes started from, classes added): means over seeds, as SVG."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter

from accrete.core.units import format_percent
from accrete.errors import InputError
from accrete.reports._plotting import COLOURS, FULL_IN, as_svg, show_log
from accrete.reports.statistics import Spread, spread


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


Combinations = Sequence[Combination]

CELL_HEIGHT_IN, AXIS_IN = 0.52, 0.8
CELL_RATIO = 0.5
"""Height of a cell over its width."""
BASELINE_GAP = 0.2
"""Between the map and the baseline below it, in cells."""
LEAST_ALPHA, MOST_ALPHA = 0.08, 0.7  # dark text stays legible on the one, light text on the other
LINE_COLOURS = ("blue", "orange", "green", "pink", "amber", "sky", "ink")
MARKERS = "os^Dv<>P"


class HeatCell(NamedTuple):
    """A rectangle of a heat map."""

    x: float
    y: float
    share: float
    """Where its figure lies between the least and the most of the map, 0..1."""
    text: str
    spread_text: str
    """Second line; empty where seeds do not differ."""
    is_bound: bool


@as_svg("Heat map of images until convergence", FULL_IN)
def images_map(
    figure: Figure, rows: Sequence[int], columns: Sequence[int], combinations: Combinations
) -> None:
    """Draw thousands of images until convergence, shaded on a logarithmic scale.

    Args:
        figure: where to draw.
        rows: numbers of classes that trainings start from, top to bottom.
        columns: numbers of classes that they add, left to right.
        combinations: means over seeds; combinations that are missing stay empty.
    """
    means = [math.log(c.images_seen.mean) for c in combinations]
    cells = [
        HeatCell(
            x=columns.index(c.num_added),
            y=rows.index(c.num_initial),
            share=_position(math.log(c.images_seen.mean), means),
            text=("≥ " if c.is_bound else "") + thousands(c.images_seen.mean),
            spread_text=_range(c.images_seen, thousands),
            is_bound=c.is_bound,
        )
        for c in combinations
    ]
    _heat_map(figure, rows, columns, cells)
    figure.axes[0].set_xlabel("classes added, Δn")


@as_svg("Heat map of the final model's error", FULL_IN)
def error_map(
    figure: Figure,
    rows: Sequence[int],
    columns: Sequence[int],
    combinations: Combinations,
    baseline: float | None,
) -> None:
    """Draw the final model's error in per cent, and below it the error from scratch.

    Args:
        figure: where to draw.
        rows: numbers of classes that trainings start from, top to bottom.
        columns: numbers of classes that each of their stages adds, left to right.
        combinations: means over seeds; those that are missing or without error stay empty.
        baseline: error from scratch, 0..1; None: not measured.
    """
    known = [(c, c.error) for c in combinations if c.error is not None]
    means = [error.mean for _, error in known] + ([] if baseline is None else [baseline])
    cells = [
        HeatCell(
            x=columns.index(c.num_added),
            y=rows.index(c.num_initial),
            share=_position(error.mean, means),
            text=_percent(error.mean),
            spread_text=_range(error, _percent),
            is_bound=False,
        )
        for c, error in known
    ]
    if baseline is not None:
        place = len(rows) + BASELINE_GAP
        cells.append(
            HeatCell(0, place, _position(baseline, means), _percent(baseline), "", is_bound=False)
        )
    _heat_map(figure, rows, columns, cells)
    figure.axes[0].set_xlabel("classes that each stage adds, Δn")


@as_svg("Images until convergence over the number of classes added", FULL_IN)
def images_over_added(
    figure: Figure, rows: Sequence[int], columns: Sequence[int], combinations: Combinations
) -> None:
    """Draw images until convergence over Δn, one line for each n1; arguments as `images_map`."""
    ax = figure.subplots()
    for place, num_initial in enumerate(rows):
        line = [c for c in combinations if c.num_initial == num_initial]
        if not line:
            continue
        colour = COLOURS[LINE_COLOURS[place % len(LINE_COLOURS)]]
        added = np.array([c.num_added for c in line])
        mean, low, high = np.array([c.images_seen for c in line]).T
        marker = MARKERS[place % len(MARKERS)]
        name = f"from {num_initial}" if num_initial else "from random weights"
        reach = np.maximum([mean - low, high - mean], 0)
        ax.errorbar(
            added,
            mean,
            reach,
            color=colour,
            fmt=f"{marker}-",
            capsize=3,
            elinewidth=1.1,
            label=name,
        )
        for c in line:
            if c.is_bound:
                at = (c.num_added, c.images_seen.mean)
                ax.annotate("≥", at, (-5, 4), textcoords="offset points", ha="right", fontsize=13)
    everything = np.array([c.images_seen for c in combinations])
    show_log(ax, "y", everything, room=0.1)
    ax.set_ylabel("images until converged")
    ax.grid(axis="y")
    show_log(ax, "x", np.array(columns), room=0.05)
    ax.xaxis.set_major_locator(FixedLocator(columns))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    ax.set_xlabel("classes added, Δn")
    figure.legend(loc="outside upper left", ncols=6)


def thousands(num_images: float) -> str:
    """Return a number of images in thousands, to three digits: 82,000 as `82`."""
    number = num_images / 1000
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _heat_map(
    figure: Figure, rows: Sequence[int], columns: Sequence[int], cells: Sequence[HeatCell]
) -> None:
    """Draw cells over rows and columns, those that none fills as an outline."""
    bottom = max([len(rows) - 1.0, *(cell.y for cell in cells)])
    figure.set_size_inches(FULL_IN[0], (bottom + 1) * CELL_HEIGHT_IN + AXIS_IN)
    ax = figure.subplots()
    filled = {(cell.x, cell.y) for cell in cells}
    for y in range(len(rows)):
        for x in range(len(columns)):
            if (x, y) not in filled:
                _rectangle(ax, x, y, facecolor="none", edgecolor=COLOURS["grid"])
    for cell in cells:
        alpha = LEAST_ALPHA + (MOST_ALPHA - LEAST_ALPHA) * cell.share
        # Opacity, not lightness: the page's background shines through in light and in dark.
        edge = COLOURS["ink"] if cell.is_bound else "none"
        shade = to_rgba(COLOURS["blue"], alpha)
        _rectangle(ax, cell.x, cell.y, facecolor=shade, edgecolor=edge, linestyle="--")
        _write(ax, cell)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(bottom + 0.5, -0.5), aspect=CELL_RATIO)
    ax.set_anchor("W")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()  # what lies below the map has no Δn
    ax.xaxis.set_label_position("top")
    ax.set_xticks(range(len(columns)), [f"{number:,}" for number in columns])
    names = [f"{number:,}" for number in rows]
    places = [float(place) for place in range(len(rows))]
    if bottom >= len(rows):
        names, places = [*names, "from scratch"], [*places, bottom]
    ax.set_yticks(places, names)
    # Upright beside one or two rows there is room for half of it.
    ax.set_ylabel("classes\nbefore, n1" if len(rows) < 3 else "classes before, n1")


def _rectangle(ax: Axes, x: float, y: float, **look: Any) -> None:
    """Draw a rectangle around a point that leaves a little room to the next one."""
    width, height = 0.96, 0.92
    ax.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, lw=1, **look))


def _write(ax: Axes, cell: HeatCell) -> None:
    """Write a cell's figure, and its spread below."""
    place: Any = {"ha": "center", "va": "center", "color": COLOURS["text"]}
    if not cell.spread_text:
        ax.text(cell.x, cell.y, cell.text, **place)
        return
    ax.text(cell.x, cell.y - 0.16, cell.text, **place)
    ax.text(cell.x, cell.y + 0.22, cell.spread_text, fontsize=7.5, **place)


def _position(value: float, values: Sequence[float]) -> float:
    """Return where a value lies between the least and the most, in the middle if they are one."""
    least, most = min(values), max(values)
    return 0.5 if most == least else (value - least) / (most - least)


def _percent(share: float) -> str:
    """Return a share in per cent; a cell has no room for the sign."""
    return format_percent(share, 1).removesuffix(" %")


def _range(values: Spread, show: Callable[[float], str]) -> str:
    """Return `lowest–highest`, nothing where both read the same."""
    low, high = show(values.low), show(values.high)
    return "" if low == high else f"{low}–{high}"
