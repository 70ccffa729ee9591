"""Recipes from what a user says of one: the rest depends on the images and on what is trained."""

from typing import Any

from accrete.config.extension import extension_epochs, extension_values, round_values
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe, recipe_named
from accrete.config.run import SourceConfig
from accrete.core.options import Given


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
    until = given.values.get("until")
    if until is not None:
        return recipe_of(given, source, **round_values(until))
    budget = given.values.get("budget_epochs")
    if budget is None:
        batch_size = given.values.get("batch_size") or Recipe().batch_size
        budget = extension_epochs(batch_size, plan.stages[-1].num_images)
    return recipe_of(given, source, **extension_values(budget))
