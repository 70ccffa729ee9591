"""What of the paper is run: each cell of its tables and figure as a plan and a recipe. Pure.

The paper: Efficient Incremental Training for Deep Convolutional Neural Networks (2019), CIFAR-100,
a variant of VGG-19.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from accrete.config.plan import Plan, sizes_by_alpha, sizes_by_increment
from accrete.config.recipe import PAPER, Recipe, until_converged
from accrete.config.schedule import resolve

PARTS = ("scratch", "staged", "figure2", "rules", "table2", "table1", "spread")
"""In the order in which they are run: what is done at any moment is complete in itself."""

SPREADS: Mapping[str, str] = {
    "stage": "the epochs evenly over the stages, each over its own D_j, and the rate divided by 10 "
    "after each third of each stage",
    "plan": "the epochs evenly over the stages, and the rate divided by 10 after each third of "
    "all optimizer steps of the run",
}
"""How the epochs of a run of Table II are spread over its stages: the paper does not say."""

RULES: Mapping[str, str] = {
    "even": "300 epochs evenly over the stages",
    "5.6 million": "as many epochs in each stage as make 5.6 million images in all",
    "last": "20 epochs in each stage but the last, which has the rest of 5.6 million images",
    "plateau": "as even, but a stage ends when its loss fell by under 1 % in 5 epochs",
}
"""When a stage of the staged plan ends: the paper does not say."""

PLATEAU_EPOCHS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything."""

    num_classes: int
    """N*."""
    fewer_classes: int
    """The smaller N* of Table II."""
    initial: int
    """n1 of the staged plan, whose α is 1."""
    images_per_class: int
    """Training images."""
    epochs: float
    """Of a run."""
    other_epochs: tuple[float, ...]
    """Of further runs from scratch: the curve on which equal accuracy is looked for."""
    staged_images: float
    """That the paper's staged run saw."""
    early_epochs: float
    """Of each stage but the last, by the rule `last`."""
    runs: Mapping[int, tuple[int, int]]
    """(n1, Δn) of the runs of Table II by number, most informative first."""
    stages: tuple[tuple[int, int], ...]
    """(n1, Δn) of the cells of Table I."""
    most_epochs: float
    """After which a stage of Table I is given up."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """n_j of the staged plan."""
        images = (self.images_per_class,) * self.num_classes
        return sizes_by_alpha(images, self.initial, Fraction(1))

    @property
    def class_counts(self) -> tuple[int, ...]:
        """N_j of the staged plan."""
        sizes = self.sizes
        return tuple(sum(sizes[: stage + 1]) for stage in range(len(sizes)))


FULL = Scale(
    num_classes=100,
    fewer_classes=90,
    initial=10,
    images_per_class=500,
    epochs=300.0,
    other_epochs=(159.0, 112.0),
    staged_images=5.6e6,
    early_epochs=20.0,
    runs={
        7: (10, 10), 8: (10, 45), 9: (10, 90), 4: (80, 1), 6: (10, 5),
        1: (10, 1), 5: (10, 2), 3: (50, 1), 2: (30, 1),
    },
    stages=tuple(
        (initial, added)
        for added in (1, 5, 10, 20, 50)
        for initial in (10, 50, 80)
        if initial + added <= 100
    ),
    most_epochs=200.0,
)  # fmt: skip
"""The paper's own. 159 epochs are what its 1.42× implies for from scratch, 112 its 5.6 million."""

MINIATURE = Scale(
    num_classes=10,
    fewer_classes=8,
    initial=2,
    images_per_class=143,
    epochs=8.0,
    other_epochs=(4.0,),
    staged_images=6000.0,
    early_epochs=1.0,
    runs={7: (2, 2), 9: (2, 8)},
    stages=((2, 1), (2, 8)),
    most_epochs=3.0,
)
"""The digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A run to make."""

    part: str
    """One of PARTS."""
    name: str
    """Unlike any other cell's."""
    sizes: tuple[int, ...]
    """Classes that each stage adds."""
    recipe: Recipe
    """How it is trained."""
    keeps_stages: bool = True
    """Whether they stay in the store once it is done: those of long chains would fill the disk."""


