"""The comparison of staged training with training from scratch, as one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accrete import comparison_figures as figures
from accrete.comparison_headline import headline
from accrete.errors import InputError
from accrete.page import check_format, inline, render_page
from accrete.spread import Spread, spread

COMPARISON_FORMAT = 1

Row = Mapping[str, Any]
Rows = Sequence[Row]


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
    check_format("comparison", data["format"], COMPARISON_FORMAT)
    if all(group["kind"] != "staged" for group in data["groups"]):
        raise InputError(
            f"comparison {data['sweep']['name']} has no staged training that is done: wait for one"
        )
    final = final_groups(data["groups"])
    longest = max((g for g in final if g["kind"] == "staged"), key=_budget)
    return render_page(
        "comparison.html.j2",
        data=data,
        headline=headline(final, data["speed_ups"]),
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
        drawn["top1_over_classes"] = figures.top1_over_classes(data["over_classes"])
    if measured:
        drawn["top1_over_images"] = figures.top1_over_images(measured, data["speed_ups"])
        drawn["top1_over_seconds"] = figures.top1_over_seconds(measured, data["speed_ups"])
    return drawn
