"""What of the paper is run: each cell of its tables and figure, as those of a sweep. Pure.

The paper: Efficient Incremental Training for Deep Convolutional Neural Networks (2019), CIFAR-100,
a variant of VGG-19.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from typing import NamedTuple

from accrete.config.plan import Plan, sizes_by_alpha
from accrete.config.recipe import PAPER, Recipe, until_converged
from accrete.config.schedule import resolve
from accrete.config.sweep import Cell, grid_cells, scratch_cells, seeded_cells

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


class PaperCell(NamedTuple):
    """A run to make."""

    part: str
    """One of PARTS."""
    label: str
    """What recorded results have: all repetitions with other seeds have the same, nothing else."""
    cell: Cell

    def num_images(self, images_per_class: int) -> int:
        """Return how many training images it sees, unless a stage ends early."""
        names = tuple(map(str, range(self.cell.num_classes)))
        plan = Plan(
            rule=self.label,
            class_order=names,
            class_images=(images_per_class,) * len(names),
            stage_sizes=self.cell.stage_sizes,
        )
        return sum(s.num_images_seen for s in resolve(self.cell.recipe, plan, image_side=32))


def cells_of(
    scale: Scale, *, precision: str, stop_gradient: float, seeds: Sequence[int] = (0,)
) -> list[PaperCell]:
    """Return all cells in the order of PARTS, seed by seed within a part.

    Args:
        scale: FULL or MINIATURE.
        precision: `fp32`, as the recipe `paper` has it, or `bf16`.
        stop_gradient: norm below which a stage of Table I has converged.
        seeds: of each cell.
    """
    paper = replace(PAPER, precision=precision)
    most, fewer, epochs = scale.num_classes, scale.fewer_classes, scale.epochs
    sizes = sizes_by_alpha((scale.images_per_class,) * most, scale.initial, Fraction(1))
    on_the_way = [number for number in accumulate(sizes[:-1]) if number != fewer]
    found = []
    for part, rules in (("staged", ("even", "5.6 million")), ("rules", ("last", "plateau"))):
        for rule in rules:
            recipe, name = _with_rule(paper, rule, sizes, scale), f"staged-{rule.replace(' ', '-')}"
            cells = seeded_cells(name, "staged", sizes, recipe, seeds)
            found += [PaperCell(part, f"staged, rule {rule}", cell) for cell in cells]
    for part, budgets in (
        ("scratch", [(most, epochs), (fewer, epochs)]),
        ("figure2", [(number, epochs) for number in on_the_way]),
        ("rules", [(most, other) for other in scale.other_epochs]),
    ):
        for cell in scratch_cells(budgets, paper, seeds):
            told = f"{cell.num_classes} classes, {cell.recipe.budget_epochs:g} epochs"
            found.append(PaperCell(part, f"scratch, {told}", cell))
    numbers = {pair: number for number, pair in scale.runs.items()}
    for part, scope in (("table2", "stage"), ("spread", "plan")):
        recipe = replace(paper, budget_epochs=epochs, lr_scope=scope)
        for cell in grid_cells(list(numbers), recipe, seeds, most):
            label = f"table 2, run {numbers[cell.stage_sizes[:2]]}, rate by {scope}"
            found.append(PaperCell(part, label, cell))
    recipe = until_converged(
        replace(paper, lr=0.01), most_epochs=scale.most_epochs, stop_gradient=stop_gradient
    )
    for cell in grid_cells(scale.stages, recipe, seeds):
        n1, dn = cell.stage_sizes
        label = f"table 1, n1 {n1}, Δn {dn}, gradient {stop_gradient:g}"
        found.append(PaperCell("table1", label, cell))
    return sorted(found, key=lambda made: (PARTS.index(made.part), made.cell.seed))


def _with_rule(paper: Recipe, rule: str, sizes: Sequence[int], scale: Scale) -> Recipe:
    """Return the recipe whose stages, of so many new classes each, end by a rule."""
    stage_images = [number * scale.images_per_class for number in accumulate(sizes)]
    epochs = [scale.epochs / len(stage_images)] * len(stage_images)
    if rule == "5.6 million":
        epochs = [scale.staged_images / sum(stage_images)] * len(stage_images)
    if rule == "last":
        early = [scale.early_epochs] * (len(stage_images) - 1)
        left = scale.staged_images - scale.early_epochs * sum(stage_images[:-1])
        epochs = [*early, left / stage_images[-1]]
    patience = PLATEAU_EPOCHS if rule == "plateau" else None
    return replace(paper, epochs=tuple(epochs), stop_patience=patience)
