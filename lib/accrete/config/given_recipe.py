"""Recipes from what a user says of one: the rest depends on the images and on what is trained."""

import math
from typing import Any

from accrete.config.extension import (
    ROUND_GROWTH,
    extension_epochs,
    extension_values,
    round_values,
)
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe, recipe_named
from accrete.config.run import SourceConfig
from accrete.config.schedule import MIN_ROUND_STEPS
from accrete.core.options import Given
from accrete.errors import ConfigError


def recipe_of(given: Given[Recipe], source: SourceConfig, **defaults: Any) -> Recipe:
    """Return the recipe that the options ask for.

    Args:
        given: what the user says of it.
        source: the images; digits are not mirrored.
        defaults: fields that differ from the recipe's own where no option sets them.

    Raises:
        ConfigError: a value is outside its range.
    """
    if source.kind == "digits":
        defaults.setdefault("flip", "none")  # a mirrored 2 is no 2
    return given.over(recipe_named(given.values.get("name", "fast"), **defaults))


def check_adds_classes(given: Given[Recipe], plan: Plan) -> None:
    """Refuse what was typed for stages that add classes where there are none.

    Raises:
        ConfigError: names the option.
    """
    if any(stage.num_old_classes and stage.num_new_classes for stage in plan.stages):
        return
    for name in ("replay", "head_init"):
        if name in given.typed:
            raise ConfigError(
                f"--{name.replace('_', '-')} has no effect where no stage adds classes to others: "
                "leave it out"
            )


def extension_recipe(given: Given[Recipe], source: SourceConfig, plan: Plan) -> Recipe:
    """Return the recipe: the fast one gets a schedule for a model that is trained already.

    Args:
        given: what the user says of it.
        source: the images.
        plan: of the extension.

    Raises:
        ConfigError: a value is outside its range.
    """
    if given.values.get("name", "fast") != "fast":
        _check_no_rounds(given)
        return recipe_of(given.without({"until"}), source)
    batch_size = given.values.get("batch_size") or Recipe().batch_size
    num_images = plan.stages[-1].num_images
    epochs = given.values.get("epochs")
    budget = max(epochs) if epochs else given.values.get("budget_epochs")
    until = given.values.get("until")
    if until is not None:
        given = _without_stops(given)
        values = round_values(until, batch_size, num_images, budget)
        if not epochs and len(plan.stages) > 1:  # each stage has it, it is not split among them
            given = given.without({"budget_epochs"})
            values["epochs"] = (values["budget_epochs"],) * len(plan.stages)
        if budget is not None:
            _check_rounds(batch_size, plan.stages[0].num_images, min(epochs or (budget,)))
        return recipe_of(given, source, **values)
    values = extension_values(budget or extension_epochs(batch_size, num_images))
    if budget is None:  # few images have many epochs of few steps, which is no long budget
        values["weight_decay"] = Recipe().weight_decay
    return recipe_of(given, source, **values)


_STOPS = frozenset(("stop_gradient", "stop_patience"))


def _without_stops(given: Given[Recipe]) -> Given[Recipe]:
    """Return what is given without what would end a round before it is over, at a high rate.

    Raises:
        ConfigError: it was typed.
    """
    for name in sorted(_STOPS & given.typed):
        raise ConfigError(
            f"--{name.replace('_', '-')} would end a round of --until in its middle, at a high "
            "rate: give one of them"
        )
    return given.without(_STOPS)


def _check_no_rounds(given: Given[Recipe]) -> None:
    """Refuse --until with a recipe that has no rounds.

    Raises:
        ConfigError: it was typed.
    """
    if "until" in given.typed:
        raise ConfigError(
            "--until trains in rounds, and --recipe paper is trained as it was published: leave "
            "one of them out"
        )


def _check_rounds(batch_size: int, num_images: int, bound: float) -> None:
    """Refuse a bound that leaves a single round, which nothing could end.

    Raises:
        ConfigError: it does.
    """
    least = (1 + ROUND_GROWTH) * MIN_ROUND_STEPS
    num_steps = int(bound * num_images / batch_size + 1e-6)
    if num_steps < least:
        raise ConfigError(
            f"--until has no effect within {bound:g} epochs of {num_images:,} images, which are "
            f"{num_steps} steps: leave it out, or give at least "
            f"--budget-epochs {math.ceil(least * batch_size / num_images)}"
        )
