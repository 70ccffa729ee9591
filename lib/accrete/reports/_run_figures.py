"""The report's figures, one function each: from report.json's stages to inline SVG text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from accrete.core.units import format_percent
from accrete.reports._plotting import (
    COLOURS,
    FULL_IN,
    HALF_IN,
    MIN_BARS,
    Rows,
    as_svg,
    column,
    name_classes,
    rule_off_stages,
    short_name,
    show_percent,
    show_stages,
)

COLOUR_OF = {"pull": "sky", "grow": "pink", "train": "blue", "evaluate": "amber", "push": "green"}
TALL_IN, SQUARE_IN = (9.6, 4.5), (6.0, 5.0)
MAX_NAMED_CLASSES = 30
MAX_COUNTED_CLASSES = 15
MAX_LABELLED_STAGES = 8


@as_svg("Top-1 accuracy over the number of classes in the model", HALF_IN)
def top1_over_classes(figure: Figure, stages: Rows) -> None:
    """Draw test accuracy over N_j, one marker per stage (the paper's Figure 2)."""
    ax = figure.subplots()
    num_classes, top1 = column(stages, "num_classes"), column(stages, "top1")
    ax.plot(num_classes, top1, "o-", color=COLOURS["blue"], clip_on=False)
    if len(stages) <= MAX_LABELLED_STAGES:
        for x, y in zip(num_classes[~np.isnan(top1)], top1[~np.isnan(top1)], strict=True):
            ax.annotate(format_percent(y, 1), (x, y), (3, 5), textcoords="offset points")
    show_percent(ax, top1)
    ax.set_xlim(0, num_classes[-1] * 1.16)  # leaves room for the last label
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
    ax.set_xlabel("classes in the model")


@as_svg("Top-1 accuracy of old and of new classes, per stage", HALF_IN)
def top1_old_and_new(figure: Figure, stages: Rows) -> None:
    """Draw the accuracy of each stage's old and new classes; stage 1 has no old ones."""
    ax = figure.subplots()
    index, old, new = (column(stages, key) for key in ("index", "top1_old", "top1_new"))
    for top1, line, colour, label in (
        (old, "o-", "blue", "classes of earlier stages"),
        (new, "s--", "orange", "classes new in the stage"),
    ):
        ax.plot(index, top1, line, color=COLOURS[colour], clip_on=False, label=label)
    show_percent(ax, np.concatenate([old, new]))
    show_stages(ax, len(stages))
    figure.legend(loc="outside upper left", ncols=2)


@as_svg("Training loss and learning rate over the optimizer steps of all stages", FULL_IN)
def loss_and_lr(figure: Figure, stages: Rows) -> None:
    """Draw loss and learning rate over optimizer steps, a rule where each stage begins."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for stage in stages:
        step, loss, lr = (column(stage["history"], key) for key in ("step", "loss", "lr"))
        marker = "." if len(step) == 1 else ""  # one point makes no line
        upper.plot(step, loss, marker=marker, color=COLOURS["blue"], lw=1.2)
        lower.plot(step, lr, marker=marker, color=COLOURS["orange"], lw=1.4)
    rule_off_stages(upper, lower, stages)
    for ax, name in ((upper, "training loss"), (lower, "learning rate")):
        ax.set_ylim(bottom=0)
        ax.set_ylabel(name)
        ax.grid(axis="y")
    lower.set_xlabel("optimizer step, counted over all stages")
    lower.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


@as_svg("Images and seconds per stage, and their sums beside the from-scratch estimate", TALL_IN)
def cost_per_stage(figure: Figure, stages: Rows, scratch: Mapping[str, Any]) -> None:
    """Draw each stage's images and seconds, and below them the sums beside the estimate.

    Args:
        stages: report.json's `stages`.
        scratch: its `scratch_estimate`: images_seen and train_s of training from scratch. Nobody
            has measured it: it is hatched and named an estimate.
    """
    upper, lower = figure.subplots(2, 2, height_ratios=[3, 1])
    images = {"images": column(stages, "images_seen")}
    seconds = {phase: column(stages, f"{phase}_s") for phase in COLOUR_OF}
    _stacked_bars(upper[0], images)
    _stacked_bars(upper[1], seconds)
    _sums_beside_estimate(lower[0], images, scratch["images_seen"], "from scratch\n(estimate)")
    _sums_beside_estimate(
        lower[1], seconds, scratch["train_s"], "from scratch\n(estimate,\ntraining only)"
    )
    for ax in (upper[0].yaxis, lower[0].xaxis):
        ax.set_major_formatter(EngFormatter(sep=""))
        ax.set_label_text("images seen")
    for ax in (upper[1].yaxis, lower[1].xaxis):
        ax.set_major_formatter(StrMethodFormatter("{x:,g}"))
        ax.set_label_text("seconds")
    figure.legend(*upper[1].get_legend_handles_labels(), loc="outside upper right", ncols=5)


@as_svg("Confusion matrix of the last stage: rows are true classes, columns predicted", SQUARE_IN)
def confusion_matrix(
    figure: Figure, confusion: Sequence[Sequence[int]], names: Sequence[str]
) -> None:
    """Draw each true class's test images by predicted class, as shares of its row.

    Args:
        confusion: counts (num_classes, num_classes), rows true, columns predicted, by label.
        names: class names by label; left out above 30 classes, where they would not be legible.
    """
    counts = np.array(confusion, dtype=np.float64).reshape(len(names), len(names))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Opacity, not lightness: an empty cell is the page's own background. The square root lets
    # a cell of 1 % show.
    ends = [to_rgba(COLOURS["blue"], alpha) for alpha in (0, 1)]
    blues = LinearSegmentedColormap.from_list("blues", ends)
    ax = figure.subplots()
    image = ax.imshow(shares, cmap=blues, norm=PowerNorm(0.5, 0, 1), interpolation="none")
    bar = figure.colorbar(image, ax=ax, shrink=0.5, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1])
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    bar.set_label("share of the true class's images")
    if len(names) <= MAX_NAMED_CLASSES:
        name_classes(ax, names)
        ax.set_yticks(range(len(names)), [short_name(name) for name in names])
        ax.tick_params(labelsize=9.5 if len(names) <= MAX_COUNTED_CLASSES else 8)
    if len(names) <= MAX_COUNTED_CLASSES:
        for row, predicted in np.argwhere(counts > 0):
            colour = "white" if shares[row, predicted] > 0.25 else COLOURS["ink"]
            number = f"{counts[row, predicted]:,.0f}"
            ax.text(predicted, row, number, ha="center", va="center", color=colour)
    ax.set(xlabel="predicted class", ylabel="true class")


@as_svg("Top-1 accuracy of every class of the last stage, best first", FULL_IN)
def top1_per_class(figure: Figure, per_class: Rows, mean: float | None) -> None:
    """Draw every class's accuracy.

    Args:
        per_class: name and top1 of each class that has test images, in the order to draw.
        mean: top-1 over all test images, drawn as a line; None without test images.
    """
    ax = figure.subplots()
    ax.bar(range(len(per_class)), column(per_class, "top1"), 0.8, color=COLOURS["blue"])
    if mean is not None:
        ax.axhline(mean, color=COLOURS["orange"], lw=1.4, ls="--")
    show_percent(ax, np.zeros(1))  # a bar's length is its value only from zero
    ax.set_xlim(-0.8, max(len(per_class), MIN_BARS) - 0.2)
    if len(per_class) <= MAX_NAMED_CLASSES:
        name_classes(ax, [row["name"] for row in per_class])
    else:
        ax.set_xticks([])
        ax.set_xlabel(f"{len(per_class):,} classes, best first")


def _stacked_bars(ax: Axes, parts: Mapping[str, NDArray[np.float64]]) -> None:
    """Draw one bar per stage, its parts one above the other."""
    base: NDArray[np.float64] = np.zeros_like(next(iter(parts.values())))
    for phase, values in parts.items():
        ax.bar(
            range(1, len(values) + 1), values, 0.7, bottom=base, color=_colour(phase), label=phase
        )
        base = base + values
    ax.grid(axis="y")
    show_stages(ax, len(base))


def _sums_beside_estimate(
    ax: Axes, parts: Mapping[str, NDArray[np.float64]], estimate: float, estimate_name: str
) -> None:
    """Draw the sum over all stages and, hatched, the estimate."""
    total = 0.0
    for phase, values in parts.items():
        ax.barh(1, values.sum(), 0.6, left=total, color=_colour(phase))
        total += values.sum()
    ax.barh(0, estimate, 0.6, color="none", edgecolor=COLOURS["ink"], hatch="////", lw=0.8)
    for row, value in ((1, total), (0, estimate)):
        text = f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
        ax.annotate(text, (value, row), (5, 0), textcoords="offset points", va="center")
    ax.set_yticks([1, 0], ["all stages", estimate_name])
    ax.set(xlim=(0, max(total, estimate, 1e-9) * 1.25), ylim=(-0.5, 1.5))
    ax.xaxis.set_major_locator(MaxNLocator(5))


def _colour(phase: str) -> str:
    return COLOURS[COLOUR_OF.get(phase, "ink")]
