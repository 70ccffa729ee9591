"""Recipes: every value that training needs, and how a plan's budget becomes steps and rates.

Pure. A recipe is resolved against a plan into one `StageSchedule` per stage; the schedule is part
of the stage's identity, so it holds every value that changes arithmetic.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from accrete.config.plan import Plan
from accrete.core.validation import check_choice, check_range
from accrete.errors import ConfigError

MIN_DEFAULT_STEPS = 400
"""A small data set gets at least this many steps by default: no net converges in fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. `None` means "as the recipe derives it"; `resolve` says how."""

    name: str = "fast"
    """`fast` or `paper`, what the defaults came from."""
    epochs: tuple[float, ...] | None = None
    """Epochs of each stage over its own D_j; None: the budget is split by `early_share`."""
    budget_epochs: float | None = None
    """Images seen in the whole plan, in epochs over D_T; None: 7, or enough for 400 steps."""
    early_share: float = 0.28
    """Share of the budget that all stages but the last get, split among them by |d_j|."""
    batch_size: int = 128
    """Images per optimizer step."""
    lr: float = 0.2
    """Peak learning rate."""
    lr_shape: str = "linear"
    """`linear`: warm-up, hold, linear to zero. `step`: divided by 10 after each third."""
    lr_scope: str = "plan"
    """`plan`: one shape over the whole plan's steps; `stage`: the shape anew in each stage."""
    warmup_fraction: float = 0.1
    """Share of the steps in which the rate rises linearly from zero (`linear` only)."""
    decay_fraction: float = 0.75
    """Share of the steps, at the end, in which the rate falls linearly to zero (`linear` only)."""
    momentum: float = 0.9
    """SGD momentum."""
    nesterov: bool = True
    """Nesterov's form of momentum."""
    weight_decay: float = 5e-4
    """L2 penalty on every parameter, as SGD applies it."""
    label_smoothing: float = 0.1
    """Share of the target spread over all seen classes."""
    carry_momentum: bool = True
    """Keep the old parameters' momentum from stage to stage; new head rows start at zero."""
    flip: str = "random"
    """Mirror images left-right: `random`, with probability 1/2; `alternating`, every other epoch;
    `none`."""
    crop_padding: int | None = None
    """Zero pixels around an image before a random crop; None: an eighth of the image's side."""
    image_sides: tuple[int, ...] | None = None
    """Shorter side in pixels that each stage scales its training images down to; None: none does.
    A stage's cost goes with the square of it."""
    precision: str = "auto"
    """`bf16`, by autocast; `fp32`; `auto`: the quicker of them on the machine that trains."""
    compile: str = "auto"
    """torch.compile of the trunk: `always`, `never`, or `auto`: on a GPU, for a long stage."""
    deterministic: bool = False
    """Have a GPU repeat a run to the bit, at a cost; a CPU always does."""
    stop_gradient: float | None = None
    """End a stage early where the gradient's norm is below this (paper, Table I)."""
    stop_patience: int | None = None
    """End a stage early after so many epochs in which the training loss fell by under 1 %."""

    def __post_init__(self) -> None:
        check_choice("recipe", self.name, ("fast", "paper"))
        check_choice("lr shape", self.lr_shape, ("linear", "step"))
        check_choice("lr scope", self.lr_scope, ("plan", "stage"))
        check_choice("precision", self.precision, ("auto", "bf16", "fp32"))
        check_range("lr", self.lr, 1e-9, 1e3)
        check_range("momentum", self.momentum, 0, 0.9999)
        check_range("weight decay", self.weight_decay, 0, 10)
        check_range("label smoothing", self.label_smoothing, 0, 0.9)
        check_range("early share", self.early_share, 0, 0.95)
        check_range("warmup fraction", self.warmup_fraction, 0, 1)
        # 1 - 0.9 falls short of 0.1 by a rounding error.
        check_range("decay fraction", self.decay_fraction, 0, 1 - self.warmup_fraction + 1e-9)
        check_range("batch size", self.batch_size, 2, 1 << 20)
        if self.nesterov and self.momentum == 0:
            raise ConfigError("nesterov needs a momentum above 0: set one, or turn nesterov off")
        check_choice("flip", self.flip, ("random", "alternating", "none"))
        check_choice("compile", self.compile, ("auto", "always", "never"))
        if self.image_sides == ():
            raise ConfigError("image sides are an empty list: give one number a stage, or none")
        for side in self.image_sides or ():
            check_range("image side", side, 4, 4096)
        if self.stop_gradient is not None:
            check_range("stop gradient", self.stop_gradient, 1e-9, 1e9)
        if self.stop_patience is not None:
            check_range("stop patience", self.stop_patience, 1, 10_000)
        if self.crop_padding is not None:
            check_range("crop padding", self.crop_padding, 0, 512)
        if self.budget_epochs is not None:
            check_range("budget epochs", self.budget_epochs, 1e-3, 1e5)
        for epochs in self.epochs or ():
            check_range("epochs", epochs, 1e-3, 1e5)


