"""What a run is: the ranges of its fields, its digest and its name."""

import dataclasses
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.pretrained_weights import PretrainedWeights
from accrete.config.recipe import PAPER, Recipe
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig, check_run_name
from accrete.core.hashing import canonical_json, sha256_of_json
from accrete.core.serialization import from_json, to_json
from accrete.errors import ConfigError

PLAN = Plan(rule="a list", class_order=("a", "b", "c"), class_images=(4, 5, 6), stage_sizes=(2, 1))
CONFIG = RunConfig(
    source=SourceConfig(kind="parquet", location="images"),
    plan=PLAN,
    model=ModelConfig(name="small"),
)

# Another valid value for every field that a run's digest is made of.
SOURCE_CHANGES: dict[str, Any] = {
    "kind": "imagefolder",
    "location": "pictures",
    "image_column": "img",
    "label_column": "label",
    "test_fraction": 0.3,
    "validation_fraction": 0.1,
    "split_seed": 1,
    "image_size": 32,
    "on_bad_image": "skip",
    "only_classes": ("a", "b", "c"),
    "exclude": "test/*",
    "class_level": 2,
    "label_pattern": "([a-z]+)",
    "subset": "en",
}
PLAN_CHANGES: dict[str, Any] = {
    "rule": "another list",
    "class_order": ("a", "c", "b"),
    "class_images": (4, 5, 7),
    "stage_sizes": (1, 2),
}
WEIGHTS = PretrainedWeights(
    origin="r.pth",
    file_sha256="e" * 64,
    sha256="f" * 64,
    num_bytes=10,
    normalization=Normalization(mean=(0.5,), std=(0.25,)),
)
MODEL_CHANGES: dict[str, Any] = {
    "name": "vgg19",
    "width": 0.5,
    "bn_after_relu": True,
    "weights": WEIGHTS,
}
RECIPE_CHANGES: dict[str, Any] = {
    "name": "paper",
    "epochs": (1.0, 2.0),
    "budget_epochs": 3.0,
    "early_share": 0.3,
    "batch_size": 64,
    "lr": 0.1,
    "lr_shape": "step",
    "lr_scope": "stage",
    "warmup_fraction": 0.2,
    "decay_fraction": 0.5,
    "momentum": 0.8,
    "nesterov": False,
    "weight_decay": 1e-4,
    "label_smoothing": 0.0,
    "carry_momentum": False,
    "flip": "alternating",
    "crop_padding": 2,
    "image_sides": (16, 32),
    "precision": "fp32",
    "compile": "never",
    "deterministic": True,
    "replay": 0.5,
    "head_init": "means",
    "trained": "head",
    "until": "0.75",
    "round_epochs": 2.0,
    "round_growth": 2,
    "stop_gradient": 0.1,
    "stop_patience": 5,
}
BASE = BaseModel(
    origin="stage 2 of run old",
    identity="a" * 64,
    checkpoint_sha256="b" * 64,
    checkpoint_bytes=1000,
    dataset="c" * 64,
    image=ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none"),
    normalization=Normalization(mean=(0.5,), std=(0.25,)),
    top1=0.9,
)
BASE_CHANGES: dict[str, Any] = {
    "origin": "stage 1 of run old",
    "identity": "d" * 64,
    "checkpoint_sha256": "d" * 64,
    "checkpoint_bytes": 1001,
    "dataset": None,
    "image": dataclasses.replace(BASE.image, height=16),
    "normalization": Normalization(mean=(0.4,), std=(0.25,)),
    "top1": None,
}
CHANGES = [
    (part, field, value)
    for part, changes in (
        ("source", SOURCE_CHANGES),
        ("plan", PLAN_CHANGES),
        ("model", MODEL_CHANGES),
        ("recipe", RECIPE_CHANGES),
    )
    for field, value in changes.items()
]


_EXTENDED = dataclasses.replace(
    CONFIG, plan=dataclasses.replace(PLAN, stage_sizes=(1,), num_given=2), base=BASE
)


def test_head_alone_is_trained_on_a_trunk_that_was_trained() -> None:
    recipe = dataclasses.replace(CONFIG.recipe, trained="head")
    assert dataclasses.replace(_EXTENDED, recipe=recipe).recipe.trained == "head"
    with pytest.raises(ConfigError, match="on a trunk of random weights"):
        dataclasses.replace(CONFIG, recipe=recipe)


def test_digest_changes_when_any_field_does() -> None:
    digests = {CONFIG.digest, dataclasses.replace(CONFIG, seed=1).digest}
    for part, field, value in CHANGES:
        old = getattr(CONFIG, part)
        assert getattr(old, field) != value
        changed = dataclasses.replace(old, **{field: value})
        config = _EXTENDED if field == "trained" else CONFIG  # a head alone needs a trained trunk
        digests.add(dataclasses.replace(config, **{part: changed}).digest)
    assert len(digests - {_EXTENDED.digest}) == 2 + len(CHANGES)


def test_every_field_of_a_run_is_tried_above() -> None:
    parts = {"source": SourceConfig, "plan": Plan, "model": ModelConfig, "recipe": Recipe}
    names = {(part, f.name) for part, cls in parts.items() for f in dataclasses.fields(cls)}
    extending = {"base", "more_images", "arrival", "dataset"}
    assert {(part, field) for part, field, _ in CHANGES} == names - {("plan", "num_given")}
    assert {*parts, "seed"} | extending == {field.name for field in dataclasses.fields(RunConfig)}


