"""Each kind of bad input is one clear line and an exit code, and nothing of it is published."""

import re
from pathlib import Path

import pytest
from bad_inputs import KINDS, Kind
from conftest import ROOT

from accrete.catalog.catalog import Catalog
from accrete.cli.main import run_guarded

PAGE = ROOT / "docs" / "bad-input.md"
HEAD = "| what | exit code | the line |\n| --- | --- | --- |\n"


def pattern_of(line: str, folder: Path) -> str:
    """Return what a refusal must match as a whole."""
    parts = (re.escape(part) for part in line.replace("DIR", str(folder)).split("…"))
    return ".*".join(parts)


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_it_is_refused_in_one_line_and_nothing_is_published(
    kind: Kind, tmp_path: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(SystemExit) as stopped:
        run_guarded(lambda: kind.read(folder, catalog))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert re.fullmatch(pattern_of(f"accrete: error: {kind.line}", folder), lines[0])
    assert stopped.value.code == kind.exit_code
    assert catalog.store.list_keys("datasets/") == []
    assert catalog.store.list_keys("prepared/") == []


def test_there_are_many_kinds_and_no_line_stands_for_two_causes() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


def test_the_page_lists_each_kind_with_its_line(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text()
    before, table = text.split(HEAD)
    rows = [f"| {kind.name} | {kind.exit_code} | {cell(kind.line)} |" for kind in KINDS]
    if request.config.getoption("--golden"):
        PAGE.write_text(before + HEAD + "\n".join(rows) + "\n")
    else:
        assert table.splitlines() == rows
    assert f"{len(KINDS)} kinds" in before


def cell(line: str) -> str:
    """Return a line as a cell of a Markdown table has it."""
    shown = line.replace("|", r"\|").replace("`", "'")
    return f"`{shown if len(shown) < 260 else shown[:260] + '…'}`"
