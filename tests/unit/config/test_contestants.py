"""Contestants and schedules of a life, and the runs that measuring them takes."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from accrete.errors import ConfigError


def lifecycle(**changes: Any) -> Lifecycle:
    values = {
        "schedules": ((2, 2, 2), (4, 2)),
        "contestants": contestants_named(["extend", "adaptive"]),
        "recipe": whole_recipe(Recipe()),
        "scratch_epochs": (8.0, 16.0),
        "first_epochs": 16.0,
        "budgets": (1.0, 4.0),
    }
    return Lifecycle(**(values | changes))


@pytest.mark.parametrize(
    ("text", "schedules"),
    [
        ("50,10*5", ((50, 10, 10, 10, 10, 10),)),
        ("50,10*5/20*5", ((50, 10, 10, 10, 10, 10), (20,) * 5)),
        (" 2 , 3 * 2 , 1 ", ((2, 3, 3, 1),)),
    ],
)
def test_a_schedule_is_sizes_some_of_them_several_times(
    text: str, schedules: tuple[tuple[int, ...], ...]
) -> None:
    assert parse_schedules(text) == schedules


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_a_schedule_s_text_is_read_as_the_schedule(sizes: list[int]) -> None:
    assert parse_schedules(schedule_text(sizes)) == (tuple(sizes),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "schedule '' has ''"),
        ("2,", "schedule '2,' has ''"),
        ("2/", "schedule '' has ''"),
        ("2,-1", "has '-1': give classes"),
        ("2,0", "has '0': give classes"),
        ("2,3*", r"has '3\*': give classes"),
        ("2,3*x", r"has '3\*x': give classes"),
        ("2,1.5", "has '1.5': give classes"),
        ("2,²", "has '²': give classes"),
        ("2,99999999", "has '99999999': give classes"),
        ("1*9999999", "over 200 stages"),
        ("5", "schedule 5 has no arrival"),
        ("5,5/5*2", r"schedule 5\*2 is there twice"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_schedules(text)


@pytest.mark.parametrize(
    ("num_classes", "sizes"),
    [
        (3, (2, 1)),
        (5, (2, 1, 1, 1)),
        (10, (2,) * 5),
        (12, (4, 2, 2, 2, 2)),
        (100, (20,) * 5),
    ],
)
def test_the_default_schedule_has_all_classes(num_classes: int, sizes: tuple[int, ...]) -> None:
    assert default_schedule(num_classes) == sizes


def test_two_classes_have_no_life() -> None:
    with pytest.raises(ConfigError, match="a life of 2 classes has no arrival"):
        default_schedule(2)


def test_from_scratch_is_trained_once_at_numbers_that_schedules_share() -> None:
    cells = lifecycle().cells([0])
    names = [cell.name for cell in cells if cell.kind == "scratch"]
    assert names == [f"scratch-{n}-{e}-s0" for n in (2, 4, 6) for e in (8, 16)]


def test_every_contestant_has_a_chain_for_each_budget_and_one_that_ends_by_itself_has_one() -> None:
    cells = [cell for cell in lifecycle().cells([5]) if cell.kind != "scratch"]
    assert [(cell.name, cell.stage_sizes) for cell in cells] == [
        ("extend-1-1-s5", (2, 2, 2)),
        ("extend-1-4-s5", (2, 2, 2)),
        ("adaptive-1-45-s5", (2, 2, 2)),
        ("extend-2-1-s5", (4, 2)),
        ("extend-2-4-s5", (4, 2)),
        ("adaptive-2-45-s5", (4, 2)),
    ]
    assert {cell.recipe.budget_epochs for cell in cells} == {16.0}
    arrivals = [cell.arrival for cell in cells if cell.arrival is not None]
    assert [each.budget_epochs for each in arrivals] == [1.0, 4.0, 45.0] * 2
    assert {each.lr for each in arrivals} == {0.1, 0.2}
    assert arrivals[2].until == "retrained-accuracy"


def test_contestants_differ_in_arrivals_alone() -> None:
    given = Recipe(replay=0.5, head_init="means", trained="head", epochs=(1.0, 2.0))
    assert whole_recipe(given) == Recipe()
    every = lifecycle(contestants=CONTESTANTS).cells([0])
    assert {cell.recipe.trained for cell in every} == {"all"}
    by_kind = {cell.kind: cell.arrival for cell in every if cell.arrival is not None}
    least = dataclasses.replace(by_kind["extend"], budget_epochs=1.0)
    assert by_kind["head"] == dataclasses.replace(least, trained="head")
    assert by_kind["naive"] == dataclasses.replace(least, replay=0.0)


def test_only_improved_contestants_have_a_rate_that_goes_with_the_budget() -> None:
    every = lifecycle(contestants=CONTESTANTS, budgets=(1.0, 8.0)).cells([0])
    rates = {cell.name: cell.arrival.lr for cell in every if cell.arrival is not None}
    assert rates["extend-1-1-s0"] == rates["extend-1-8-s0"] == rates["naive-1-1-s0"] == 0.1
    assert rates["improved-1-1-s0"] == 0.05
    assert rates["improved-1-8-s0"] == 0.2
    assert rates["adaptive-1-45-s0"] == 0.2


def test_a_rate_that_is_given_is_everybody_s() -> None:
    every = lifecycle(contestants=CONTESTANTS, lr=0.03).cells([0])
    assert {cell.arrival.lr for cell in every if cell.arrival is not None} == {0.03}
