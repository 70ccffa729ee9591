"""How a recipe's budget becomes each stage's steps and rates.

A recipe is resolved against a plan into one `StageSchedule` per stage; the schedule is part of the
stage's identity, so it holds every value that changes arithmetic.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from accrete.config.plan import Plan, PlanStage
from accrete.config.recipe import PAPER_EPOCHS, Recipe
from accrete.errors import ConfigError

MIN_ROUND_STEPS = 60
"""A small data set gets fewer rounds: after fewer steps validation accuracy shows nothing."""

MIN_DEFAULT_STEPS = 400
"""A small data set gets at least this many steps by default: no net converges in fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSchedule:
    """A stage's window of the plan's steps, and every value of the recipe that it uses."""

    first_step: int
    """Global step at which the stage begins, from 0."""
    num_steps: int
    """Optimizer steps of the stage, at least 1."""
    total_steps: int
    """Steps that the rate is shaped over: the whole plan's, or those up to this stage's end where
    each stage has a shape of its own, so that plans which begin alike share their stages."""
    batch_size: int
    """Images per optimizer step; the stage sees num_steps * batch_size images."""
    lr: float
    """Peak learning rate."""
    lr_shape: str
    """`linear` or `step`."""
    lr_scope: str
    """`plan` or `stage`."""
    warmup_fraction: float
    """See Recipe."""
    decay_fraction: float
    """See Recipe."""
    momentum: float
    """See Recipe."""
    nesterov: bool
    """See Recipe."""
    weight_decay: float
    """See Recipe."""
    label_smoothing: float
    """See Recipe."""
    carry_momentum: bool
    """See Recipe."""
    flip: str
    """See Recipe."""
    crop_padding: int
    """Zero pixels around an image before a random crop."""
    image_side: int | None
    """Shorter side in pixels that training images are scaled down to; None: they are not."""
    precision: str
    """See Recipe. `auto` is an identity of its own: it stands for a stage in either."""
    compile: str
    """See Recipe."""
    deterministic: bool
    """See Recipe."""
    stop_gradient: float | None
    """See Recipe."""
    stop_patience: int | None
    """See Recipe."""
    replay: float = 1.0
    """See Recipe; 1 where there are no old classes, or no new ones."""
    head_init: str = "random"
    """See Recipe; `random` where there are no old classes, or no new ones."""
    trained: str = "all"
    """See Recipe."""
    until: str | None = None
    """See Recipe; None where there are no old classes."""
    round_steps: int | None = None
    """Where there is `until`: optimizer steps of the first round; num_steps are whole rounds."""
    round_growth: int = 1
    """See Recipe; 1 where there are no rounds."""

    ADDED_FIELDS: ClassVar[frozenset[str]] = frozenset(
        ("replay", "head_init", "trained", "until", "round_steps", "round_growth")
    )

    @property
    def num_images_seen(self) -> int:
        """Training images that the stage processes unless it ends early, repeats counted."""
        return self.num_steps * self.batch_size


def resolve(recipe: Recipe, plan: Plan, image_side: int) -> tuple[StageSchedule, ...]:
    """Return the schedule of each stage of a plan.

    Stage boundaries are where the running sum of images crosses whole batches, rounded down, so
    the plan never sees more images than its budget; each stage gets at least one step.

    Args:
        recipe: what to resolve.
        plan: the stages.
        image_side: the image's shorter side in pixels, for the default crop padding.

    Raises:
        ConfigError: `epochs` or `image_sides` has another length than the plan has stages.
    """
    images = _images_of_stages(recipe, plan)
    rounds = [_rounds(recipe, *each) for each in zip(plan.stages, images, strict=True)]
    ends = _stage_ends(images, recipe.batch_size, rounds)
    shared = _shared_values(recipe, image_side)
    sides = recipe.image_sides or (None,) * len(plan.stages)
    _check_length("image sides", sides, plan)
    return tuple(
        StageSchedule(
            first_step=start,
            num_steps=end - start,
            total_steps=ends[-1] if recipe.lr_scope == "plan" else end,
            image_side=side if side is None or side < image_side else None,
            round_steps=each_rounds and each_rounds[1],
            **(shared | _without_effect(stage, recipe)),
        )
        for stage, (start, end), side, each_rounds in zip(
            plan.stages, pairwise((0, *ends)), sides, rounds, strict=True
        )
    )


def _without_effect(stage: PlanStage, recipe: Recipe) -> dict[str, Any]:
    """Return what has no effect in a stage, and so no part in its identity."""
    values: dict[str, Any] = {}
    if recipe.until is None or not stage.num_old_classes:
        values |= {"until": None, "round_growth": 1}
    if not (stage.num_old_classes and stage.num_new_classes):
        values |= {"replay": 1.0, "head_init": "random"}
    return values


