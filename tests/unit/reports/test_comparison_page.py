"""A comparison's page: what it claims, that it escapes, and that it needs nothing from outside."""

import html
import re
from functools import cache
from typing import Any

import pytest
from comparison_sample import make_comparison

from accrete.errors import InputError
from accrete.reports._comparison_page import (
    comparison_headline,
    final_groups,
    render_comparison,
    staged_plans,
)

FIGURES = ("top1-over-classes", "top1-over-images", "top1-over-seconds")


@cache
def plain_page() -> str:
    """Return the page of the comparison that `make_comparison()` makes."""
    return render_comparison(make_comparison())


def visible_text(page: str) -> str:
    """Return the page's text without its markup, non-breaking spaces as spaces."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ")


def headline_of(data: dict[str, Any]) -> str:
    """Return the page's headline, without drawing the page's figures."""
    return comparison_headline(final_groups(data["groups"]), data["speed_ups"]).replace("\xa0", " ")


def with_speed_up(**values: Any) -> dict[str, Any]:
    """Return a comparison whose longest staged budget has this speed-up."""
    data = make_comparison(staged=[7])
    (group,) = (group for group in data["groups"] if group["kind"] == "staged")
    group |= {"images_seen": 349952, "top1": 0.5263}
    data["speed_ups"][0] |= {
        "top1": 0.5263,
        "num_seeds": 3,
        "staged_cost": 349952,
        "scratch_cost": 391213.4,
        "ratio": 1.1179,
        "low": 1.0503,
        "high": 1.1893,
    } | values
    return data


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"seeds": [4]},
        {"sizes": [1], "staged": [1], "scratch": [1]},
        {"sizes": [2] * 30, "staged": [1, 2, 3, 4], "seeds": [0, 1]},
        {"gain": 0.2},
        {"gain": -0.3},
        {"scratch": []},
        {"seeds": [0], "scratch": [7], "gain": 0},
    ],
)
def test_page_shows_every_figure_whatever_was_compared(options: dict[str, Any]) -> None:
    page = render_comparison(make_comparison(**options))
    for name in FIGURES:
        figure = page.split(f'<figure id="{name}">')[1].split("</figure>")[0]
        assert figure.count("<svg") == figure.count("</svg>") == 1
        assert "<path" in figure
        assert "nan" not in figure.lower()


def test_headline_is_on_the_page() -> None:
    found = re.search(r'<p class="headline">(.*?)</p>', plain_page())
    assert found is not None
    assert visible_text(found[1]) == headline_of(make_comparison())


def test_headline_gives_the_speed_up_with_its_accuracy_and_its_range() -> None:
    assert headline_of(with_speed_up()) == (
        "Staged training reaches 52.63 % top-1 on 100 classes after 349,952 images; from scratch"
        " that takes about 391,000: 1.12 times as many (1.05–1.19 over 3 seeds)."
    )


def test_headline_says_that_one_seed_shows_no_spread() -> None:
    text = headline_of(with_speed_up(num_seeds=1, low=1.1179, high=1.1179))
    assert text.endswith("1.12 times as many (one seed, which shows no spread).")


def test_headline_says_where_seeds_give_no_range() -> None:
    text = headline_of(with_speed_up(low=None, high=None))
    assert text.endswith("1.12 times as many (the 3 seeds lie too far apart for a range).")


def test_headline_says_that_a_range_around_one_shows_no_difference() -> None:
    text = headline_of(with_speed_up(ratio=0.99, low=0.9, high=1.1))
    assert text.endswith("(0.90–1.10 over 3 seeds). The range includes 1: it shows no difference.")


def test_headline_says_where_staged_training_costs_more() -> None:
    text = headline_of(with_speed_up(ratio=0.8, low=0.7, high=0.9))
    assert text.endswith("0.80 times as many (0.70–0.90 over 3 seeds). Staged training costs more.")


def test_headline_states_no_speed_up_where_from_scratch_did_not_get_so_far() -> None:
    text = headline_of(make_comparison(gain=0.2))
    assert "from scratch did not reach that accuracy within the budgets tried (at most 55." in text
    assert text.endswith("after 500,000 images), so that no speed-up can be stated at it.")
    assert "times" not in text


def test_headline_states_no_speed_up_where_from_scratch_began_above() -> None:
    text = headline_of(make_comparison(gain=-0.2))
    assert "from scratch began above that accuracy (46." in text
    assert "after 250,000 images, the least budget tried), so that no speed-up" in text
    assert "times" not in text


def test_headline_states_no_speed_up_where_nothing_was_trained_from_scratch() -> None:
    text = headline_of(make_comparison(scratch=[]))
    assert "nothing was trained on as many classes, so that no speed-up can be stated" in text


def test_headline_states_no_speed_up_from_a_single_budget_of_the_same_accuracy() -> None:
    data = make_comparison(staged=[7], scratch=[7])
    for group in data["groups"]:
        group["top1"] = 0.5
    assert "was tried at too few budgets" in headline_of(data)


def test_headline_falls_back_on_a_shorter_budget_that_has_an_answer() -> None:
    text = headline_of(make_comparison(staged=[5, 7, 20], gain=0.03))
    assert text.count("no speed-up can be stated") == 1
    after = text.split("stated at it. ")[1]
    assert after.startswith("Staged training reaches 5")
    assert re.search(
        r"after 350,000 images; from scratch that takes about [45]\d\d,000: 1\.", after
    )


def test_comparison_without_test_images_yields_a_page_without_figures() -> None:
    page = render_comparison(make_comparison(has_test_images=False))
    text = visible_text(page)
    assert "No accuracy was measured on 100 classes: no speed-up can be stated." in text
    assert "The data set has no test images: no accuracy was measured." in text
    assert "<svg" not in page
    assert "×" not in text.split("Data set")[0]


def test_no_speed_up_stands_without_the_accuracy_that_it_holds_at() -> None:
    data, page = make_comparison(), plain_page()
    top1 = f"{100 * data['speed_ups'][-2]['top1']:.2f}"
    assert f"images from scratch, at {top1}" in page
    rows = page.split("<h2>Cost at equal accuracy")[1].split("</table>")[0].split("<tr>")[2:]
    assert len(rows) == 4
    for row, speed_up in zip(rows, data["speed_ups"], strict=True):
        assert f"<td>{100 * speed_up['top1']:.2f}\xa0%</td>" in row
        assert f"<td>{speed_up['ratio']:.2f}×</td>" in row
    drawn = re.findall(r"\d\.\d\d×</text>\s*<text[^>]*>at (\d\d\.\d) %</text>", page)
    assert len(drawn) == page.count("×</text>") == 4


def test_missing_speed_up_is_a_dash_and_one_seed_has_no_range() -> None:
    page = render_comparison(make_comparison(gain=0.2))
    rows = page.split("<h2>Cost at equal accuracy")[1].split("</table>")[0].split("<tr>")[2:]
    assert all(row.count("<td>–</td>") == 3 for row in rows)
    page = render_comparison(make_comparison(seeds=[3]))
    rows = page.split("<h2>Cost at equal accuracy")[1].split("</table>")[0].split("<tr>")[2:]
    assert all("<td>–</td><td>1</td>" in row for row in rows)


def test_caption_says_when_seconds_are_comparable_and_the_method_is_given() -> None:
    data, page = make_comparison(), plain_page()
    figure = page.split('<figure id="top1-over-seconds">')[1].split("</figure>")[0]
    assert "Seconds are comparable only where nothing else ran on the machine" in figure
    assert data["method"] in page


def test_every_training_is_in_the_table_with_its_seed_and_figures() -> None:
    data = make_comparison(seeds=[11, 12])
    page = render_comparison(data)
    table = page.split("Every training")[1].split("</table>")[0]
    assert table.count("<tr>") == 1 + len(data["cells"]) == 19
    cell = data["cells"][0]
    assert (
        f'<td class="name">{cell["name"]}</td><td>11</td><td>staged</td>'
        '<td class="name">10 + 10 + 20 + 40 + 20</td><td>5</td>'
        f"<td>{cell['images_seen']:,}</td>" in table
    )
    assert all(cell["digest"] in page for cell in data["cells"])


def test_stages_are_means_over_the_seeds_of_one_budget() -> None:
    data = make_comparison(staged=[7, 5])
    first, second = staged_plans(data["cells"])
    assert (first.budget_epochs, second.budget_epochs, first.num_seeds) == (5, 7, 3)
    seconds = [c["stages"][1] for c in data["cells"] if c["name"].startswith("staged-100-e7")]
    assert second.stages[1].train_s == pytest.approx(sum(s["train_s"] for s in seconds) / 3)
    top1 = [stage["top1"] for stage in seconds]
    assert second.stages[1].top1 == pytest.approx((sum(top1) / 3, min(top1), max(top1)))


def test_fewer_classes_than_the_plan_ends_with_are_not_final() -> None:
    final = final_groups(make_comparison()["groups"])
    assert {group["num_classes"] for group in final} == {100}
    assert len(final) == 5


def test_texts_of_others_are_escaped_wherever_they_appear() -> None:
    attack = "<script>alert(1)</script>"
    data = make_comparison()
    for key in ("name", "rule", "digest", "created_at", "accrete_version"):
        data["sweep"][key] = attack
    data["config"]["source"]["kind"] = data["dataset"]["split"] = data["method"] = attack
    data["assumptions"] = [attack]
    data["cells"][0] |= {"name": attack, "device": attack, "digest": attack}
    page = render_comparison(data)
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 15


def test_page_refers_to_nothing_outside_itself() -> None:
    page = plain_page()
    assert re.findall(r"(?:https?:)?//[a-z]|@import|<link|<script|<iframe", page) == []
    for target in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert target.startswith("#")
    assert "default-src 'none'" in page


def test_ids_are_unique_on_the_page_and_all_that_is_referred_to_is_there() -> None:
    page = plain_page()
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_same_comparison_gives_the_same_bytes() -> None:
    assert render_comparison(make_comparison()) == plain_page()


def test_comparison_of_another_format_is_refused_with_its_number() -> None:
    with pytest.raises(InputError, match="the comparison has format 7"):
        render_comparison(make_comparison() | {"format": 7})


def test_comparison_without_staged_training_is_refused_with_its_name() -> None:
    with pytest.raises(InputError, match="cifar100-comparison-5b1e07 has no staged training"):
        render_comparison(make_comparison() | {"groups": []})
