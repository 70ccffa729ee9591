"""Recipes from what a user says of one: the rest depends on the images and on what is trained."""

from typing import Any

from accrete.config.extension import (
    extension_epochs,
    extension_rate,
    extension_values,
    extension_weight_decay,
    round_values,
)
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe, recipe_named
from accrete.config.run import SourceConfig
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
        return recipe_of(given, source)
    batch_size = given.values.get("batch_size") or Recipe().batch_size
    num_images = plan.stages[-1].num_images
    until, budget = given.values.get("until"), given.values.get("budget_epochs")
    if until is not None:
        _check_rounds(given)
        values = round_values(until, batch_size, num_images, budget)
        if len(plan.stages) > 1 and "budget_epochs" not in given:
            values["epochs"] = (values["budget_epochs"],) * len(plan.stages)
        return recipe_of(given, source, **values)
    if budget is None:
        budget = extension_epochs(batch_size, num_images)
    defaults = extension_values(budget)
    epochs = given.values.get("epochs")
    if epochs:
        defaults["lr"] = extension_rate(Recipe().lr, max(epochs))
        defaults["weight_decay"] = extension_weight_decay(Recipe().weight_decay, max(epochs))
    return recipe_of(given, source, **defaults)


def _check_rounds(given: Given[Recipe]) -> None:
    """Refuse what would end a stage that trains in rounds before a round is over.

    Raises:
        ConfigError: it is asked for.
    """
    for name in ("stop_gradient", "stop_patience"):
        if given.values.get(name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} would end a round of --until in its middle, at a high "
                "rate: give one of them"
            )
