"""A configuration in two parts, and together again to the digest."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.planned import (
    MAX_INLINE_BYTES,
    is_reference,
    join_config,
    planned_argument,
    planned_document,
    split_config,
)
from accrete.config.recipe import Recipe
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.core.hashing import sha256_of_bytes
from accrete.core.serialization import from_json
from accrete.errors import ConfigError

SOURCE = SourceConfig(kind="parquet", location="s3://images/set", label_column="fine_label")
PLAN = Plan(
    rule="alpha = 1 from 2 classes",
    class_order=("a", "b", "c", "d"),
    class_images=(5, 6, 7, 8),
    stage_sizes=(2, 2),
)
RUN = RunConfig(source=SOURCE, plan=PLAN, model=ModelConfig(name="small"), seed=3)
EXTENSION = replace(
    RUN,
    plan=replace(PLAN, num_given=1, stage_sizes=(1, 2)),
    base=BaseModel(
        origin="stage 4 of run x",
        identity="a" * 64,
        checkpoint_sha256="b" * 64,
        checkpoint_bytes=160_000_000,
        image=ImageFormat(encoding="raw", height=8, width=8, channels=3, preprocessing="none"),
        normalization=Normalization(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    ),
    more_images=True,
)
SWEEP = Sweep(
    purpose="comparison",
    rule="alpha = 1 from 2 classes, against from scratch, 1 seed",
    source=replace(SOURCE, only_classes=("a", "b", "c", "d")),
    class_order=PLAN.class_order,
    class_images=PLAN.class_images,
    model=ModelConfig(name="small"),
    cells=(
        Cell(name="staged-s0", kind="staged", stage_sizes=(2, 2), recipe=Recipe(epochs=(1.0, 2.0))),
        Cell(name="scratch-s0", kind="scratch", stage_sizes=(4,), recipe=Recipe()),
    ),
)
WITH_LISTS = replace(
    RUN,
    source=replace(SOURCE, only_classes=("d", "a", "c", "b"), exclude="test/*"),
    recipe=Recipe(epochs=(1.0, 0.5), image_sides=(8, 12), budget_epochs=None),
)
ALL: dict[str, RunConfig | Sweep] = {
    "run": RUN,
    "extension": EXTENSION,
    "stored": replace(EXTENSION, dataset="c" * 64),
    "sweep": SWEEP,
    "lists": WITH_LISTS,
}


def joined(config: RunConfig | Sweep, editable: Any, planned: Any) -> RunConfig | Sweep:
    through_kfp = json.loads(json.dumps([editable, planned]), parse_int=float)  # doubles
    return from_json(type(config), join_config(*through_kfp), "config")


@pytest.mark.parametrize("name", ALL)
def test_both_parts_are_the_configuration_again_to_the_digest(name: str) -> None:
    config = ALL[name]
    again = joined(config, *split_config(config))
    assert again == config
    assert again.digest == config.digest


def test_the_digests_are_those_that_stored_runs_have() -> None:
    assert [joined(c, *split_config(c)).digest[:16] for c in (RUN, EXTENSION, SWEEP)] == DIGESTS


DIGESTS = ["940d56b0e1fdb8cd", "123df33ed511d17c", "f64877a2a5ad566e"]


@pytest.mark.parametrize("name", ALL)
def test_what_may_be_edited_has_nothing_of_the_plan(name: str) -> None:
    editable, planned = split_config(ALL[name])
    text = json.dumps(editable)
    for word in ("alpha", "class_order", "stage_sizes", "cells", "only_classes", 'epochs": ['):
        assert word not in text
    assert "base" not in editable
    assert "dataset" not in editable
    assert "stage_sizes" in json.dumps(planned)


@given(
    num_classes=st.integers(1, 30), length=st.integers(1, 300), letter=st.sampled_from("0aü鳥🦆")
)
def test_any_number_of_classes_is_an_argument_of_a_bounded_size(
    num_classes: int, length: int, letter: str
) -> None:
    names = tuple(f"{number:{letter}>{length}}" for number in range(num_classes * 10))
    plan = Plan(
        rule="all", class_order=names, class_images=(1,) * len(names), stage_sizes=(len(names),)
    )
    editable, planned = split_config(replace(RUN, plan=plan))
    argument = planned_argument(planned)
    assert len(json.dumps(argument)) <= MAX_INLINE_BYTES
    assert len(json.dumps(editable)) < 2000
    data = planned_document(planned)
    assert (data is None) == (argument == planned)
    assert is_reference(argument) == (data is not None)
    if data is not None:
        assert argument == {"sha256": sha256_of_bytes(data), "num_bytes": len(data)}
        assert joined(RUN, editable, json.loads(data)).digest == replace(RUN, plan=plan).digest


@pytest.mark.parametrize(
    ("place", "edited"),
    [
        ("config has 'plan'", {"plan": {}}),
        ("config has an unknown field 'stage_sizes'", {"stage_sizes": [1]}),
        ("config has 'cells'", {"cells": []}),
        ("config has 'base'", {"base": {"origin": "stage 1 of run other"}}),
        ("config has 'rule'", {"rule": "alpha = 2"}),
        ("config.source has 'only_classes'", {"source": {"only_classes": ["a"]}}),
        ("config.recipe has 'epochs'", {"recipe": {"epochs": [1, 2]}}),
        ("config.source is 'all': it must be an object", {"source": "all"}),
        ("config has an unknown field 'alpha'", {"alpha": 0.5}),
        ("config.model has an unknown field 'nmae'", {"model": {"nmae": "small"}}),
        ("config.model is None: it must be an object", {"model": None}),
        ("source imagefolder needs --data", {"source": {"kind": "imagefolder"}}),
    ],
)
def test_an_edit_that_is_none_is_refused_with_its_place(place: str, edited: dict[str, Any]) -> None:
    editable, planned = split_config(RUN)
    with pytest.raises(ConfigError) as caught:
        joined(RUN, {**editable, **edited}, planned)
    message = str(caught.value)
    assert place in message
    assert len(message.splitlines()) == 1


def test_images_network_recipe_and_seed_may_be_edited() -> None:
    editable, planned = split_config(RUN)
    editable["source"]["location"] = "s3://other/set"
    editable["model"]["name"] = "vgg19"
    editable["recipe"] = {"lr": 0.05}
    editable["seed"] = 4
    edited = joined(RUN, editable, planned)
    assert isinstance(edited, RunConfig)
    assert (edited.source.location, edited.model.name) == ("s3://other/set", "vgg19")
    assert (edited.recipe.lr, edited.seed, edited.plan) == (0.05, 4, PLAN)
