"""The figures of a lifecycle: accuracy and images over the classes that have arrived, as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from accrete.reports._plotting import COLOURS, FULL_IN, as_svg, zoom_percent

_LOOKS = (
    ("scratch", "ink", "s--"),
    ("extend", "blue", "o-"),
    ("improved", "orange", "^-"),
    ("naive", "pink", "v-"),
    ("head", "amber", "D-"),
    ("adaptive", "green", "P-"),
)
_SPARE = (("sky", "<-"), ("text", ">-"))
_LEGEND_IN = 0.35
_MOST_TICKS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeLine:
    """One contestant's life in a drawing, or from scratch."""

    kind: str
    """Its name."""
    label: str
    """In the legend."""
    num_classes: tuple[int, ...]
    """N_j."""
    top1: tuple[float | None, ...]
    """Mean accuracy at each."""
    intervals: tuple[Sequence[float] | None, ...]
    """Of these."""
    images: tuple[float, ...]
    """That each stage saw."""


LifeLines = Sequence[tuple[str, Sequence[LifeLine]]]
"""The lines of each schedule, by its text."""


def life_lines(schedule: Mapping[str, Any], scratch: Mapping[int, Any]) -> list[LifeLine]:
    """Return what is drawn of a schedule: each contestant with the budget that is shown.

    Args:
        schedule: one of the report's `schedules`.
        scratch: the report's `scratch`, by number of classes.
    """
    numbers = tuple(schedule["num_classes"])
    lines = []
    rows = [scratch[number] for number in numbers]
    if all(row["tuned"] is not None for row in rows):
        lines.append(
            LifeLine(
                kind="scratch",
                label="from scratch",
                num_classes=numbers,
                top1=tuple(row["tuned"]["top1"] for row in rows),
                intervals=tuple(row["interval"] for row in rows),
                images=tuple(row["tuned"]["images"] for row in rows),
            )
        )
    for each in schedule["contestants"]:
        budget = shown_budget(each)
        at = [
            next(row for row in arrival["budgets"] if row["budget_epochs"] == budget)
            for arrival in each["arrivals"]
        ]
        lines.append(
            LifeLine(
                kind=each["name"],
                label=f"{each['name']}, {'up to ' * each['is_adaptive']}{budget:g} epochs",
                num_classes=numbers,
                top1=(each["first"]["top1"], *(row["top1"] for row in at)),
                intervals=(None, *(row["interval"] for row in at)),
                images=(each["first"]["images"], *(row["images"] for row in at)),
            )
        )
    return lines


def shown_budget(contestant: Mapping[str, Any]) -> float:
    """Return the least budget that served a contestant's whole life, else its largest one."""
    whole = contestant["one_budget"]["images"]
    if whole is not None:
        return float(whole["budget"])
    return max(float(row["budget_epochs"]) for row in contestant["arrivals"][0]["budgets"])


@as_svg("Top-1 accuracy over the classes that have arrived", FULL_IN)
def top1_over_arrivals(figure: Figure, lives: LifeLines) -> None:
    """Draw accuracy over the number of classes, a panel for each schedule.

    Args:
        figure: where to draw.
        lives: what is drawn in each panel, at least one accuracy in it.
    """
    for ax, lines in _panels(figure, lives):
        shown = []
        for line in lines:
            values = np.array(line.top1, dtype=np.float64)
            look = _look(line, lines)
            reach = np.array(
                [
                    (value, value) if interval is None else tuple(interval)
                    for value, interval in zip(values, line.intervals, strict=True)
                ]
            ).T
            bars = np.maximum(np.abs(reach - values), 0)
            ax.errorbar(line.num_classes, values, bars, capsize=3, elinewidth=1.1, **look)
            shown.append(values)
        zoom_percent(ax, np.concatenate(shown))


@as_svg("Images seen over the classes that have arrived", FULL_IN)
def images_over_arrivals(figure: Figure, lives: LifeLines) -> None:
    """Draw the images seen so far over the number of classes; arguments as the other's."""
    for ax, lines in _panels(figure, lives):
        for line in lines:
            ax.plot(line.num_classes, list(accumulate(line.images)), **_look(line, lines))
        ax.set_ylim(0, None)
        ax.yaxis.set_major_formatter(EngFormatter(sep=""))
        ax.grid(axis="y")
        ax.set_ylabel("images seen so far")


def _panels(figure: Figure, lives: LifeLines) -> list[tuple[Axes, Sequence[LifeLine]]]:
    """Return the panels, one below the other, each with a legend of its own."""
    height = FULL_IN[1] * (0.45 + 0.55 * len(lives)) + _LEGEND_IN
    figure.set_size_inches(FULL_IN[0], height)
    axes = figure.subplots(len(lives), 1, squeeze=False)[:, 0]
    panels = []
    for ax, (name, lines) in zip(axes, lives, strict=True):
        ax.set_title(f"arrivals {name}" if len(lives) > 1 else "", loc="left", fontsize="medium")
        numbers = sorted({number for line in lines for number in line.num_classes})
        if len(numbers) <= _MOST_TICKS:
            ax.set_xticks(numbers)
        else:
            ax.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS, integer=True))
        handles = [ax.plot([], [], label=line.label, **_look(line, lines))[0] for line in lines]
        ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5))
        panels.append((ax, lines))
    axes[-1].set_xlabel("classes in the model")
    return panels


def _look(line: LifeLine, lines: Sequence[LifeLine]) -> dict[str, Any]:
    known = {name: (colour, form) for name, colour, form in _LOOKS}
    spare = [each.kind for each in lines if each.kind not in known]
    if line.kind in known:
        colour, form = known[line.kind]
    else:
        colour, form = _SPARE[spare.index(line.kind) % len(_SPARE)]
    return {
        "color": COLOURS[colour],
        "marker": form[0],
        "linestyle": form[1:],
    }
