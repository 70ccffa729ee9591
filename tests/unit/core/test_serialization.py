"""Configuration to JSON and back: what round-trips, and how wrong fields are named."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.serialization import from_json, to_json, without_nones
from accrete.errors import ConfigError

CONFIG = RunConfig(
    source=SourceConfig(
        kind="parquet",
        location="s3://bucket/images",
        label_column="fine_label",
        validation_fraction=0.1,
        image_size=32,
    ),
    plan=Plan(
        rule="alpha = 1 from 1 classes",
        class_order=("α", "b", "c"),
        class_images=(5, 6, 7),
        stage_sizes=(1, 2),
    ),
    model=ModelConfig(name="vgg19", width=0.5, bn_after_relu=True),
    recipe=Recipe(epochs=(1.0, 2.5), crop_padding=0, carry_momentum=False),
    seed=2**31 - 1,
)


def through_floats(value: Any) -> Any:
    """Return JSON in which every number is a float, as KFP sends it."""
    if isinstance(value, dict):
        return {key: through_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [through_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def changed(**changes: Any) -> dict[str, Any]:
    """Return CONFIG's JSON with values set at paths such as `recipe__lr`."""
    data = json.loads(json.dumps(to_json(CONFIG)))
    for path, value in changes.items():
        *parents, name = path.split("__")
        target = data
        for parent in parents:
            target = target[parent]
        target[name] = value
    return data


def test_run_config_comes_back_from_json_text() -> None:
    assert from_json(RunConfig, json.loads(json.dumps(to_json(CONFIG))), "run") == CONFIG


def test_run_config_comes_back_from_numbers_that_are_all_floats() -> None:
    data = through_floats(json.loads(json.dumps(to_json(CONFIG))))
    assert isinstance(data["plan"]["class_images"][0], float)
    back = from_json(RunConfig, data, "run")
    assert back == CONFIG
    assert back.digest == CONFIG.digest


def test_run_config_comes_back_without_its_nones() -> None:
    data = without_nones(to_json(CONFIG))
    assert "image_column" not in data["source"]
    assert "budget_epochs" not in data["recipe"]
    assert data["recipe"]["crop_padding"] == 0
    assert data["recipe"]["carry_momentum"] is False
    assert from_json(RunConfig, data, "run") == CONFIG


def test_without_nones_keeps_empty_values_and_goes_into_lists() -> None:
    data = {"a": None, "b": [{"c": None, "d": ""}, 0], "e": {}, "f": False}
    assert without_nones(data) == {"b": [{"d": ""}, 0], "e": {}, "f": False}


def test_tuples_become_lists_all_the_way_down() -> None:
    assert to_json({"a": ((1, 2), [3])}) == {"a": [[1, 2], [3]]}


def test_default_of_a_field_that_is_left_out_is_used() -> None:
    assert from_json(ModelConfig, {"name": "small"}, "model") == ModelConfig(name="small")


def test_whole_number_is_taken_for_a_float_field_as_a_float() -> None:
    width = from_json(ModelConfig, {"name": "small", "width": 2}, "model").width
    assert (width, type(width)) == (2.0, float)


def test_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"run\.recipe has an unknown field 'learning_rate'"):
        from_json(RunConfig, changed(recipe__learning_rate=0.1), "run")


def test_missing_field_is_refused_by_name() -> None:
    data = changed()
    del data["plan"]["stage_sizes"]
    with pytest.raises(ConfigError, match=r"run\.plan lacks the field 'stage_sizes'"):
        from_json(RunConfig, data, "run")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", "1", "run.seed is '1': it must be int"),
        ("seed", 1.5, "run.seed is 1.5: it must be int"),
        ("seed", True, "run.seed is True: it must be int"),
        ("seed", None, "run.seed is None: it must be int"),
        ("seed", float("inf"), "run.seed is inf: it must be int"),
        ("seed", float("nan"), "run.seed is nan: it must be int"),
        ("recipe__lr", False, "run.recipe.lr is False: it must be float"),
        ("recipe__lr", "0.1", "run.recipe.lr is '0.1': it must be float"),
        pytest.param("recipe__lr", 10**400, "run.recipe.lr is 1000", id="lr-of-401-digits"),
        ("recipe__nesterov", 1, "run.recipe.nesterov is 1: it must be bool"),
        ("recipe__nesterov", "yes", "run.recipe.nesterov is 'yes': it must be bool"),
        ("recipe__flip", False, "run.recipe.flip is False: it must be str"),
        ("recipe__epochs", 3, "run.recipe.epochs is 3: it must be a list"),
        ("recipe__epochs", [1, "x"], "run.recipe.epochs[1] is 'x': it must be float"),
        ("recipe__crop_padding", True, "run.recipe.crop_padding is True: it must be int"),
        ("plan__class_order", "abc", "run.plan.class_order is 'abc': it must be a list"),
        ("plan__class_order", ["α", 1, "c"], "run.plan.class_order[1] is 1: it must be str"),
        ("plan__class_images", [5, 6.5, 7], "run.plan.class_images[1] is 6.5: it must be int"),
        ("source__location", 5, "run.source.location is 5: it must be str"),
        ("model", ["vgg19"], "run.model is ['vgg19']: it must be an object"),
        ("model__name", None, "run.model.name is None: it must be str"),
    ],
)
def test_field_of_another_type_is_refused_by_its_path(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        from_json(RunConfig, changed(**{path: value}), "run")


@pytest.mark.parametrize("data", [None, 3, "text", [1]])
def test_anything_but_an_object_is_refused(data: Any) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"run is {data!r}: it must be an object")):
        from_json(RunConfig, data, "run")


def test_value_out_of_range_is_refused_when_decoded() -> None:
    with pytest.raises(ConfigError, match=r"lr is 5000\.0"):
        from_json(RunConfig, changed(recipe__lr=5000), "run")


def test_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigError, match=r"run\.seed is 'x{59}…: it must be int"):
        from_json(RunConfig, changed(seed="x" * 10_000), "run")


@dataclass(frozen=True)
class _Inner:
    value: int = 0


@dataclass(frozen=True)
class _Outer:
    items: tuple[_Inner, ...]
    anything: Any = None


def test_tuple_of_dataclasses_comes_back_and_its_errors_name_the_item() -> None:
    outer = _Outer(items=(_Inner(1), _Inner(2)), anything={"x": [1, 2.5]})
    assert from_json(_Outer, to_json(outer), "outer") == outer
    with pytest.raises(ConfigError, match=r"outer\.items\[1\]\.value is 'b': it must be int"):
        from_json(_Outer, {"items": [{"value": 1}, {"value": "b"}]}, "outer")
