"""A lifecycle's figures and its page: what it claims, whatever its shape, and that it escapes."""

import html
import json
import re
from typing import Any

import pytest
from life_sample import make_life

from accrete.errors import InputError
from accrete.reports._lifecycle_page import lifecycle_lines, render_lifecycle

SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one seed": {"seeds": [4]},
    "two schedules": {"schedules": [(2, 2, 2), (4, 1, 1)]},
    "one by one": {"schedules": [(3, *(1,) * 12)], "contestants": ["extend"]},
    "no test images": {"has_test_images": False},
    "nobody is good enough": {"contestants": ["head", "naive"]},
}


MANY = ("two schedules", "one by one")
"""Shapes of so many stages that they are tried among the slow tests."""


def visible_text(page: str) -> str:
    """Return a page's text without its markup, non-breaking spaces as spaces."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ")


def test_from_scratch_is_tuned_on_validation_images_at_each_number_of_classes() -> None:
    data = make_life()
    assert [row["num_classes"] for row in data["scratch"]] == [2, 4, 6]
    last = data["scratch"][-1]
    assert [row["budget_epochs"] for row in last["budgets"]] == [8, 16, 32]
    # 70, 75 and 77.5 %, and a mean of a tenth of a point for the seeds
    assert last["tuned"]["budget"] == 32
    assert last["tuned"]["top1"] == pytest.approx(0.776)
    assert last["tuned"]["images"] == 32 * 600
    assert last["tuned"]["ended_at_largest"]
    assert last["interval"] == [pytest.approx(0.775 + 0.001 / 3), pytest.approx(0.777 - 0.001 / 3)]


def test_what_an_arrival_needs_is_interpolated_to_half_a_point_below_from_scratch() -> None:
    (schedule,) = make_life()["schedules"]
    extend, improved = schedule["contestants"]
    # 76.1 and 78.1 % after 0.5 and 1 epochs of 400 images: 77.1 % lies halfway
    found = extend["arrivals"][0]["needed"]["images"]
    assert found["cost"] == pytest.approx(200 * 2**0.5)
    assert not found["is_bound"]
    low, high = found["interval"]
    assert low < found["cost"] < high
    # Two points more: its least budget will do.
    assert improved["arrivals"][0]["needed"]["images"]["cost"] == 200
    assert improved["arrivals"][0]["needed"]["images"]["is_bound"]
    total = improved["needed"]["images"]
    assert total["cost"] == 32 * 200 + 0.5 * 400 + 0.5 * 600
    assert total["scratch"] == 32 * (200 + 400 + 600)
    assert total["ratio"] == pytest.approx(38400 / 6900)
    assert total["interval"] == [total["ratio"]] * 2  # images of a budget are the same in each seed
    assert improved["one_budget"]["images"]["budget"] == 0.5
    assert extend["one_budget"]["images"]["budget"] == 1.0


def test_what_was_lost_is_the_stage_before_less_what_is_left() -> None:
    (schedule,) = make_life(seeds=[0])["schedules"]
    second = schedule["contestants"][0]["arrivals"][1]["budgets"][0]
    assert second["lost"] == pytest.approx(0.76 - 0.75)
    first = schedule["contestants"][0]["arrivals"][0]["budgets"][0]
    assert first["lost"] == pytest.approx(0.775 - 0.75)


def test_the_lines_say_what_came_of_each_contestant() -> None:
    lines = lifecycle_lines(make_life(contestants=["head", "improved"]))
    assert lines[0] == (
        "2*3  head: not as good as from scratch at 2 of 2 arrivals with the budgets tried "
        "(at 4, 6 classes)"
    )
    assert lines[1].startswith(
        "2*3  improved: as good at every arrival; from scratch takes 5.57× (5.57 to 5.57) the "
        "images, 5.57×"
    )
    assert lines[1].endswith("; with one budget of 0.5 epochs 5.57× (5.57 to 5.57)")
    assert "the search ended at its largest budget at 2, 4, 6 classes" in lines[2]
    assert len(lines) == 3


def test_a_life_that_begins_with_a_worse_model_says_so() -> None:
    lines = lifecycle_lines(make_life(first_epochs=8.0))
    assert "2*3: the first stage is 7.50 points behind from scratch" in lines[-1]


@pytest.mark.parametrize(
    "shape",
    [pytest.param(shape, marks=pytest.mark.slow if shape in MANY else ()) for shape in SHAPES],
)
def test_page_shows_what_was_measured_whatever_its_shape(shape: str) -> None:
    data = make_life(**SHAPES[shape])
    assert json.loads(json.dumps(data)) == data
    page = render_lifecycle(data)
    text = visible_text(page)
    figures = re.findall(r'<figure id="([^"]*)"', page)
    drawn = ["top1-over-arrivals", "images-over-arrivals"]
    assert figures == ([] if shape == "no test images" else drawn)
    for schedule in data["schedules"]:
        assert f"Arrivals {schedule['schedule']}" in text
        for number in schedule["num_classes"]:
            assert f">{number}</th>" in page
    assert ("One seed: no interval is known" in text) == (shape == "one seed")
    assert "nan" not in text.lower().replace("finance", "")
    assert render_lifecycle(data) == page


def test_a_ratio_that_some_draws_of_seeds_lack_says_so() -> None:
    data = make_life(contestants=["improved"])
    total = data["schedules"][0]["contestants"][0]["needed"]["images"]
    total |= {"interval": None, "drawn": {"share": 0.81, "interval": [4.5, 6.0]}}
    assert "5.57× (4.50 to 6.00 in 81 % of draws) the images" in lifecycle_lines(data)[0]
    assert "5.57× (4.50× to 6.00× in 81.00 % of draws)" in visible_text(render_lifecycle(data))


def test_every_text_is_escaped() -> None:
    data = make_life()
    data["sweep"]["name"] = "<script>alert(1)</script>"
    data["schedules"][0]["contestants"][0]["title"] = "<b>bold</b>"
    page = render_lifecycle(data)
    assert "<script>alert" not in page
    assert "<b>bold" not in page


def test_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="the lifecycle has format 2"):
        render_lifecycle(make_life() | {"format": 2})
