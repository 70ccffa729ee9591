"""Sweeps: their cells as runs, and the tasks that train them."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.packing import Packing
from accrete.config.plan import MAX_PIPELINE_STEPS
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, SourceConfig
from accrete.config.schedule import resolve
from accrete.config.sweep import Cell, Sweep, grid_cells, scratch_cells, sweep_tasks
from accrete.core.serialization import from_json, to_json
from accrete.errors import ConfigError, PlanError

NAMES = tuple("abcdefghijkl")
OWN_RATE = Recipe(lr_scope="stage", epochs=(2.0, 2.0))


def cell(name: str, *sizes: int, seed: int = 0, recipe: Recipe = OWN_RATE) -> Cell:
    return Cell(name=name, kind="cell", stage_sizes=sizes, recipe=recipe, seed=seed)


def sweep(*cells: Cell, **changes: Any) -> Sweep:
    values = {
        "purpose": "convergence",
        "rule": "a test",
        "source": SourceConfig(kind="digits"),
        "class_order": NAMES,
        "class_images": (100,) * len(NAMES),
        "model": ModelConfig(name="small"),
        "cells": cells,
    }
    return Sweep(**(values | changes))


def test_a_cell_is_a_run_over_the_first_classes() -> None:
    made = sweep(cell("two", 2, 3), cell("all", 12, recipe=Recipe()))
    config = made.run_config(made.cell("two"))
    assert config.plan.class_order == NAMES
    assert [stage.num_classes for stage in config.plan.stages] == [2, 5]
    assert config.plan.stages[-1].num_images == 500
    assert (config.seed, config.model, config.source) == (0, made.model, made.source)


def test_a_grid_grows_once_or_up_to_all_classes_seed_by_seed() -> None:
    once = grid_cells([(2, 3), (4, 1)], OWN_RATE, range(2))
    assert [made.name for made in once] == ["n2-d3-s0", "n4-d1-s0", "n2-d3-s1", "n4-d1-s1"]
    assert [made.stage_sizes for made in once[:2]] == [(2, 3), (4, 1)]
    (whole,) = grid_cells([(2, 4)], OWN_RATE, [7], total=12)
    assert (whole.stage_sizes, whole.seed) == ((2, 4, 4, 2), 7)


def test_cells_from_scratch_have_one_stage_and_their_own_budget() -> None:
    made = scratch_cells([(12, 3.0), (12, 1.5), (6, 3.0)], Recipe(), range(1))
    assert [each.name for each in made] == [
        "scratch-12-3-s0",
        "scratch-12-1.5-s0",
        "scratch-6-3-s0",
    ]
    assert [each.recipe.budget_epochs for each in made] == [3.0, 1.5, 3.0]
    assert {each.stage_sizes for each in made} == {(12,), (6,)}


def test_a_sweep_survives_json() -> None:
    made = sweep(cell("one", 2, 3), cell("two", 2, 4, seed=1))
    assert from_json(Sweep, to_json(made), "test") == made
    assert from_json(Sweep, to_json(made), "test").digest == made.digest
    assert dataclasses.replace(made, rule="another").digest != made.digest


def test_cells_that_begin_alike_share_tasks() -> None:
    made = sweep(cell("d1", 2, 1), cell("d3", 2, 3), cell("other", 2, 3, seed=1))
    tasks = sweep_tasks(made)
    assert [(task.cell, list(task.stages), task.parent) for task in tasks] == [
        ("d1", [1], None),
        ("d1", [2], 0),
        ("d3", [2], 0),
        ("other", [1], None),
        ("other", [2], 3),
    ]


def test_cells_whose_rate_follows_their_own_plan_share_nothing() -> None:
    recipe = Recipe(budget_epochs=5.0)
    made = sweep(cell("d1", 2, 1, recipe=recipe), cell("d3", 2, 3, recipe=recipe))
    assert [task.parent for task in sweep_tasks(made)] == [None, 0, None, 2]


def test_many_stages_become_a_task_a_cell() -> None:
    recipe = Recipe(budget_epochs=5.0)
    made = sweep(*(cell(f"s{seed}", *(1,) * 12, seed=seed, recipe=recipe) for seed in range(4)))
    tasks = sweep_tasks(made)
    assert [list(task.stages) for task in tasks] == [list(range(1, 13))] * 4
    assert all(task.parent is None for task in tasks)


def test_more_cells_than_a_pipeline_holds_share_tasks_evenly() -> None:
    cells = [cell(f"s{seed}", 2, 3, seed=seed) for seed in range(4)]
    cells += [cell(f"t{seed}", 2, seed=seed, recipe=Recipe(budget_epochs=5.0)) for seed in range(2)]
    tasks = sweep_tasks(sweep(*cells), Packing(max_steps=3))
    assert [task.cell for task in tasks] == ["s0,s1", "s2,s3", "t0,t1"]
    assert [list(task.stages) for task in tasks] == [[1, 2], [1, 2], [1]]
    assert {task.parent for task in tasks} == {None}


def test_what_a_cell_shares_with_one_before_it_does_not_weigh() -> None:
    # 1,600 images of the first stage, then 1,800, 2,000 and 2,200 of the second
    many = [cell(f"d{added}", 8, added) for added in (1, 2, 3)]
    tasks = sweep_tasks(sweep(*many), Packing(max_steps=2))
    assert [task.cell for task in tasks] == ["d1", "d2,d3"]


def test_cells_differ_by_how_their_arrivals_are_trained() -> None:
    recipes = [Recipe(budget_epochs=epochs) for epochs in (1.0, 2.0)]
    first = Recipe(budget_epochs=5.0)
    lives = [
        dataclasses.replace(cell(f"life-{number}", 2, 3, recipe=first), arrival=recipe)
        for number, recipe in enumerate(recipes)
    ]
    made = sweep(cell("scratch", 2, recipe=first), *lives)
    assert [(task.cell, task.parent) for task in sweep_tasks(made)] == [
        ("scratch", None),
        ("life-0", 0),
        ("life-1", 0),
    ]
    assert made.run_config(lives[1]).arrival == recipes[1]
    assert from_json(Sweep, to_json(made), "test") == made
    assert "arrival" not in to_json(made.cells[0])


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 2)), min_size=1, max_size=14
    )
)
def test_every_stage_of_every_cell_has_its_task_and_its_parents_come_first(
    grid: list[tuple[int, int, int]],
) -> None:
    made = sweep(
        *(
            cell(f"n{first}-d{added}-s{seed}", first, added, seed=seed)
            for first, added, seed in dict.fromkeys(grid)
        )
    )
    tasks = sweep_tasks(made)
    assert len(tasks) <= MAX_PIPELINE_STEPS
    for position, task in enumerate(tasks):
        assert task.parent is None or task.parent < position
    begun = set()
    for each in made.cells:
        config = made.run_config(each)
        schedules = resolve(each.recipe, config.plan, 32)
        begun |= {(each.stage_sizes[: j + 1], schedules[: j + 1], each.seed) for j in range(2)}
    assert len(tasks) == len(begun)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sweep, "no cell"),
        (lambda: sweep(cell("a", 2, 3), cell("a", 2, 4)), "cell 'a' is in the sweep twice"),
        (lambda: sweep(cell("a", 2, 3), purpose="fun"), "sweep is for 'fun'"),
        (lambda: cell("A b", 2), "cell is named 'A b'"),
        (lambda: sweep(cell("a", 2, 3)).cell("b"), "no cell 'b'"),
        (lambda: cell("a", 2, seed=-1), "seed of cell a is -1"),
    ],
)
def test_what_is_no_sweep_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_cell_of_too_many_classes_is_refused() -> None:
    with pytest.raises(PlanError, match="the stages add 13 classes but there are 12"):
        sweep(cell("a", 10, 3))
