"""The options of a lifecycle study, and what they ask for."""

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Annotated

from accrete.config.contestants import (
    CONTESTANTS,
    Lifecycle,
    contestants_named,
    default_schedule,
    parse_schedules,
    schedule_text,
    whole_recipe,
)
from accrete.config.recipe import Recipe
from accrete.config.run import SourceConfig
from accrete.core.options import Given, Option, numbers
from accrete.core.validation import check_range
from accrete.errors import ConfigError

LIFE_VALIDATION = 0.1
"""Default share of the training images that budgets are chosen on."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeOptions:
    """How classes arrive, and who is measured at it."""

    schedules: Annotated[
        tuple[tuple[int, ...], ...] | None,
        Option(
            "Classes to begin with and of each arrival; 10*5 is five of ten, / stands between "
            "schedules: 50,10*5/20*5.",
            metavar="LISTS",
            parse=parse_schedules,
            default="up to four arrivals of a fifth of the classes",
        ),
    ] = None
    contestants: Annotated[
        tuple[str, ...] | None,
        Option(
            "Who is held against training from scratch: some of head, naive, "
            "extend, improved, adaptive.",
            metavar="LIST",
            parse=_names,
            default="all of them",
        ),
    ] = None
    budgets: Annotated[
        tuple[float, ...],
        Option(
            "Budgets of an arrival, in epochs over old and new images.",
            metavar="LIST",
            parse=numbers(float, "budgets", "0.5,1,2,4"),
        ),
    ] = (0.5, 1.0, 2.0, 4.0)
    scratch_epochs: Annotated[
        tuple[float, ...],
        Option(
            "Budgets from scratch, in epochs, among which the best is searched for.",
            metavar="LIST",
            parse=numbers(float, "scratch epochs", "8,16,32"),
        ),
    ] = (8.0, 16.0, 32.0)
    first_epochs: Annotated[
        float | None,
        Option(
            "Budget of the model that arrivals extend, in epochs.",
            metavar="E",
            default="the largest of --scratch-epochs",
        ),
    ] = None
    arrival_lr: Annotated[
        float | None,
        Option(
            "Peak learning rate of an arrival.", metavar="RATE", default="each contestant's own"
        ),
    ] = None


def with_validation(source: Given[SourceConfig]) -> Given[SourceConfig]:
    """Return a source with validation images, on which budgets are chosen.

    Raises:
        ConfigError: it was typed that there be none.
    """
    share = source.values.get("validation_fraction", LIFE_VALIDATION)
    if share == 0 and "validation_fraction" not in source.typed:
        share = LIFE_VALIDATION
    if share == 0:
        raise ConfigError(
            "--validation-fraction is 0, but a lifecycle chooses its budgets on validation images, "
            "never on test images: give a share above 0, or leave it out"
        )
    return replace(source, values={**source.values, "validation_fraction": share})


def lifecycle_of(options: LifeOptions, recipe: Recipe, total: int) -> Lifecycle:
    """Return what the options ask for.

    Args:
        options: of the lifecycle.
        recipe: of whole models.
        total: classes that there are.

    Raises:
        ConfigError: a value is outside its range, or a schedule needs more classes.
    """
    schedules = options.schedules or (default_schedule(total),)
    for sizes in schedules:
        needed = list(accumulate(sizes))[-1]
        if needed > total:
            raise ConfigError(
                f"schedule {schedule_text(sizes)} needs {needed} classes, but there are {total}: "
                "give smaller numbers in --schedules"
            )
    first = max(options.scratch_epochs) if options.first_epochs is None else options.first_epochs
    for what, budgets in (
        ("scratch epochs", options.scratch_epochs),
        ("budgets", options.budgets),
        ("first epochs", (first,)),
    ):
        for budget in budgets:
            check_range(what, budget, 1e-3, 1e5)
    names = options.contestants or tuple(each.name for each in CONTESTANTS)
    return Lifecycle(
        schedules=schedules,
        contestants=contestants_named(names),
        recipe=whole_recipe(recipe),
        scratch_epochs=tuple(sorted(set(options.scratch_epochs))),
        first_epochs=first,
        budgets=tuple(sorted(set(options.budgets))),
        lr=options.arrival_lr,
    )
