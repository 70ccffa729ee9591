"""What extending a model changes of a recipe: budget, rate, replay, rounds."""

import pytest

from accrete.config.extension import (
    extension_epochs,
    extension_rate,
    extension_values,
    round_values,
)
from accrete.config.recipe import Recipe, recipe_named


@pytest.mark.parametrize(("num_images", "epochs"), [(50_000, 2.0), (7_680, 2.0), (1_536, 10.0)])
def test_few_images_get_as_many_epochs_as_120_steps_take(num_images: int, epochs: float) -> None:
    assert extension_epochs(128, num_images) == epochs


@pytest.mark.parametrize(
    ("epochs", "rate"), [(0.1, 0.05), (1.0, 0.05), (2.0, 0.1), (4.0, 0.2), (8.0, 0.2), (50.0, 0.2)]
)
def test_peak_rate_goes_with_the_budget_within_bounds(epochs: float, rate: float) -> None:
    assert extension_rate(0.2, epochs) == pytest.approx(rate)


def test_extension_is_a_fast_recipe_with_its_own_values() -> None:
    recipe = recipe_named("fast", **extension_values(2.0))
    assert (recipe.lr, recipe.budget_epochs) == (0.1, 2.0)
    assert (recipe.replay, recipe.head_init, recipe.until) == (0.5, "means", None)
    assert recipe.weight_decay == Recipe().weight_decay


def test_rounds_are_four_of_four_epochs_at_the_rate_of_one() -> None:
    recipe = recipe_named("fast", **round_values("0.9", 128, 50_000))
    assert (recipe.until, recipe.round_epochs, recipe.budget_epochs) == ("0.9", 4.0, 16.0)
    assert recipe.lr == recipe_named("fast", **extension_values(4.0)).lr


def test_few_images_get_rounds_of_120_steps() -> None:
    recipe = recipe_named("fast", **round_values("0.9", 128, 1_536))
    assert (recipe.round_epochs, recipe.budget_epochs, recipe.lr) == (10.0, 40.0, 0.2)