def _check_length(what: str, values: Sequence[Any], plan: Plan) -> None:
    """Refuse a list that is not one value a stage.

    Raises:
        ConfigError: it is not.
    """
    if len(values) != len(plan.stages):
        raise ConfigError(
            f"{what} lists {len(values)} stages but the plan has {len(plan.stages)}: "
            "give one number for each stage"
        )


def _shared_values(recipe: Recipe, image_side: int) -> dict[str, Any]:
    """Return the schedule fields that come straight from the recipe."""
    names = {field.name for field in dataclasses.fields(StageSchedule)}
    names -= {"first_step", "num_steps", "total_steps", "round_steps"}
    names -= {"crop_padding", "image_side"}
    padding = image_side // 8 if recipe.crop_padding is None else recipe.crop_padding
    return {name: getattr(recipe, name) for name in names} | {"crop_padding": padding}


def _images_of_stages(recipe: Recipe, plan: Plan) -> list[float]:
    """Return the images that each stage may see."""
    stages = plan.stages
    if recipe.epochs is not None:
        _check_length("epochs", recipe.epochs, plan)
        return [e * s.num_images for e, s in zip(recipe.epochs, stages, strict=True)]
    if recipe.name == "paper":
        epochs = (recipe.budget_epochs or PAPER_EPOCHS) / len(stages)
        return [epochs * s.num_images for s in stages]
    last = stages[-1]
    budget = budget_epochs(recipe, last.num_images) * last.num_images
    if len(stages) == 1:
        return [budget]
    early = recipe.early_share * budget
    early_images = stages[-2].num_images
    shares = [early * s.num_new_images / early_images for s in stages[:-1]]
    return [*shares, budget - sum(shares)]


def budget_epochs(recipe: Recipe, num_images: int) -> float:
    """Return the whole plan's budget in epochs over all |D_T| = num_images images."""
    if recipe.budget_epochs is not None:
        return recipe.budget_epochs
    return max(7.0, MIN_DEFAULT_STEPS * recipe.batch_size / num_images)


def _rounds(recipe: Recipe, stage: PlanStage, images: float) -> tuple[int, int] | None:
    """Return a stage's steps as (number of the first round's lengths, its steps); None: no rounds.

    Args:
        recipe: of the stage.
        stage: of the plan.
        images: that the stage may see.
    """
    if recipe.until is None or not stage.num_old_classes:
        return None
    num_steps = max(1, int((images + 1e-6) / recipe.batch_size))
    wanted = round(images / (recipe.round_epochs * stage.num_images))
    most = min(wanted, num_steps // MIN_ROUND_STEPS)
    lengths, last = 1, recipe.round_growth
    while lengths + last <= most:
        lengths, last = lengths + last, last * recipe.round_growth
    return lengths, num_steps // lengths


def _stage_ends(
    stage_images: list[float], batch_size: int, rounds: Sequence[tuple[int, int] | None]
) -> list[int]:
    """Return the global step at which each stage ends; each has at least one step.

    Args:
        stage_images: that each stage may see.
        batch_size: images of a step.
        rounds: of each stage, as `_rounds` has them.
    """
    ends: list[int] = []
    total = 0.0
    for images, rounds_and_steps in zip(stage_images, rounds, strict=True):
        total += images
        start = ends[-1] if ends else 0
        if rounds_and_steps is not None:
            ends.append(start + math.prod(rounds_and_steps))
            continue
        # 1e-6: a sum of shares may fall short of the whole budget by a rounding error.
        ends.append(max(int((total + 1e-6) / batch_size), start + 1))
    return ends


def round_of(schedule: StageSchedule, position: int) -> tuple[int, int]:
    """Return at which step of its stage a round begins, and how many it has.

    Args:
        schedule: has rounds.
        position: a step of the round, from 0 within the stage.
    """
    assert schedule.round_steps is not None
    start, length = 0, schedule.round_steps
    while position >= start + length:
        start, length = start + length, length * schedule.round_growth
    return start, length


def lr_at(schedule: StageSchedule, step: int) -> float:
    """Return the learning rate of a global step, first_step <= step < first_step + num_steps."""
    if schedule.round_steps is not None:
        start, length = round_of(schedule, step - schedule.first_step)
        position = step - schedule.first_step - start
    elif schedule.lr_scope == "plan":
        position, length = step, schedule.total_steps
    else:
        position, length = step - schedule.first_step, schedule.num_steps
    if schedule.lr_shape == "step":
        return float(schedule.lr / 10 ** (3 * position // length))
    warmup_steps = schedule.warmup_fraction * length
    decay_steps = schedule.decay_fraction * length
    rising = (position + 1) / warmup_steps if warmup_steps else 1.0
    falling = (length - position) / decay_steps if decay_steps else 1.0
    return schedule.lr * min(1.0, rising, falling)
