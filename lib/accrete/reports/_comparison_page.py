"""The comparison of staged training with training from scratch, as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass

from accrete.core.units import format_count, format_counted, format_percent
from accrete.errors import InputError
from accrete.reports import _comparison_figures as figures
from accrete.reports._page import check_rendered_format, inline, render_page
from accrete.reports._plotting import Row, Rows
from accrete.reports.statistics import Spread, spread


def comparison_headline(final: Rows, speed_ups: Rows) -> str:
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
    classes = format_counted(longest["num_classes"], "class", "classes")
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


COMPARISON_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMean:
    """One stage of a plan, its figures the means over seeds."""

    index: int
    num_classes: int
    images_seen: float
    train_s: float
    wall_s: float
    top1: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPlan:
    """The stages of all trainings with one plan and one budget."""

    stage_sizes: Sequence[int]
    budget_epochs: float
    num_seeds: int
    stages: Sequence[StageMean]


def render_comparison(data: Row) -> str:
    """Return a comparison as one self-contained HTML page; the same data gives the same text.

    Args:
        data: the content of comparison.json, format 1. Its texts may hold anything: all of them
            are escaped.

    Raises:
        InputError: the comparison has another format, or no staged training.
    """
    check_rendered_format("comparison", data["format"], COMPARISON_FORMAT)
    if all(group["kind"] != "staged" for group in data["groups"]):
        raise InputError(
            f"comparison {data['sweep']['name']} has no staged training that is done: wait for one"
        )
    final = final_groups(data["groups"])
    longest = max((g for g in final if g["kind"] == "staged"), key=_budget)
    return render_page(
        "comparison.html.j2",
        data=data,
        headline=comparison_headline(final, data["speed_ups"]),
        longest=longest,
        same_budget=_of_budget(final, longest["budget_epochs"]),
        speed_up_of_longest={
            row["measure"]: row
            for row in data["speed_ups"]
            if row["budget_epochs"] == longest["budget_epochs"]
        },
        plans=staged_plans(data["cells"]),
        scratch_budgets=sorted({group["budget_epochs"] for group in final if _is_scratch(group)}),
        seeds=sorted({cell["seed"] for cell in data["cells"]}),
        figures=inline(_draw_figures(data, final)),
    )


def final_groups(groups: Rows) -> list[Row]:
    """Return the groups whose models have all the classes that staged training ends with."""
    num_classes = max(group["num_classes"] for group in groups if not _is_scratch(group))
    return [group for group in groups if group["num_classes"] == num_classes]


def staged_plans(cells: Rows) -> list[StagedPlan]:
    """Return every staged plan and budget with the means of its stages, least budget first."""
    plans: dict[tuple[float, tuple[int, ...]], list[Rows]] = {}
    for cell in cells:
        if cell["kind"] == "staged":
            key = cell["budget_epochs"], tuple(cell["stage_sizes"])
            plans.setdefault(key, []).append(cell["stages"])
    return [
        StagedPlan(
            stage_sizes=sizes,
            budget_epochs=budget,
            num_seeds=len(runs),
            stages=[_mean_stage(stages) for stages in zip(*runs, strict=True)],
        )
        for (budget, sizes), runs in sorted(plans.items())
    ]


def _mean_stage(stages: Rows) -> StageMean:
    """Return the mean of one stage over seeds."""
    means = {
        key: sum(stage[key] for stage in stages) / len(stages)
        for key in ("images_seen", "train_s", "wall_s")
    }
    return StageMean(
        index=stages[0]["index"],
        num_classes=stages[0]["num_classes"],
        top1=spread(stage["top1"] for stage in stages),
        **means,
    )


def _is_scratch(group: Row) -> bool:
    return bool(group["kind"] == "scratch")


def _budget(group: Row) -> float:
    return float(group["budget_epochs"])


def _of_budget(groups: Rows, budget_epochs: float) -> Row | None:
    """Return the group from scratch that has a staged group's budget, if there is one."""
    same = (g for g in groups if _is_scratch(g) and g["budget_epochs"] == budget_epochs)
    return next(same, None)


def _draw_figures(data: Row, final: Rows) -> dict[str, str]:
    """Return every figure by name; none without accuracies."""
    measured = [group for group in final if group["top1"] is not None]
    drawn = {}
    if any(point["staged"] or point["scratch"] for point in data["over_classes"]):
        drawn["top1_over_classes"] = figures.both_top1_over_classes(data["over_classes"])
    if measured:
        drawn["top1_over_images"] = figures.top1_over_images(measured, data["speed_ups"])
        drawn["top1_over_seconds"] = figures.top1_over_seconds(measured, data["speed_ups"])
    return drawn
