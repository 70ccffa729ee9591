"""The report page: what it shows, that it escapes, and that it needs nothing from outside."""

import html
import re
from functools import cache
from typing import Any

import pytest
from report_sample import make_report

from accrete.errors import InputError
from accrete.reports.run_page import confused_pairs, rank_classes, render_report

FIGURES = (
    "top1-over-classes",
    "top1-old-and-new",
    "loss-and-lr",
    "cost-per-stage",
    "confusion-matrix",
    "top1-per-class",
)


@cache
def page_of(*sizes: int) -> str:
    """Return the page of a plan that adds so many classes per stage."""
    return render_report(make_report(sizes))


def visible_text(page: str) -> str:
    """Return the page's text without its markup, non-breaking spaces as spaces."""
    return html.unescape(re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ")


@pytest.mark.parametrize(
    "sizes",
    [
        *([1], [2, 2, 4, 2]),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ([5], [1, 1, 2], [10, 10, 20, 40, 20])),
    ],
)
def test_page_shows_every_figure_whatever_the_plan(sizes: list[int]) -> None:
    page = page_of(*sizes)
    for name in FIGURES:
        figure = page.split(f'<figure id="{name}">')[1].split("</figure>")[0]
        assert figure.count("<svg") == figure.count("</svg>") == 1
        assert "<path" in figure


def test_headline_names_final_top1_classes_images_and_seconds() -> None:
    report = make_report([2, 2])
    report["totals"] = {"images_seen": 12034, "train_s": 8.14, "wall_s": 9.0, "top1": 0.98611}
    text = visible_text(render_report(report))
    assert "98.61 % top-1 on all 4 classes, after 12,034 images seen and 8.1 s of training." in text


def test_texts_of_others_are_escaped_wherever_they_appear() -> None:
    attack = "<script>alert(1)</script>"
    names = [attack, '"><img src=x onerror=y>', "a&b", "]]>", "-->"]
    report = make_report([2, 3], names=names)
    report["run"]["name"] = report["plan"]["rule"] = report["dataset"]["split"] = attack
    report["config"]["source"]["kind"] = report["scratch_estimate"]["method"] = attack
    report["assumptions"] = [attack]
    report["stages"][0]["device"] = attack
    page = render_report(report)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 9


def test_class_names_are_shown_as_they_are() -> None:
    names = ["$x_1$", r"$\frac$", "a\nb", "字", "x" * 300, "%s", "{{ 7 * 7 }}"]
    page = render_report(make_report([3, 4], names=names))
    for name in names:
        assert f"<span>{name}</span>" in page


def changed(*names: str) -> dict[str, Any]:
    """Return what became of some classes; the first lost, the second is not known."""
    known = {"num_images": 30, "before": 1.0, "after": 0.6, "change": -0.4, "num_lost": 12}
    known |= {"num_gained": 0, "p": 5e-5, "q": 0.0125, "verdict": "lost"}
    rows = [{"name": name, "num_taken_for_new": 9, "test": "a test"} | known for name in names]
    if len(rows) > 1:
        rows[1] |= dict.fromkeys(known)
    return {"summary": "1 lost", "tests": ["a test"], "level": 0.05, "classes": rows}


@pytest.mark.parametrize("num_classes", [2, 25])
def test_an_extension_says_what_each_old_class_lost(num_classes: int) -> None:
    report = make_report([2])
    names = [f"class <{number}>" for number in range(num_classes)]
    report["base"] = {"origin": "a & b", "identity": "1" * 64, "num_classes": 2, "top1": 0.5}
    report["class_changes"] = changed(*names)
    page = render_report(report)
    section = visible_text(page.split('<section id="class-changes">')[1].split("</section>")[0])
    words = " ".join(section.split())
    assert words.startswith("What extending did to each old class 1 lost.")
    assert f"{names[0]} 30 100.00 % 60.00 % −40.00 12 0 9 < 0.0001 0.0125 lost" in words
    assert f"{names[1]} – – – – – – 9 – – other test images, or none" in words
    assert all(name in words for name in names)


def test_a_report_of_an_earlier_version_says_nothing_of_that() -> None:
    assert "class-changes" not in page_of(2, 2)


def test_first_stage_shows_a_dash_for_its_missing_old_classes() -> None:
    page = page_of(2, 2)
    first, second = re.findall(r'<tr><th scope="row">[12].*?</tr>', page)[:2]
    assert "<td>–</td>" in first
    assert "<td>–</td>" not in second