def num_images_of(cell: Cell, images_per_class: int) -> int:
    """Return how many training images a cell sees, unless a stage ends early."""
    names = tuple(map(str, range(sum(cell.sizes))))
    plan = Plan(
        rule=cell.name,
        class_order=names,
        class_images=(images_per_class,) * len(names),
        stage_sizes=cell.sizes,
    )
    return sum(stage.num_images_seen for stage in resolve(cell.recipe, plan, image_side=32))


def scratch_name(num_classes: int, epochs: float) -> str:
    """Return the name of a run from scratch."""
    return f"scratch, {num_classes} classes, {epochs:g} epochs"


def staged_name(rule: str) -> str:
    """Return the name of the staged plan with a rule of RULES."""
    return f"staged, rule {rule}"


def run_name(number: int, spread: str) -> str:
    """Return the name of a run of Table II with a spread of SPREADS."""
    return f"table 2, run {number}, rate by {spread}"


def stage_name(initial: int, added: int, stop_gradient: float) -> str:
    """Return the name of a cell of Table I."""
    return f"table 1, n1 {initial}, Δn {added}, gradient {stop_gradient:g}"


def cells_of(scale: Scale, *, precision: str, stop_gradient: float) -> Iterator[Cell]:
    """Yield all cells in the order of PARTS.

    Args:
        scale: FULL or MINIATURE.
        precision: `fp32`, as the recipe `paper` has it, or `bf16`.
        stop_gradient: norm below which a stage of Table I has converged.
    """
    paper = replace(PAPER, precision=precision)

    def scratch(part: str, num_classes: int, epochs: float) -> Cell:
        return Cell(
            part=part,
            name=scratch_name(num_classes, epochs),
            sizes=(num_classes,),
            recipe=replace(paper, budget_epochs=epochs),
        )

    def staged(part: str, rule: str) -> Cell:
        recipe = _with_rule(paper, rule, scale)
        return Cell(part=part, name=staged_name(rule), sizes=scale.sizes, recipe=recipe)

    def table2(part: str, spread: str) -> Iterator[Cell]:
        for number, (initial, added) in scale.runs.items():
            yield Cell(
                part=part,
                name=run_name(number, spread),
                sizes=sizes_by_increment(scale.num_classes, initial, added),
                recipe=replace(paper, budget_epochs=scale.epochs, lr_scope=spread),
                keeps_stages=False,
            )

    yield scratch("scratch", scale.num_classes, scale.epochs)
    yield scratch("scratch", scale.fewer_classes, scale.epochs)
    yield staged("staged", "even")
    yield staged("staged", "5.6 million")
    for num_classes in scale.class_counts[:-1]:
        if num_classes != scale.fewer_classes:
            yield scratch("figure2", num_classes, scale.epochs)
    yield staged("rules", "last")
    yield staged("rules", "plateau")
    for epochs in scale.other_epochs:
        yield scratch("rules", scale.num_classes, epochs)
    yield from table2("table2", "stage")
    for initial, added in scale.stages:
        yield Cell(
            part="table1",
            name=stage_name(initial, added, stop_gradient),
            sizes=(initial, added),
            recipe=until_converged(
                replace(paper, lr=0.01), most_epochs=scale.most_epochs, stop_gradient=stop_gradient
            ),
        )
    yield from table2("spread", "plan")


def _with_rule(paper: Recipe, rule: str, scale: Scale) -> Recipe:
    """Return the recipe whose stages end by a rule."""
    stage_images = [number * scale.images_per_class for number in scale.class_counts]
    epochs = [scale.epochs / len(stage_images)] * len(stage_images)
    if rule == "5.6 million":
        epochs = [scale.staged_images / sum(stage_images)] * len(stage_images)
    if rule == "last":
        early = [scale.early_epochs] * (len(stage_images) - 1)
        left = scale.staged_images - scale.early_epochs * sum(stage_images[:-1])
        epochs = [*early, left / stage_images[-1]]
    patience = PLATEAU_EPOCHS if rule == "plateau" else None
    return replace(paper, epochs=tuple(epochs), stop_patience=patience)
