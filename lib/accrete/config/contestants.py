"""Who is measured over the life of a model whose classes keep arriving, and the runs that takes.

Pure. From scratch at each number of classes is what all others are held against: each of them
trains the first stage as it does, and every arrival in a way of its own, at several budgets.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from accrete.config.extension import (
    FIRST_ROUND_SHARE,
    REPLAY,
    ROUND_GROWTH,
    ROUNDS_EPOCHS,
    extension_rate,
    extension_weight_decay,
)
from accrete.config.recipe import RETRAINED_ACCURACY, Recipe
from accrete.config.sweep import Cell, scratch_cells, seeded_cells
from accrete.core.validation import check_choice
from accrete.errors import ConfigError

SCRATCH = "scratch"
"""From scratch at each arrival: its budget is searched for."""

MAX_ARRIVALS = 200
"""Stages of one schedule at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A way to train what arrives."""

    name: str
    """One word: the kind of its cells."""
    title: str
    """What it does, for people."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What its recipe of an arrival has otherwise than a new model's, the rate not counted."""
    has_own_rate: bool = False
    """Whether its peak rate and weight decay go with the budget, as those of `accrete extend`."""
    is_foil: bool = False
    """Whether no budget makes it as good as from scratch, so that it has but the least one."""
    is_adaptive: bool = False
    """Whether it finds out by itself when to end, and has but one budget."""


CONTESTANTS = (
    Contestant(
        name="head",
        title="the head alone, on a trunk as it was",
        changes={"trained": "head"},
        is_foil=True,
    ),
    Contestant(
        name="naive", title="going on without old images", changes={"replay": 0.0}, is_foil=True
    ),
    Contestant(name="extend", title="extending with all old images"),
    Contestant(
        name="improved",
        title="as `accrete extend` does: half of the old images, new head rows at class means, "
        "a rate and a weight decay that go with the budget",
        changes={"replay": REPLAY, "head_init": "means"},
        has_own_rate=True,
    ),
    Contestant(
        name="adaptive",
        title="the same, each arrival until validation accuracy stops rising",
        changes={
            "replay": REPLAY,
            "head_init": "means",
            "until": RETRAINED_ACCURACY,
            "round_epochs": ROUNDS_EPOCHS * FIRST_ROUND_SHARE,
            "round_growth": ROUND_GROWTH,
        },
        has_own_rate=True,
        is_adaptive=True,
    ),
)
"""In the order of reports; from scratch is none of them."""


def contestants_named(names: Sequence[str]) -> tuple[Contestant, ...]:
    """Return contestants in the order of reports.

    Args:
        names: of some; from scratch, which is there anyway, may be among them.

    Raises:
        ConfigError: there is none of such a name, or none but from scratch.
    """
    known = {each.name: each for each in CONTESTANTS}
    for name in names:
        check_choice("contestant", name, (SCRATCH, *known))
    found = tuple(each for each in CONTESTANTS if each.name in names)
    if not found:
        raise ConfigError(
            f"there is no contestant beside {SCRATCH}: name some of {', '.join(known)}"
        )
    return found


def parse_schedules(text: str) -> tuple[tuple[int, ...], ...]:
    """Return the stage sizes of each schedule of a text such as `50,10*5/20*5`.

    Raises:
        ConfigError: it has another form, a schedule without an arrival, or one twice.
    """
    schedules = tuple(_parse_schedule(part) for part in text.split("/"))
    for schedule in schedules:
        if len(schedule) < 2:
            raise ConfigError(f"schedule {schedule[0]} has no arrival: give one such as 50,10*5")
        if schedules.count(schedule) > 1:
            raise ConfigError(f"schedule {schedule_text(schedule)} is there twice: name each once")
    return schedules


def _parse_schedule(text: str) -> tuple[int, ...]:
    sizes: list[int] = []
    for part in text.split(","):
        size, star, times = (word.strip() for word in part.partition("*"))
        if not _is_count(size) or (star and not _is_count(times)):
            raise ConfigError(
                f"schedule {text.strip()[:60]!r} has {part.strip()[:20]!r}: give classes, or "
                "classes*times, from 1 on, such as 50,10*5/20*5"
            )
        number = int(times) if star else 1
        if len(sizes) + number > MAX_ARRIVALS:
            raise ConfigError(
                f"schedule {text.strip()[:60]!r} has over {MAX_ARRIVALS} stages: give fewer"
            )
        sizes += [int(size)] * number
    return tuple(sizes)


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 7 and int(word) > 0


