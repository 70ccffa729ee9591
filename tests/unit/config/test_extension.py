"""What extending a model changes of a recipe: budget, rate, replay, rounds."""

import pytest

from accrete.config.extension import (
    extension_epochs,
    extension_rate,
    extension_values,
    extension_weight_decay,
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


@pytest.mark.parametrize(
    ("epochs", "times"),
    [(0.1, 1.0), (8.0, 1.0), (16.0, 1.0), (24.0, 1.5), (32.0, 2.0), (90.0, 2.0)],
)
def test_weight_decay_goes_with_long_budgets_up_to_twice(epochs: float, times: float) -> None:
    assert extension_weight_decay(1e-3, epochs) == pytest.approx(times * 1e-3)


def test_rounds_double_from_three_epochs_on() -> None:
    recipe = recipe_named("fast", **round_values("0.9", 128, 50_000))
    assert (recipe.until, recipe.round_growth) == ("0.9", 2)
    assert recipe.round_epochs == pytest.approx(3.0)
    assert (recipe.budget_epochs, recipe.lr, recipe.weight_decay) == (45.0, 0.2, 1e-3)


def test_bound_of_rounds_decides_rate_and_decay() -> None:
    recipe = recipe_named("fast", **round_values("0.9", 128, 50_000, 3.0))
    assert (recipe.budget_epochs, recipe.weight_decay) == (3.0, 5e-4)
    assert recipe.lr == pytest.approx(0.15)


def test_few_images_get_as_many_epochs_as_three_rounds_take() -> None:
    recipe = recipe_named("fast", **round_values("0.9", 128, 768))
    assert (recipe.budget_epochs, recipe.lr) == (70.0, 0.2)  # 7 times 60 steps
    assert recipe.round_epochs == pytest.approx(70 / 15)
