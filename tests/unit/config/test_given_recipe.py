"""The recipe of an extension: its own defaults, and what a user says over them."""

from collections.abc import Iterable
from typing import Any

import pytest

from accrete.config.given_recipe import check_adds_classes, extension_recipe
from accrete.config.plan import Plan
from accrete.config.recipe import PAPER, Recipe
from accrete.config.run import SourceConfig
from accrete.config.schedule import resolve
from accrete.core.options import Given
from accrete.core.serialization import to_json
from accrete.errors import ConfigError


def extending_plan(*stage_sizes: int, num_images: int = 1000, num_given: int = 4) -> Plan:
    """Return a plan that extends a model by some classes, of so many images each."""
    num_classes = num_given + sum(stage_sizes)
    return Plan(
        rule="",
        class_order=tuple(map(str, range(num_classes))),
        class_images=(num_images,) * num_classes,
        stage_sizes=stage_sizes,
        num_given=num_given,
    )


def extended(
    *stage_sizes: int, num_images: int = 1000, typed: Iterable[str] = (), **said: Any
) -> Recipe:
    """Return the recipe of an extension of four classes."""
    source = SourceConfig(kind="imagefolder", location="photos")
    plan = extending_plan(*stage_sizes, num_images=num_images)
    return extension_recipe(Given(Recipe, said, frozenset(typed)), source, plan)


@pytest.mark.parametrize("name", ["replay", "head_init"])
def test_what_old_and_new_classes_take_is_refused_where_a_stage_has_one_kind_alone(
    name: str,
) -> None:
    typed = Given(Recipe, {name: getattr(Recipe(), name)}, frozenset({name}))
    for plan in (extending_plan(0), extending_plan(3, num_given=0)):
        with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} has no effect where"):
            check_adds_classes(typed, plan)
        check_adds_classes(Given(Recipe, typed.values), plan)  # of a variable
    check_adds_classes(typed, extending_plan(1))
    check_adds_classes(typed, extending_plan(1, 1, num_given=0))


def test_an_extension_has_two_epochs_at_half_a_new_model_s_rate_and_replays_half() -> None:
    recipe = extended(6, num_images=5000)
    assert (recipe.budget_epochs, recipe.lr, recipe.replay) == (2.0, 0.1, 0.5)
    assert recipe.head_init == "means"


@pytest.mark.parametrize("said", [{"budget_epochs": 3.0}, {"epochs": (3.0,)}])
def test_the_rate_goes_with_the_budget_however_it_is_said(said: dict[str, Any]) -> None:
    assert extended(6, **said).lr == pytest.approx(0.15)


def test_what_is_said_counts() -> None:
    recipe = extended(6, budget_epochs=8.0, lr=0.03, replay=1.0, head_init="random")
    assert (recipe.lr, recipe.replay, recipe.head_init) == (0.03, 1.0, "random")


def test_rounds_have_a_bound_for_each_stage() -> None:
    one, two = extended(6, until="0.9"), extended(3, 3, until="0.9")
    assert (one.budget_epochs, one.epochs) == (45.0, None)
    assert two.epochs == (45.0, 45.0)
    given = extended(3, 3, until="0.9", budget_epochs=5.0)
    assert given.epochs == (5.0, 5.0)
    assert (given.weight_decay, one.weight_decay) == (5e-4, 1e-3)
    listed = extended(3, 3, until="0.9", epochs=(4.0, 8.0))
    assert (listed.epochs, listed.weight_decay, listed.lr) == ((4.0, 8.0), 5e-4, 0.2)


def test_a_bound_has_four_rounds_where_there_are_enough_steps() -> None:
    recipe = extended(6, num_images=5000, until="0.9", budget_epochs=6.0)
    plan = extending_plan(6, num_images=5000)
    (stage,) = resolve(recipe, plan, 32)
    assert stage.round_steps is not None
    assert stage.num_steps == 15 * stage.round_steps


def test_a_bound_of_one_round_is_refused_with_the_one_that_has_two() -> None:
    said = "--until has no effect within 2 epochs of 10,000 images, which are 156 steps"
    with pytest.raises(ConfigError, match=f"{said}.* --budget-epochs 3$"):
        extended(6, until="0.9", budget_epochs=2.0)
    (stage,) = resolve(extended(6, until="0.9", budget_epochs=3.0), extending_plan(6), 32)
    assert stage.round_steps is not None
    assert stage.num_steps == 3 * stage.round_steps
    with pytest.raises(ConfigError, match="within 2 epochs of 7,000 images"):
        extended(3, 3, until="0.9", epochs=(2.0, 9.0))


def test_few_images_have_rounds_and_a_new_model_s_weight_decay_without_them() -> None:
    few = extended(1, num_images=20)
    assert (few.budget_epochs, few.weight_decay) == (153.6, Recipe().weight_decay)
    (stage,) = resolve(
        extended(1, num_images=20, until="0.9"), extending_plan(1, num_images=20), 32
    )
    assert stage.round_steps is not None
    assert stage.num_steps == 7 * stage.round_steps == 420


@pytest.mark.parametrize("name", ["stop_gradient", "stop_patience"])
def test_what_would_end_a_round_in_its_middle_is_refused_and_a_variable_of_it_left_out(
    name: str,
) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} would end a round"):
        extended(6, until="0.9", typed=[name], **{name: 1})
    assert extended(6, until="0.9", **{name: 1}) == extended(6, until="0.9")


def test_the_paper_s_recipe_stays_as_it_is_and_has_no_rounds() -> None:
    assert extended(6, name="paper") == PAPER
    assert extended(6, name="paper", until="0.9") == PAPER  # of a variable
    with pytest.raises(ConfigError, match="--until trains in rounds, and --recipe paper"):
        extended(6, name="paper", until="0.9", typed=["until"])


def test_what_extending_was_before_can_be_asked_for_with_its_identity() -> None:
    plan = Plan(
        rule="",
        class_order=("a", "b", "c"),
        class_images=(9000,) * 3,
        stage_sizes=(1,),
        num_given=2,
    )
    said = {"replay": 1.0, "head_init": "random", "lr": 0.1}
    source = SourceConfig(kind="imagefolder", location="photos")
    asked = extension_recipe(Given(Recipe, said), source, plan)
    before = resolve(Recipe(budget_epochs=2.0, lr=0.1), plan, 32)
    assert to_json(resolve(asked, plan, 32)) == to_json(before)
