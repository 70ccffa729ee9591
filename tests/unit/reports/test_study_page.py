"""A study's page: what it claims, that it escapes, and that it needs nothing from outside."""

import html
import re
from functools import cache
from typing import Any

import pytest
from study_sample import make_study

from accrete.errors import InputError
from accrete.reports._study_figures import combine, thousands
from accrete.reports._study_page import convergence_headline, increments_headline, render_study

STUDY_PURPOSES = ("convergence", "increments")
SHAPES = {
    "paper": {},
    "one": {"rows": [10], "columns": [5]},
    "one row": {"rows": [10], "columns": [1, 5, 10]},
    "one column": {"rows": [0, 10, 80], "columns": [5], "seeds": [0, 1]},
    "six by eight": {
        "rows": [0, 5, 10, 20, 40, 80],
        "columns": [1, 2, 5, 10, 20, 30, 50, 90],
        "seeds": [0, 1],
    },
    "nothing converged": {"bound": 1000},
    "no test images": {"has_test_images": False},
}


@cache
def plain_page(purpose: str) -> str:
    """Return the page of the study that `make_study(purpose)` makes."""
    return render_study(make_study(purpose))


def visible_text(page: str) -> str:
    """Return a page's text without its markup, non-breaking spaces as spaces."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ")


def headline_of(data: dict[str, Any]) -> str:
    """Return the page's headline, without drawing the page's figures."""
    combinations = combine(data["cells"])
    if data["purpose"] == "convergence":
        text = convergence_headline(combinations)
    else:
        text = increments_headline(combinations, data["baseline"])
    return text.replace("\xa0", " ")


def figure_of(page: str, name: str) -> str:
    """Return one figure of a page."""
    return page.split(f'<figure id="{name}">')[1].split("</figure>", maxsplit=1)[0]


def texts_of(figure: str) -> list[str]:
    """Return the texts of a drawing."""
    return re.findall(r">([^<>]+)</text>", figure)


def set_images(data: dict[str, Any], images: dict[tuple[int, int], int]) -> None:
    """Give the trainings of some combinations other numbers of images."""
    for cell in data["cells"]:
        key = cell["num_initial"], cell["num_added"]
        cell["images_seen"] = images.get(key, cell["images_seen"])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("purpose", STUDY_PURPOSES)
def test_page_shows_what_was_measured_whatever_its_shape(purpose: str, shape: str) -> None:
    data = make_study(purpose, **SHAPES[shape])
    page = render_study(data)
    names = re.findall(r'<figure id="([^"]*)"', page)
    expected = {
        "convergence": ["images-map", "images-over-added"][
            : 1 if shape in ("one", "one column") else 2
        ],
        "increments": [] if shape == "no test images" else ["error-map"],
    }
    assert names == expected[purpose]
    for name in names:
        figure = figure_of(page, name)
        assert figure.count("<svg") == figure.count("</svg>") == 1
        assert "nan" not in figure.lower()
    rows = page.split("Every training</caption>")[1].split("</table>")[0]
    assert rows.count("<tr>") == 1 + len(data["cells"])
    assert all(f'<td class="name">{cell["name"]}</td>' in rows for cell in data["cells"])


@pytest.mark.parametrize("purpose", STUDY_PURPOSES)
def test_headline_is_on_the_page(purpose: str) -> None:
    found = re.search(r'<p class="headline">(.*?)</p>', plain_page(purpose))
    assert found is not None
    assert visible_text(found[1]) == headline_of(make_study(purpose))


def test_map_of_images_has_thousands_and_leaves_missing_combinations_empty() -> None:
    data = make_study("convergence")
    set_images(data, {(10, 1): 82_000, (80, 20): 4_600_000, (10, 5): 512})
    figure = figure_of(render_study(data), "images-map")
    texts = texts_of(figure)
    assert {"82", "4,600", "0.512"} <= set(texts)
    labels = 3 + 5 + 2  # numbers of rows and columns, names of axes
    assert len(texts) == 14 + labels
    assert figure.count("stroke: var(--plot-grid") == 1


def test_stage_that_did_not_converge_is_marked_as_a_lower_bound_everywhere() -> None:
    data = make_study("convergence", bound=1_500_000)
    bounds = [cell for cell in data["cells"] if not cell["converged"]]
    assert len(bounds) == 4
    page = render_study(data)
    assert texts_of(figure_of(page, "images-map")).count("≥ 1,500") == 4
    assert figure_of(page, "images-map").count("stroke-dasharray") == 4
    assert texts_of(figure_of(page, "images-over-added")).count("≥") == 4
    assert page.count("<td>≥ 1,500,000</td>") == 8
    assert page.count(">its bound was reached<") == 4
    assert "4 of 14 trainings did not converge within the bound" in headline_of(data)
    assert ">10 of 14<" in page


def test_one_seed_that_did_not_converge_makes_the_mean_a_lower_bound() -> None:
    data = make_study("convergence", rows=[10], columns=[5], seeds=[0, 1, 2])
    data["cells"][1]["converged"] = False
    (combination,) = combine(data["cells"])
    assert (combination.is_bound, combination.num_unconverged) == (True, 1)
    images = [cell["images_seen"] for cell in data["cells"]]
    assert combination.images_seen == pytest.approx((sum(images) / 3, min(images), max(images)))
    assert "No combination converged with every seed." in headline_of(data)


def test_map_shows_the_spread_of_seeds_where_they_differ() -> None:
    data = make_study("convergence", rows=[10], columns=[5], seeds=[0, 1])
    data["cells"][0]["images_seen"], data["cells"][1]["images_seen"] = 300_000, 340_000
    assert {"320", "300–340"} <= set(texts_of(figure_of(render_study(data), "images-map")))
    data["cells"][0]["images_seen"] = 340_010
    for page in map(render_study, (data, make_study("convergence", rows=[10], columns=[5]))):
        assert not any("–" in text for text in texts_of(figure_of(page, "images-map")))


def test_convergence_headline_names_the_fewest_and_the_most_images() -> None:
    data = make_study("convergence")
    set_images(data, {(10, 1): 8_200, (80, 20): 4_600_000})
    assert headline_of(data) == (
        "Until it converged, adding 1 class to 10 took 8,200 images, the fewest, and adding 20"
        " classes to 80 took 4,600,000 images, the most. One seed each: no spread is known."
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bound": 1000}, "None of the 14 trainings converged within its bound: all figures"),
        ({"bound": 1000, "rows": [10], "columns": [5]}, "The training did not converge within its"),
        ({"rows": [0], "columns": [10]}, "Until it converged, a first stage of 10 classes took"),
        ({"bound": 1_500_000}, "images, the most of those that converged. 4 of 14"),
    ],
)
def test_convergence_headline_fits_what_there_is(options: dict[str, Any], text: str) -> None:
    assert text in headline_of(make_study("convergence", **options))


def test_increments_headline_sets_errors_beside_the_one_from_scratch() -> None:
    data = make_study("increments", rows=[10], columns=[5, 10, 20])
    for cell, top1 in zip(data["cells"], (0.7142, 0.718, 0.6933), strict=True):
        cell["top1"] = top1
    assert headline_of(data) == (
        "The lowest error on 100 classes is 28.20 % (from 10 classes, adding 10 at a time, after"
        " 500,000 images), the highest 30.67 % (from 10 classes, adding 20 at a time, after 500,000"
        " images); from scratch it is 28.30 %, after 500,000 images. One seed each: no spread is"
        " known."
    )


@pytest.mark.parametrize("top1", [None, "no baseline"])
def test_increments_without_a_baseline_say_nothing_of_training_from_scratch(top1: Any) -> None:
    data = make_study("increments", seeds=[0, 1])
    data["baseline"] = None if top1 else data["baseline"] | {"top1": None}
    page = render_study(data)
    assert "from scratch" not in headline_of(data)
    assert "from scratch" not in texts_of(figure_of(page, "error-map"))
    assert page.count('<th scope="row">From scratch<') == (0 if top1 else 1)
    assert "<dt>error from scratch</dt><dd>–</dd>" in page


def test_map_of_errors_has_per_cent_and_the_baseline_below() -> None:
    data = make_study("increments", rows=[10], columns=[5, 10])
    data["cells"][0]["top1"], data["cells"][1]["top1"] = 0.7207, None
    texts = texts_of(figure_of(render_study(data), "error-map"))
    assert [text for text in texts if "." in text] == ["27.9", "28.3"]
    assert "from scratch" in texts


def test_study_without_test_images_states_no_error() -> None:
    text = visible_text(render_study(make_study("increments", has_test_images=False)))
    assert "No accuracy was measured: no error can be stated." in text
    assert "The data set has no test images: no error was measured." in text


@pytest.mark.parametrize("purpose", STUDY_PURPOSES)
def test_page_says_how_it_was_measured_and_what_seconds_are_worth(purpose: str) -> None:
    data = make_study(purpose)
    text = visible_text(plain_page(purpose))
    assert text.count(data["criterion"]) == 2
    assert "econds are comparable only where nothing else ran on the machine." in text


@pytest.mark.parametrize("purpose", STUDY_PURPOSES)
def test_texts_of_others_are_escaped_wherever_they_appear(purpose: str) -> None:
    attack = "<script>alert(1)</script>"
    data = make_study(purpose)
    for key in ("name", "rule", "digest", "created_at", "accrete_version"):
        data["sweep"][key] = attack
    data["config"]["source"]["kind"] = data["dataset"]["split"] = data["criterion"] = attack
    data["assumptions"] = [attack]
    data["cells"][0] |= {"name": attack, "stopped": attack}
    page = render_study(data)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 13


@pytest.mark.parametrize("purpose", STUDY_PURPOSES)
def test_page_refers_to_nothing_outside_itself_and_its_ids_are_unique(purpose: str) -> None:
    page = render_study(make_study(purpose, seeds=[0, 1]))
    assert re.findall(r"(?:https?:)?//[a-z]|@import|<link|<script|<iframe", page) == []
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert "default-src 'none'" in page


@pytest.mark.parametrize("purpose", STUDY_PURPOSES)
def test_same_study_gives_the_same_bytes_whatever_the_order_of_its_axes(purpose: str) -> None:
    data = make_study(purpose)
    turned = data | {"rows": data["rows"][::-1], "columns": data["columns"][::-1]}
    assert render_study(data) == plain_page(purpose) == render_study(turned)


def test_study_of_another_format_or_purpose_or_without_trainings_is_refused() -> None:
    data = make_study("convergence")
    with pytest.raises(InputError, match="the study has format 7"):
        render_study(data | {"format": 7})
    with pytest.raises(InputError, match="cifar100-convergence-5b1e07 has the purpose 'speed'"):
        render_study(data | {"purpose": "speed"})
    with pytest.raises(InputError, match="cifar100-convergence-5b1e07 has no training"):
        render_study(data | {"cells": []})


def test_trainings_of_one_combination_with_other_classes_are_not_averaged() -> None:
    data = make_study("increments", seeds=[0, 1])
    data["cells"][0]["num_classes"] = 90
    with pytest.raises(InputError, match=r"n10-d1-s0 ends with 90 classes, but n10-d1-s1, .* 100"):
        render_study(data)


@pytest.mark.parametrize(
    ("num_images", "text"),
    [(82_000, "82"), (53_223, "53.2"), (512, "0.512"), (4_600_000, "4,600"), (650_400, "650")],
)
def test_thousands_have_three_digits_and_no_less_than_ones(num_images: int, text: str) -> None:
    assert thousands(num_images) == text
