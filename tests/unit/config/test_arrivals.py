"""What of a source is taken and what is waited for, by numbers alone."""

import json
from dataclasses import replace
from typing import Any

import pytest

from accrete.config.arrivals import (
    ArrivalRules,
    Watch,
    arrival_name,
    is_arrival_name,
    sight_of,
    watch_parameter,
)
from accrete.config.recipe import Recipe
from accrete.config.run import SourceConfig
from accrete.core.serialization import from_json
from accrete.errors import ConfigError

KNOWN = {"cat": 100, "dog": 100}
WATCH = Watch(
    name="animals",
    source=SourceConfig(kind="imagefolder", location="animals"),
    rules=ArrivalRules(),
    recipe=Recipe(batch_size=64, lr=0.05),
    given_recipe=("batch_size", "lr"),
    seed=3,
)


def taken(counts: dict[str, int], **rules: Any) -> tuple[str, ...]:
    totals = {name: count * 5 // 4 for name, count in counts.items()}
    return sight_of(counts, totals, KNOWN, ArrivalRules(**rules)).taken


@pytest.mark.parametrize(
    ("counts", "rules", "expected"),
    [
        ({"cat": 80, "dog": 80}, {}, ()),
        ({"cat": 80, "dog": 80, "fox": 19}, {}, ()),
        ({"cat": 80, "dog": 80, "fox": 20}, {}, ("fox",)),
        ({"fox": 20, "owl": 3}, {"least_images": 3}, ("fox", "owl")),
        ({"fox": 0}, {"least_images": 1}, ()),
        ({"cat": 111, "dog": 80}, {}, ()),
        ({"cat": 112, "dog": 80}, {}, ("cat",)),
        ({"cat": 112, "dog": 80}, {"refresh_share": 0.0}, ()),
        ({"cat": 84, "fox": 20}, {}, ("fox", "cat")),
        ({"cat": 84, "fox": 20}, {"refresh_share": 0.0}, ("fox",)),
        ({"cat": 8}, {}, ()),
    ],
)
def test_what_is_taken(
    counts: dict[str, int], rules: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert taken(counts, **rules) == expected


def test_lines_name_what_is_new_what_is_waited_for_and_what_grew() -> None:
    counts = {"cat": 88, "fox": 20, "owl": 3} | {f"k{n}": 1 for n in range(8)}
    totals = counts | {"cat": 110}
    assert sight_of(counts, totals, KNOWN, ArrivalRules()).lines() == [
        "new: fox 20 images",
        "waits for: owl 3 of 20 images, k0 1 of 20 images, k1 1 of 20 images, k2 1 of 20 images, "
        "k3 1 of 20 images, k4 1 of 20 images, 3 others",
        "10 more images of 1 old class, 5.0 % more (trained on again at 20 %, or with new classes)",
    ]


@pytest.mark.parametrize(
    "rules",
    [
        {"least_images": 0},
        {"refresh_share": -0.1},
        {"settle": "soon"},
    ],
)
def test_rules_out_of_range_are_refused(rules: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ArrivalRules(**rules)


def test_a_watch_is_the_same_as_a_parameter_of_a_pipeline() -> None:
    through_kfp = json.loads(json.dumps(watch_parameter(WATCH)), parse_int=float)
    again = from_json(Watch, through_kfp, "watch")
    assert again == WATCH
    assert again.asked_recipe.values == {"batch_size": 64, "lr": 0.05}
    with pytest.raises(ConfigError, match="run name"):
        replace(WATCH, name="Not a name")


def test_a_class_without_any_image_is_none() -> None:
    sight = sight_of({"fox": 0, "owl": 0}, {"fox": 0, "owl": 1}, KNOWN, ArrivalRules())
    assert sight.waiting == {"owl": 0}


def test_a_small_share_is_not_told_as_none() -> None:
    rules = ArrivalRules(refresh_share=0.001)
    (line,) = sight_of({"cat": 101}, {"cat": 101}, KNOWN, rules).lines()
    assert "(trained on again at 0.1 %, or" in line


def test_a_name_that_leaves_no_room_for_arrivals_is_refused() -> None:
    assert replace(WATCH, name="a" * 58)
    with pytest.raises(ConfigError, match=r"NAME-a1, NAME-a2, .* watch one of 58"):
        replace(WATCH, name="a" * 59)


def test_names_of_arrivals_are_known_again() -> None:
    assert is_arrival_name(arrival_name("animals", 12), "animals")
    for other in ("animals", "animals-a0", "animals-a1-b", "animals-ab", "other-a1"):
        assert not is_arrival_name(other, "animals")