def test_digest_changes_with_the_base_and_what_is_added_to_it() -> None:
    given = dataclasses.replace(PLAN, stage_sizes=(1,), num_given=2)
    extended = dataclasses.replace(CONFIG, plan=given, base=BASE)
    others = [dataclasses.replace(extended, more_images=True)]
    others += [dataclasses.replace(extended, dataset="e" * 64)]
    others += [
        dataclasses.replace(extended, base=dataclasses.replace(BASE, **{field: value}))
        for field, value in BASE_CHANGES.items()
    ]
    assert set(BASE_CHANGES) == {field.name for field in dataclasses.fields(BaseModel)}
    assert len({config.digest for config in (CONFIG, extended, *others)}) == 2 + len(others)


def test_digest_changes_with_the_recipe_of_arrivals_and_not_without_one() -> None:
    living = dataclasses.replace(CONFIG, arrival=Recipe())
    assert (
        len({CONFIG.digest, living.digest, dataclasses.replace(CONFIG, arrival=PAPER).digest}) == 3
    )
    assert "arrival" not in to_json(CONFIG)  # what was stored before there were any is the same
    assert from_json(RunConfig, to_json(living), "config") == living


def test_a_run_without_a_stored_data_set_is_what_it_was_before_there_were_such() -> None:
    assert "dataset" not in to_json(CONFIG)
    with pytest.raises(ConfigError, match="data set"):
        dataclasses.replace(CONFIG, dataset="abc")


def test_a_plan_of_given_classes_and_a_base_model_go_together() -> None:
    given = dataclasses.replace(PLAN, stage_sizes=(1,), num_given=2)
    with pytest.raises(ConfigError, match="2 given classes, but the run has no base model"):
        dataclasses.replace(CONFIG, plan=given)
    with pytest.raises(ConfigError, match="0 given classes, but the run has a base model"):
        dataclasses.replace(CONFIG, base=BASE)


def test_digest_is_the_same_in_another_process() -> None:
    program = "from test_run_config import CONFIG; print(CONFIG.digest)"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == CONFIG.digest


def test_digest_is_64_hex_digits_of_the_canonical_json() -> None:
    assert re.fullmatch("[0-9a-f]{64}", CONFIG.digest)
    assert canonical_json({"b": [1, 0.5, "α"], "a": None}) == '{"a":null,"b":[1,0.5,"α"]}'.encode()
    # `printf '{"a":1}' | sha256sum`
    assert sha256_of_json({"a": 1}).startswith("015abd7f5cc57a2d")


def test_canonical_json_refuses_what_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": float("nan")})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "tar"}, "source is 'tar': choose one of digits, imagefolder"),
        ({"kind": "parquet"}, "source parquet needs --data"),
        ({"kind": "imagefolder", "location": ""}, "source imagefolder needs --data"),
        ({"kind": "cifar100"}, "source cifar100 needs --data"),
        ({"test_fraction": 0.0}, "test fraction is 0.0:"),
        ({"test_fraction": 1.0}, "test fraction is 1.0:"),
        ({"test_fraction": float("nan")}, "test fraction is nan:"),
        ({"validation_fraction": -0.1}, "validation fraction is -0.1:"),
        ({"validation_fraction": 1.0}, "validation fraction is 1.0:"),
        ({"validation_fraction": float("nan")}, "validation fraction is nan:"),
        ({"image_size": 3}, "image size is 3:"),
        ({"image_size": 4097}, "image size is 4097:"),
        ({"on_bad_image": "ignore"}, "on-bad-image is 'ignore': choose one of fail, skip"),
        ({"class_level": 0}, "class level is 0"),
        ({"label_pattern": "("}, "label pattern is '(': it is no regular expression"),
        ({"label_pattern": "x"}, "label pattern is 'x', with 0 groups"),
        ({"label_pattern": "(a)(b)"}, "label pattern is '(a)(b)', with 2 groups"),
        ({"split_seed": -1}, "split seed is -1:"),
        ({"split_seed": 2**31}, "split seed is 2147483648:"),
    ],
)
def test_source_value_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        SourceConfig(**{"kind": "digits", **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"name": "resnet18"},
            "choose small, vgg19 or torchvision:<name>, such as torchvision:resnet18",
        ),
        ({"name": "VGG19"}, "model is 'VGG19'"),
        ({"width": 0.0}, "model width is 0.0:"),
        ({"width": 8.5}, "model width is 8.5:"),
        ({"width": float("nan")}, "model width is nan:"),
    ],
)
def test_model_value_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        ModelConfig(**{"name": "small", **fields})


def test_a_run_begins_from_a_base_or_from_weights() -> None:
    given = dataclasses.replace(PLAN, stage_sizes=(1,), num_given=2)
    model = dataclasses.replace(CONFIG.model, weights=WEIGHTS)
    with pytest.raises(
        ConfigError, match=r"grows stage 2 of run old, so that weights r.pth would have no effect"
    ):
        dataclasses.replace(CONFIG, plan=given, base=BASE, model=model)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seed_that_numbers_of_kfp_would_not_carry_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match=f"seed is {seed}: it must lie between 0 and 2147483647"):
        dataclasses.replace(CONFIG, seed=seed)


def test_largest_seed_is_accepted() -> None:
    assert dataclasses.replace(CONFIG, seed=2**31 - 1).seed == 2147483647


@pytest.mark.parametrize("name", ["a", "0", "digits-a1-3f2c91", "a--b", "x" * 63])
def test_run_name_that_kubernetes_takes_is_accepted(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "a b", "é", "a\n", "x" * 64]
)
def test_run_name_that_kubernetes_refuses_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"run name is {name!r}")):
        check_run_name(name)
