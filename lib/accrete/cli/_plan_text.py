"""A plan for people and for programs: its stages, what they cost, and what others would."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accrete.config.cost import Alternative, CostModel, alternatives, stage_spans
from accrete.config.packing import STEP_OVERHEAD_S, Packing, packed_steps
from accrete.config.plan import Plan, default_initial
from accrete.config.recipe import Recipe
from accrete.config.rules import shown_rule
from accrete.config.schedule import resolve
from accrete.core.serialization import to_json
from accrete.core.units import format_clock, format_percent


def plan_json(
    plan: Plan, model: CostModel | None, initial: int | None, gpus: Sequence[int] = ()
) -> dict[str, Any]:
    """Return a plan for programs; with a cost model, costs and alternatives too.

    Args:
        plan: to show.
        model: what stages cost.
        initial: classes of the alternatives' first stage; None: the default.
        gpus: of each stage; none where they do not matter.
    """
    stages = [
        {
            "index": stage.index,
            "num_new_classes": stage.num_new_classes,
            "num_classes": stage.num_classes,
            "num_new_images": stage.num_new_images,
            "num_images": stage.num_images,
            "new_classes": list(plan.class_order[stage.num_old_classes : stage.num_classes]),
        }
        for stage in plan.stages
    ]
    facts = {
        "rule": plan.rule,
        "stages": stages,
        "images_per_epoch": plan.images_per_epoch,
        "scratch_images_per_epoch": plan.scratch_images_per_epoch,
    }
    for row, number in zip(stages, gpus, strict=False):
        row["gpus"] = number
    if model is None:
        return facts
    for stage, cost in zip(stages, _stage_costs(plan, model), strict=True):
        stage["expected_images"] = cost
    rows = alternatives(model, plan, initial or default_initial(len(plan.class_order)))
    return facts | {"cost_model": to_json(model), "alternatives": to_json(rows)}


def plan_text(
    plan: Plan, model: CostModel | None, initial: int | None, gpus: Sequence[int] = ()
) -> str:
    """Return a plan for people; with a cost model, costs and alternatives too.

    Args: as of `plan_json`.
    """
    head = f"{'stage':>5} {'new':>7} {'classes':>8} {'new images':>11} {'images':>11}"
    costs = _stage_costs(plan, model) if model else [None] * len(plan.stages)
    head += (f" {'expected':>13}" if model else "") + (f" {'GPUs':>5}" if gpus else "")
    lines = [shown_rule(plan.rule), head]
    lines += [
        f"{s.index:>5} {s.num_new_classes:>+7} {s.num_classes:>8} {s.num_new_images:>11,} "
        f"{s.num_images:>11,}"
        + ("" if cost is None else f" {cost:>13,.0f}")
        + (f" {gpus[s.index - 1]:>5}" if gpus else "")
        for s, cost in zip(plan.stages, costs, strict=True)
    ]
    if model is None:
        share = plan.images_per_epoch / plan.scratch_images_per_epoch
        lines.append(
            f"one epoch in each stage sees {plan.images_per_epoch:,} images; as many epochs over "
            f"all classes see {plan.scratch_images_per_epoch:,} ({format_percent(share, 0)})"
        )
    else:
        lines += _comparison(plan, model, initial)
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTime:
    """How long a plan takes on Kubeflow with the recipe that a run has where none is asked for."""

    images_per_second: float
    """How fast training is taken to be."""
    step_overhead_s: float
    """What each step takes beside its work."""
    steps: tuple[tuple[int, int], ...]
    """First and last stage of each training step."""
    training_s: float
    """Of all stages together."""
    overhead_s: float
    """Of all steps: those that train, prepare and report."""
    total_s: float
    """Both; what prepare and report do themselves is not in it."""

    @property
    def text(self) -> str:
        """The same for people."""
        steps = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in self.steps)
        return (
            f"on Kubeflow, training takes {format_clock(self.training_s)} by the recipe fast at "
            f"{self.images_per_second:,.0f} images a second; beside that "
            f"{len(self.steps) + 2} steps of {self.step_overhead_s:g} s (prepare, stages {steps}, "
            f"report): {format_clock(self.total_s)} in all"
        )


def plan_time(plan: Plan, packing: Packing, gpus: Sequence[int] = ()) -> PlanTime:
    """Return how long a plan takes on Kubeflow, each of its stages on one node.

    Args:
        plan: of which run.
        packing: how stages are shared out to steps, and how fast training is.
        gpus: of each stage; none: as many for each.
    """
    seen = [each.num_images_seen for each in resolve(Recipe(), plan, image_side=32)]
    steps = packed_steps(seen, [stage.num_images for stage in plan.stages], packing, gpus)
    training_s = packing.seconds(sum(seen))
    each_s = packing.step_overhead_s or STEP_OVERHEAD_S  # 0 is said to have a step a stage
    overhead_s = (len(steps) + 2) * each_s
    return PlanTime(
        images_per_second=packing.images_per_second,
        step_overhead_s=each_s,
        steps=tuple((step[0], step[-1]) for step in steps),
        training_s=training_s,
        overhead_s=overhead_s,
        total_s=training_s + overhead_s,
    )


def _stage_costs(plan: Plan, model: CostModel) -> list[float]:
    spans = stage_spans(plan.class_images, plan.stage_sizes)
    return [model.stage_cost(old, new) for old, new in spans]


def _comparison(plan: Plan, model: CostModel, initial: int | None) -> list[str]:
    """Return the lines that set a plan against others."""
    rows = alternatives(model, plan, initial or default_initial(len(plan.class_order)))
    log_c, p, q = model.parameters
    return [
        "",
        f"expected training images by {model.source} ({model.num_measurements} stages, "
        f"scatter ×{math.exp(model.scatter):.2f}):",
        f"  t(old, new) = {math.exp(log_c):.3g} · new^{p:.2f} · (old + new)^{q:.2f}"
        + (f" + {model.stage_images:,.0f} a stage" if model.stage_images else ""),
        f"{'plan':<44} {'stages':>6} {'images':>13} {'90 % of fits':>27}",
        *map(_row, rows),
        "each stage is trained until it converges; a first stage, and all at once, cost what the",
        "formula says for old = 0, which is an assumption",
    ]


def _row(row: Alternative) -> str:
    return (
        f"{row.name:<44} {len(row.stage_sizes):>6} {row.images:>13,.0f} "
        f"{row.low:>13,.0f}–{row.high:<13,.0f}"
    )
