"""A model's life across runs: as text, as JSON and as one page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from arriving import Place, put
from conftest import Cli

from accrete.catalog.catalog import Catalog
from accrete.errors import InputError, RunNotFoundError
from accrete.reports.life import assemble_life, render_life
from accrete.store.cache import NodeCache

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def place(tmp_path: Path, catalog: Catalog, cache: NodeCache) -> Place:
    """A life with two arrivals: a class, and more images of another."""
    made = Place(tmp_path / "digits", catalog, cache)
    made.begin()
    put(made.folder, 3, 0, 40)
    for refresh_share in (0.2, 0.1):
        record = made.look(refresh_share=refresh_share)
        assert record is not None
        made.train(record)
        put(made.folder, 1, 40, 80)
    return made


def test_every_run_of_a_life_shows_all_of_it(place: Place) -> None:
    life = assemble_life(place.catalog, "life")
    assert life == assemble_life(place.catalog, "life-a1")
    assert life == assemble_life(place.catalog, "life-a2")
    first, second, third = life["arrivals"]
    assert [each["run"] for each in life["arrivals"]] == ["life", "life-a1", "life-a2"]
    assert (first["num_classes"], first["num_images"]) == (3, 96)
    assert first["top1_before"] is first["top1_old"] is first["top1_new"] is None
    assert (second["new_classes"], second["num_images_added"]) == (["3"], 32)
    assert second["top1_before"] == first["top1"]
    assert second["top1_old"] is not None
    assert third["new_classes"] == []
    num_tests = third["num_test_images"] - second["num_test_images"]
    assert third["num_images_added"] + num_tests == 40
    assert life["totals"]["images_seen"] == sum(a["images_seen"] for a in life["arrivals"])
    assert life["totals"]["num_classes"] == 4
    assert json.loads(json.dumps(life)) == life


def test_what_has_not_finished_is_named(place: Place) -> None:
    put(place.folder, 4, 0, 40)
    assert place.look() is not None
    assert assemble_life(place.catalog, "life")["unfinished"] == ["life-a3"]
    with pytest.raises(RunNotFoundError, match="'nobody'"):
        assemble_life(place.catalog, "nobody")


def test_an_extension_that_has_not_finished_has_the_life_before_it(place: Place) -> None:
    put(place.folder, 4, 0, 40)
    place.look()
    assert len(assemble_life(place.catalog, "life-a3")["arrivals"]) == 3


class Page(HTMLParser):
    """Texts and figures of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "svg":
            self.figures.append(dict(attrs)["aria-label"])

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_has_a_picture_and_every_arrival(place: Place) -> None:
    life = assemble_life(place.catalog, "life")
    life["arrivals"][1]["new_classes"] = ["<script>alert(1)</script>"]
    html = render_life(life)
    page = Page()
    page.feed(html)
    assert len(page.figures) == 2
    assert {"life", "life-a1", "life-a2"} <= set(page.texts)
    assert "<script" not in html
    assert html == render_life(life)
    with pytest.raises(InputError, match="format 2"):
        render_life(life | {"format": 2})


@pytest.mark.slow
def test_the_command_writes_the_page_and_says_what_it_shows(
    cli: Cli, place: Place, tmp_path: Path
) -> None:
    done = cli("life", "life-a1", "--html", "life.html")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[1:4]] == ["life", "life-a1", "life-a2"]
    assert (tmp_path / "life.html").read_text().startswith("<!doctype html>")
    assert cli("life", "life@latest").stdout == cli("life", "life").stdout
    done = cli("life", "life", "--json", "--html", "nowhere/life.html")
    assert done.returncode == 2
    assert "nowhere/life.html cannot be written" in done.stderr
