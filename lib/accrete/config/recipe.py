"""Recipes: every value that training needs; `schedule.py` makes steps and rates of them."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from accrete.core.options import Option, numbers
from accrete.core.validation import check_choice, check_range
from accrete.errors import ConfigError

RECIPE_NAMES = ("fast", "paper")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. `None` means "as the recipe derives it"; `resolve` says how."""

    name: Annotated[
        str,
        Option(
            "fast: one lr shape over the whole plan. paper: as published.",
            flag="recipe",
            choices=RECIPE_NAMES,
            default="fast",
        ),
    ] = "fast"
    """What the defaults came from."""
    epochs: Annotated[
        tuple[float, ...] | None,
        Option(
            "Epochs of each stage over its own images, e.g. 3,2,1,1,5.",
            metavar="LIST",
            parse=numbers(float, "epochs", "3,2,1,1,5"),
            default="the budget, split among the stages",
            excludes=("budget-epochs",),
        ),
    ] = None
    """None: the budget is split by `early_share`."""
    budget_epochs: Annotated[
        float | None,
        Option(
            "Images seen in all, in epochs over the whole data set.",
            metavar="E",
            default="fast 7, at least 400 optimizer steps; paper 300",
        ),
    ] = None
    early_share: float = 0.28
    """Share of the budget that all stages but the last get, split among them by |d_j|."""
    batch_size: Annotated[int, Option("Images per optimizer step.")] = 128
    lr: Annotated[float, Option("Peak learning rate.", metavar="RATE")] = 0.2
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
    weight_decay: Annotated[
        float, Option("L2 penalty on every parameter, as SGD applies it.", metavar="RATE")
    ] = 5e-4
    label_smoothing: Annotated[
        float, Option("Share of the target spread over all seen classes.", metavar="SHARE")
    ] = 0.1
    carry_momentum: Annotated[
        bool,
        Option(
            "Keep the old parameters' momentum from stage to stage; new head rows start at zero.",
            off="reset-momentum",
            default="fast carries, paper resets",
        ),
    ] = True
    flip: Annotated[
        str,
        Option(
            "Mirror training images left-right, by chance (1/2) or every other epoch.",
            choices=("random", "alternating", "none"),
            default="random; none for digits",
        ),
    ] = "random"
    crop_padding: Annotated[
        int | None,
        Option(
            "Zero pixels around an image before a random crop.",
            metavar="PX",
            default="an eighth of the side",
        ),
    ] = None
    image_sides: Annotated[
        tuple[int, ...] | None,
        Option(
            "Scale each stage's training images down to so many px, e.g. 16,16,20,24,32.",
            metavar="LIST",
            parse=numbers(int, "image sides", "16,16,20,24,32"),
        ),
    ] = None
    """Of the shorter side; None: none is scaled. A stage's cost goes with the square of it."""
    precision: Annotated[
        str,
        Option("auto: the quicker one where a stage is trained.", choices=("auto", "bf16", "fp32")),
    ] = "auto"
    """bf16 is by autocast."""
    compile: Annotated[
        str,
        Option(
            "torch.compile of the trunk.",
            choices=("auto", "always", "never"),
            default="auto: on a GPU, for long stages",
        ),
    ] = "auto"
    deterministic: Annotated[bool, Option("Repeat a run to the bit on a GPU too, more slowly.")] = (
        False
    )
    replay: Annotated[
        float,
        Option(
            "Share of the old classes' images in an epoch of a stage that adds classes, drawn "
            "anew each epoch.",
            metavar="SHARE",
            default="1",
        ),
    ] = 1.0
    """0: none. Between 0 and 1 the loss is adjusted, so that old classes are as likely as before:
    log(replay) is added to their logits while training (Menon et al., 2021, section 4.2)."""
    head_init: Annotated[
        str,
        Option(
            "Head rows of new classes: random, or by the mean features of their images.",
            choices=("random", "means"),
            default="random",
        ),
    ] = "random"
    """See `models/head_rows.py`."""
    trained: Annotated[
        str,
        Option(
            "What is trained: all weights, or the head alone on a trunk that stays as it is.",
            choices=("all", "head"),
        ),
    ] = "all"
    until: Annotated[
        str | None,
        Option(
            "extend, watch: train in rounds until validation accuracy has stopped rising "
            "(retrained-accuracy) or is enough (0.75).",
            metavar="WHEN",
            default="run the budget",
        ),
    ] = None
    """What ends a stage that adds classes: `retrained-accuracy`, when validation accuracy has
    stopped rising; or a validation accuracy, `0.75`, that is enough. None: the budget."""
    round_epochs: float = 1.0
    """Where there is `until`: a stage is trained in rounds of so many epochs over its images, each
    with the whole shape of the rate, and validated after each."""
    round_growth: int = 1
    """How many times as long as the round before each is; `round_epochs` is the first one's."""
    stop_gradient: Annotated[
        float | None,
        Option(
            "End a stage where the gradient's norm is smaller than this (paper, Table I).",
            metavar="NORM",
            default="run the budget",
        ),
    ] = None
    stop_patience: Annotated[
        int | None,
        Option(
            "End a stage after E epochs in which the training loss fell by under 1 %.",
            metavar="E",
            default="run the budget",
        ),
    ] = None

    ADDED_FIELDS: ClassVar[frozenset[str]] = frozenset(
        ("replay", "head_init", "trained", "until", "round_epochs", "round_growth")
    )

    def __post_init__(self) -> None:
        check_choice("recipe", self.name, RECIPE_NAMES)
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
        check_range("replay", self.replay, 0, 1)
        check_choice("head init", self.head_init, ("random", "means"))
        check_choice("trained", self.trained, ("all", "head"))
        check_range("round epochs", self.round_epochs, 1e-3, 1e5)
        check_range("round growth", self.round_growth, 1, 16)
        if self.until is not None:
            validation_target(self.until)
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


RETRAINED_ACCURACY = "retrained-accuracy"
"""Of `Recipe.until`: as good as it gets."""


def validation_target(until: str) -> float:
    """Return the share of validation images that is enough; above 1 where none is.

    Raises:
        ConfigError: it is neither a share between 0 and 1 nor RETRAINED_ACCURACY.
    """
    if until == RETRAINED_ACCURACY:
        return math.inf
    try:
        target = float(until)
    except ValueError:
        target = math.nan
    if not 0 < target < 1:
        raise ConfigError(
            f"until is {until!r}: give {RETRAINED_ACCURACY}, or a validation accuracy above 0 and "
            "below 1, such as 0.75"
        )
    return target


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

RECIPES = {"fast": Recipe(), "paper": PAPER}
"""By name, with the values that no option sets."""

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
    check_choice("recipe", name, RECIPE_NAMES)
    return dataclasses.replace(RECIPES[name], **changes)


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