PAPER = Recipe(
    name="paper",
    budget_epochs=None,
    batch_size=128,
    lr=0.1,
    lr_shape="step",
    lr_scope="stage",
    nesterov=False,
    label_smoothing=0.0,
    carry_momentum=False,
    precision="fp32",
)
"""SGD with momentum 0.9, weight decay 5e-4, 300 epochs at lr 0.1 divided by 10 every 100 epochs
(the paper's section IV). `PAPER_ASSUMPTIONS` says what it leaves open."""

PAPER_EPOCHS = 300.0

PAPER_ASSUMPTIONS = (
    "batch size 128: the paper names none",
    "random crops from images padded by 4 px at 32 px: the paper says 'crop with padding'",
    "the 300 epochs are split evenly over the stages, each stage's over its own D_j, and the "
    "rate is divided by 10 after each third of each stage: the paper does not say when a stage "
    "ends",
    "momentum starts at zero in every stage",
    "convolution, batch norm, ReLU in this order, four max-pools and a global average pool",
)

FAST_ASSUMPTIONS = (
    "one learning-rate shape over the whole plan: warm-up, hold, linear to zero at the end of the "
    "last stage",
    "all stages but the last share a fixed part of the image budget, by the images they add",
)


def recipe_named(name: str, **changes: Any) -> Recipe:
    """Return the recipe `fast` or `paper` with some fields changed.

    Raises:
        ConfigError: unknown name, or a value outside its range.
    """
    check_choice("recipe", name, ("fast", "paper"))
    base = PAPER if name == "paper" else Recipe()
    return dataclasses.replace(base, **changes)


def until_converged(recipe: Recipe, *, most_epochs: float, stop_gradient: float) -> Recipe:
    """Return the recipe of the paper's Table I: two stages at a fixed rate, to a small gradient.

    Args:
        recipe: gives the rate and everything else.
        most_epochs: of each stage, after which it is given up.
        stop_gradient: the norm below which it has converged.
    """
    return dataclasses.replace(
        recipe,
        epochs=(most_epochs, most_epochs),
        budget_epochs=None,
        lr_shape="linear",
        lr_scope="stage",
        warmup_fraction=0.0,
        decay_fraction=0.0,
        carry_momentum=False,
        stop_gradient=stop_gradient,
    )


def assumptions(recipe: Recipe) -> tuple[str, ...]:
    """Return what the recipe assumes where the paper leaves it open, for every report."""
    return PAPER_ASSUMPTIONS if recipe.name == "paper" else FAST_ASSUMPTIONS


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
    """Images per step; the stage sees num_steps * batch_size images."""
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
    ends = _stage_ends(_images_of_stages(recipe, plan), recipe.batch_size)
    shared = _shared_values(recipe, image_side)
    sides = recipe.image_sides or (None,) * len(plan.stages)
    _check_length("image sides", sides, plan)
    return tuple(
        StageSchedule(
            first_step=start,
            num_steps=end - start,
            total_steps=ends[-1] if recipe.lr_scope == "plan" else end,
            image_side=side if side is None or side < image_side else None,
            **shared,
        )
        for (start, end), side in zip(pairwise((0, *ends)), sides, strict=True)
    )


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
    names -= {"first_step", "num_steps", "total_steps", "crop_padding", "image_side"}
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


def _stage_ends(stage_images: list[float], batch_size: int) -> list[int]:
    """Return the global step at which each stage ends; each has at least one step."""
    ends: list[int] = []
    total = 0.0
    for images in stage_images:
        total += images
        # 1e-6: a sum of shares may fall short of the whole budget by a rounding error.
        end = int((total + 1e-6) / batch_size)
        ends.append(max(end, ends[-1] + 1 if ends else 1))
    return ends


def lr_at(schedule: StageSchedule, step: int) -> float:
    """Return the learning rate of a global step, first_step <= step < first_step + num_steps."""
    if schedule.lr_scope == "plan":
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