def test_stage_that_ended_early_says_why_and_what_that_saved() -> None:
    report = make_report([2, 3])
    stage = report["stages"][-1]
    planned = 4 * stage["images_seen"]
    stage |= {"stopped": "enough", "planned_images": planned, "round_top1s": [0.5, 0.503]}
    text = visible_text(render_report(report))
    assert "Stage 2 ended before its budget: enough." in text
    assert f"of {planned:,} images, which saved 75.00 %." in text
    assert "Validation accuracy by round: 50.00 %, 50.30 %." in text
    assert "ended before its budget" not in visible_text(page_of(2, 3))


def test_rounds_are_shown_of_a_stage_that_used_its_budget_too() -> None:
    report = make_report([2, 3])
    report["stages"][-1] |= {"stopped": None, "round_top1s": [0.5, 0.6]}
    text = visible_text(render_report(report))
    assert "Stage 2 used its whole budget. Validation accuracy by round: 50.00 %, 60.00 %." in text
    assert "used its whole budget" not in visible_text(page_of(2, 3))


def test_reused_stage_bears_a_badge_in_both_stage_tables() -> None:
    assert page_of(2, 2, 4, 2).count(">reused<") == 2
    assert ">reused<" not in page_of(5)


def test_data_set_without_test_images_yields_a_page_without_class_figures() -> None:
    report = make_report([2, 2])
    for stage in report["stages"]:
        missing = dict.fromkeys(("top1", "top1_old", "top1_new", "loss", "confusion"))
        stage.update(missing, per_class=[])
    report["totals"]["top1"] = None
    text = visible_text(render_report(report))
    assert "No accuracy measured on all 4 classes" in text
    assert "The data set has no test images" in text


def test_class_without_test_images_is_left_out_of_the_ranking() -> None:
    rows = [{"name": name, "top1": top1} for name, top1 in (("a", 0.5), ("b", None), ("c", 0.9))]
    assert [row["name"] for row in rank_classes(rows)] == ["c", "a"]


def test_confused_pairs_come_most_images_first_and_leave_out_the_diagonal() -> None:
    pairs = confused_pairs([[8, 2, 0], [5, 5, 0], [0, 0, 0]], ["a", "b", "c"])
    assert pairs == [("b", "a", 5, 0.5), ("a", "b", 2, 0.2)]


def test_estimate_is_named_one_and_its_method_stands_beside_it() -> None:
    report, page = make_report([2, 2]), page_of(2, 2)
    caption = page.split('<figure id="cost-per-stage">')[1].split("<figcaption>")[1]
    assert caption.startswith("Hatched: an estimate of training from scratch")
    assert report["scratch_estimate"]["method"] in html.unescape(caption)
    assert "speed-up" not in page


def test_hundred_classes_are_listed_in_full_with_the_best_and_the_worst() -> None:
    report, page = make_report([10, 10, 20, 40, 20]), page_of(10, 10, 20, 40, 20)
    listed = re.findall(r"<li><span>(class \d+)</span>", page)
    assert listed == report["plan"]["class_order"]
    worst = rank_classes(report["stages"][-1]["per_class"])[-1]["name"]
    assert worst in page.split("Worst classes")[1].split("</table>")[0]


def test_forty_stages_are_all_in_the_tables() -> None:
    page = render_report(make_report([1] + [2] * 39))
    assert len(re.findall(r'<th scope="row">40', page)) == 3


def test_page_refers_to_nothing_outside_itself() -> None:
    page = page_of(2, 2)
    assert re.findall(r"(?:https?:)?//[a-z]|@import|<link|<script|<iframe", page) == []
    for target in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert target.startswith(("#", "data:image/png;base64,"))


def test_ids_are_unique_on_the_page() -> None:
    ids = re.findall(r'\bid="([^"]*)"', page_of(2, 2, 4, 2))
    assert len(ids) == len(set(ids))


def test_same_report_gives_the_same_bytes() -> None:
    assert render_report(make_report([2, 2, 4, 2])) == page_of(2, 2, 4, 2)


def test_report_of_another_format_is_refused_with_its_number() -> None:
    with pytest.raises(InputError, match="format 7"):
        render_report({**make_report([2]), "format": 7})


def test_report_without_stages_is_refused_with_the_run_s_name() -> None:
    with pytest.raises(InputError, match="digits-a1-3f2c91"):
        render_report({**make_report([2]), "stages": []})