def schedule_text(sizes: Sequence[int]) -> str:
    """Return a schedule as people write it: `50,10*5`."""
    parts: list[tuple[int, int]] = []
    for size in sizes:
        if parts and parts[-1][0] == size:
            parts[-1] = (size, parts[-1][1] + 1)
        else:
            parts.append((size, 1))
    return ",".join(str(size) if times == 1 else f"{size}*{times}" for size, times in parts)


def default_schedule(num_classes: int) -> tuple[int, ...]:
    """Return a schedule of up to five stages, all of a size but the first, which has the rest.

    Raises:
        ConfigError: there are fewer than three classes.
    """
    if num_classes < 3:
        raise ConfigError(
            f"a life of {num_classes} classes has no arrival: it takes three at least, two to "
            "begin with"
        )
    size = max(1, num_classes // 5)
    arrivals = min(4, (num_classes - 2) // size)
    return (num_classes - arrivals * size, *[size] * arrivals)


def whole_recipe(recipe: Recipe) -> Recipe:
    """Return how whole models are trained.

    Without what belongs to arrivals or to one plan, and without what would end a budget, or a
    round of it, before it is over.
    """
    plain = Recipe()
    others = ("replay", "head_init", "trained", "until", "stop_gradient", "stop_patience")
    values = {name: getattr(plain, name) for name in others}
    return replace(recipe, epochs=None, budget_epochs=None, image_sides=None, **values)


def arrival_recipe(
    recipe: Recipe, contestant: Contestant, epochs: float, lr: float | None = None
) -> Recipe:
    """Return how a contestant trains an arrival.

    Args:
        recipe: of its first stage.
        contestant: which.
        epochs: the budget, over old and new images.
        lr: peak learning rate of all; None: half of a new model's, or as the contestant has it.
    """
    values: dict[str, Any] = {"epochs": None, "image_sides": None, "budget_epochs": epochs}
    if contestant.has_own_rate:
        values["weight_decay"] = extension_weight_decay(recipe.weight_decay, epochs)
    if lr is None:
        lr = extension_rate(recipe.lr, epochs) if contestant.has_own_rate else recipe.lr / 2
    return replace(recipe, **(values | {"lr": lr} | dict(contestant.changes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """What a lifecycle study measures."""

    schedules: tuple[tuple[int, ...], ...]
    """Stage sizes of each."""
    contestants: tuple[Contestant, ...]
    """Beside from scratch."""
    recipe: Recipe
    """How whole models are trained; its budget counts for nothing."""
    scratch_epochs: tuple[float, ...]
    """Budgets from scratch, in epochs."""
    first_epochs: float
    """Budget of the first stage of every contestant, in epochs."""
    budgets: tuple[float, ...]
    """Budgets of an arrival, in epochs over old and new images."""
    lr: float | None = None
    """Peak rate of an arrival; None: each contestant's own."""

    def cells(self, seeds: Iterable[int]) -> list[Cell]:
        """Return its runs, seed by seed; what they have in common follows each other."""
        return [cell for seed in seeds for cell in self._cells_of(seed)]

    def _cells_of(self, seed: int) -> list[Cell]:
        numbers = sorted({number for sizes in self.schedules for number in accumulate(sizes)})
        pairs = [(number, epochs) for number in numbers for epochs in self.scratch_epochs]
        cells = scratch_cells(pairs, self.recipe, [seed])
        first = replace(self.recipe, budget_epochs=self.first_epochs)
        for place, sizes in enumerate(self.schedules, start=1):
            for contestant in self.contestants:
                for epochs in self._budgets_of(contestant):
                    name = f"{contestant.name}-{place}-{epochs:g}"
                    (life,) = seeded_cells(name, contestant.name, sizes, first, [seed])
                    arrival = arrival_recipe(self.recipe, contestant, epochs, self.lr)
                    cells.append(replace(life, arrival=arrival))
        return cells

    def _budgets_of(self, contestant: Contestant) -> tuple[float, ...]:
        if contestant.is_adaptive:
            return (ROUNDS_EPOCHS,)
        return self.budgets[:1] if contestant.is_foil else self.budgets
