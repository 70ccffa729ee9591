"""Which stages share a step: by what a step costs, what stages ask for, how many there may be."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.packing import UNPACKED, Packing, pack_short, steps_of
from accrete.config.placement import Placement
from accrete.config.plan import Plan, even_counts, sizes_by_increment
from accrete.config.recipe import Recipe, recipe_named
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep, sweep_tasks
from accrete.errors import ConfigError


def a_run(stage_sizes: tuple[int, ...], images_per_class: int = 500) -> RunConfig:
    num_classes = sum(stage_sizes)
    return RunConfig(
        source=SourceConfig(kind="parquet", location="s3://images/all"),
        plan=Plan(
            rule="a list",
            class_order=tuple(f"c{index}" for index in range(num_classes)),
            class_images=even_counts(num_classes, images_per_class),
            stage_sizes=stage_sizes,
        ),
        model=ModelConfig(name="vgg19"),
        recipe=recipe_named("fast"),
    )


def spans(steps: list[range]) -> list[tuple[int, int]]:
    return [(step[0], step[-1]) for step in steps]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([30, 40, 50], [(1, 1), (2, 2), (3, 3)]),
        ([5, 5, 5, 5, 5, 60], [(1, 4), (5, 6)]),
        ([60, 5], [(1, 2)]),
        ([5], [(1, 1)]),
        ([1, 1, 1], [(1, 3)]),
        ([20, 20], [(1, 1), (2, 2)]),
        ([60, 5, 60, 5], [(1, 1), (2, 4)]),  # the last has nothing after it
    ],
)
def test_short_stages_share_a_step_with_what_comes_next(
    seconds: list[float], expected: list[tuple[int, int]]
) -> None:
    assert spans(pack_short(seconds, 20)) == expected


def test_stages_on_other_gpus_share_no_step() -> None:
    places = [(1, 1), (1, 1), (2, 1), (2, 1), (4, 1), (1, 1)]
    packed = pack_short([1] * 6, 20, places)
    assert spans(packed) == [(1, 2), (3, 4), (5, 5), (6, 6)]


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=40),
    st.floats(0, 60),
    st.lists(st.integers(0, 2), min_size=40, max_size=40),
)
def test_every_stage_is_in_one_step_and_short_steps_have_no_neighbour(
    seconds: list[float], least_s: float, places: list[int]
) -> None:
    of = places[: len(seconds)]
    steps = pack_short(seconds, least_s, of)
    assert [index for step in steps for index in step] == list(range(1, len(seconds) + 1))
    for step in steps:
        assert len({of[index - 1] for index in step}) == 1
    loads = [sum(seconds[index - 1] for index in step) for step in steps]
    for (a, load), (b, _) in itertools.pairwise(zip(steps, loads, strict=True)):
        assert load >= least_s or of[a[-1] - 1] != of[b[0] - 1]


def test_what_a_stage_trains_on_is_weighed_by_how_fast_it_is() -> None:
    config, placement = a_run((10, 10, 20, 40, 20)), Placement()
    assert spans(steps_of(config, placement, Packing())) == [(1, 5)]
    slow = Packing(images_per_second=1000)
    assert spans(steps_of(config, placement, slow)) == [(1, 2), (3, 3), (4, 4), (5, 5)]
    one_each = [(index, index) for index in range(1, 6)]
    assert spans(steps_of(config, placement, replace(slow, step_overhead_s=1))) == one_each
    assert spans(steps_of(config, placement, UNPACKED)) == one_each
    grown = replace(placement, gpus=(1, 1, 2, 4, 4))
    assert spans(steps_of(config, grown, Packing())) == [(1, 2), (3, 3), (4, 5)]


def test_there_are_no_more_steps_than_there_may_be() -> None:
    config = a_run(sizes_by_increment(200, 2, 2))
    assert len(steps_of(config, Placement(), UNPACKED)) == 30
    assert len(steps_of(config, Placement(), replace(UNPACKED, max_steps=7))) == 7
    assert len(steps_of(config, Placement(), replace(UNPACKED, max_steps=500))) == 100
    some = steps_of(config, Placement(), Packing(images_per_second=5000))
    assert 1 < len(some) <= 30
    assert [index for step in some for index in step] == list(range(1, 101))


@pytest.mark.parametrize("bad", [{"step_overhead_s": -1}, {"max_steps": 0}, {"max_steps": 501}])
def test_values_outside_their_ranges_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Packing(**bad)


def sweep(*cells: Cell) -> Sweep:
    return Sweep(
        purpose="comparison",
        rule="x",
        source=SourceConfig(kind="parquet", location="s3://images/all"),
        class_order=tuple("abcdefgh"),
        class_images=even_counts(8),
        model=ModelConfig(name="vgg19"),
        cells=cells,
    )


def cell(name: str, *sizes: int, seed: int = 0) -> Cell:
    return Cell(
        name=name, kind="cell", stage_sizes=sizes, recipe=Recipe(lr_scope="stage"), seed=seed
    )


def test_short_stages_of_a_cell_share_a_task_and_what_others_build_on_stays_its_own() -> None:
    made = sweep(cell("a", 2, 2, 2, 2), cell("b", 4, 4, seed=1))
    assert [(t.cell, spans([t.stages])[0], t.parent) for t in sweep_tasks(made, Packing())] == [
        ("a", (1, 4), None), ("b", (1, 2), None),
    ]  # fmt: skip
    assert len(sweep_tasks(made)) == 6
    few = replace(UNPACKED, max_steps=1)
    assert [task.cell for task in sweep_tasks(made, few)] == ["a,b"]
