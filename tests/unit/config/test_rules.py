"""A rule beside stages says what they are, or becomes what they are: a list."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.plan import (
    Plan,
    describe_alpha,
    parse_alpha,
    sizes_by_alpha,
    sizes_by_increment,
)
from accrete.config.recipe import Recipe
from accrete.config.rules import (
    MAX_SHOWN,
    shown_rule,
    sweep_with_true_rule,
    true_rule,
    with_true_rule,
)
from accrete.config.run import ModelConfig, SourceConfig
from accrete.config.sweep import Sweep, seeded_cells

IMAGES = (500,) * 100


@given(
    alpha=st.sampled_from(["1", "0.5", "2", "1/3", "0.000001", "1000000", "0.123456789012"]),
    initial=st.integers(1, 20),
    images=st.lists(st.integers(1, 50), min_size=20, max_size=40),
)
def test_what_a_command_says_of_its_plan_stays(alpha: str, initial: int, images: list[int]) -> None:
    ratio = parse_alpha(alpha)
    rule = f"alpha = {describe_alpha(ratio)} from {initial} classes"
    sizes = sizes_by_alpha(images, initial, ratio)
    assert true_rule(rule, sizes, images) == rule
    rule = f"3 classes a stage from {initial}"
    assert true_rule(rule, sizes_by_increment(len(images), initial, 3), images) == rule


@pytest.mark.parametrize(
    ("rule", "sizes", "true"),
    [
        ("alpha = 1 from 10 classes", (10, 10, 20, 40, 20), "alpha = 1 from 10 classes"),
        ("alpha = 1 from 10 classes", (50, 50), "the list 50,50"),
        ("alpha = 0.5 from 10 classes", (10, 10, 20, 40, 20), "the list 10,10,20,40,20"),
        ("alpha = 1 from 200 classes", (50, 50), "the list 50,50"),
        ("alpha = 1/0 from 10 classes", (50, 50), "the list 50,50"),
        ("50 classes a stage from 50", (50, 50), "50 classes a stage from 50"),
        ("0 classes a stage from 50", (50, 50), "the list 50,50"),
        ("20 classes a stage from 50", (50, 50), "the list 50,50"),
        ("the list 50, 50", (50, 50), "the list 50, 50"),
        ("the list 40,60", (50, 50), "the list 50,50"),
        (
            "alpha = auto: least cost by the paper",
            (50, 50),
            "alpha = auto: least cost by the paper",
        ),
        ("stage 5 of run old, 80 classes, and 20 more", (20,), None),
    ],
)
def test_a_rule_that_is_not_so_becomes_the_list(
    rule: str, sizes: tuple[int, ...], true: str | None
) -> None:
    assert true_rule(rule, sizes, IMAGES) == (rule if true is None else true)


def test_plans_and_comparisons_are_put_right_and_studies_left() -> None:
    names = tuple(map(str, range(100)))
    plan = Plan(
        rule="alpha = 2 from 10 classes",
        class_order=names,
        class_images=IMAGES,
        stage_sizes=(10, 10, 20, 40, 20),
    )
    assert with_true_rule(plan).rule == "the list 10,10,20,40,20"
    sweep = Sweep(
        purpose="comparison",
        rule="alpha = 2 from 10 classes, against from scratch, 2 seeds",
        source=SourceConfig(kind="digits"),
        class_order=names,
        class_images=IMAGES,
        model=ModelConfig(name="small"),
        cells=tuple(seeded_cells("staged", "staged", plan.stage_sizes, Recipe(), [0, 1])),
    )
    true = sweep_with_true_rule(sweep)
    assert true.rule == "the list 10,10,20,40,20, against from scratch, 2 seeds"
    assert replace(true, rule=sweep.rule) == sweep
    study = replace(
        sweep, purpose="increments", rule="1 pair of initial and added classes, 2 seeds"
    )
    assert sweep_with_true_rule(study) == study


def test_a_long_rule_is_shown_by_its_beginning() -> None:
    rule = "the list " + ",".join(["1"] * 20_000)
    assert shown_rule(rule) == rule[:MAX_SHOWN] + "…"
    assert shown_rule("alpha = 1 from 10 classes") == "alpha = 1 from 10 classes"
