"""Where steps run: image references, GPUs of each stage, ranges."""

import re
from typing import Any

import pytest

from accrete.errors import ConfigError
from accrete.placement import DEFAULT_IMAGE, Placement


@pytest.mark.parametrize(
    "image",
    [
        DEFAULT_IMAGE,
        "accrete",
        "registry.example.com:5000/team/accrete-trainer:1.0",
        "a/b@sha256:" + "0f" * 32,
        "a/b:1.0@sha256:" + "0f" * 32,
    ],
)
def test_image_reference_is_accepted(image: str) -> None:
    assert Placement(image=image).image == image


@pytest.mark.parametrize("image", ["", "-x", "a b", "a@sha256:123", "a;b", "a\n", "A/b"])
def test_image_that_is_no_reference_is_refused(image: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"image is {image!r}")):
        Placement(image=image)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gpus": (-1,)}, "GPUs per step is -1:"),
        ({"gpus": (1, 65)}, "GPUs per step is 65:"),
        ({"gpus": ()}, "GPUs per step are an empty list:"),
        ({"retries": -1}, "retries is -1:"),
        ({"retries": 21}, "retries is 21:"),
        ({"timeout_s": 59}, "step timeout in seconds is 59:"),
        ({"timeout_s": 2592001}, "step timeout in seconds is 2592001:"),
    ],
)
def test_placement_value_outside_its_range_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Placement(**fields)


def test_placement_without_gpus_is_accepted() -> None:
    assert Placement(gpus=(0,), retries=0, timeout_s=60).gpus_of(range(1, 3)) == 0


def test_one_number_of_gpus_is_every_step_s() -> None:
    assert [Placement(gpus=(2,)).gpus_of(range(n, n + 1)) for n in (1, 2, 30)] == [2, 2, 2]


def test_each_stage_has_the_gpus_that_are_listed_for_it() -> None:
    placement = Placement(gpus=(1, 0, 2, 4))
    assert [placement.gpus_of(range(n, n + 1)) for n in (1, 2, 3, 4)] == [1, 0, 2, 4]


def test_step_of_several_stages_has_the_gpus_of_its_largest() -> None:
    placement = Placement(gpus=(1, 0, 4, 2))
    assert placement.gpus_of(range(1, 3)) == 1
    assert placement.gpus_of(range(2, 5)) == 4


@pytest.mark.parametrize("gpus", [(1, 2), (1, 2, 4, 8)])
def test_gpus_of_another_number_of_stages_are_refused(gpus: tuple[int, ...]) -> None:
    match = f"GPUs are listed for {len(gpus)} stages, but the plan has 3: "
    with pytest.raises(ConfigError, match=match):
        Placement(gpus=gpus).check_fits(3, 128)


def test_gpus_that_do_not_divide_the_batch_are_refused_with_the_first_that_does_not() -> None:
    match = "batch size 100 does not divide among 3 GPUs: choose a multiple of 3"
    with pytest.raises(ConfigError, match=match):
        Placement(gpus=(1, 3, 8)).check_fits(3, 100)


@pytest.mark.parametrize("gpus", [(0,), (1,), (4,), (0, 1, 2), (64, 32, 16)])
def test_gpus_that_fit_plan_and_batch_are_accepted(gpus: tuple[int, ...]) -> None:
    Placement(gpus=gpus).check_fits(3, 128)
