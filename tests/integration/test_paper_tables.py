"""The paper's tables at miniature size, on a CPU; and that the document has what was recorded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import HANGS_S, ROOT
from pieces_run import run_miniature

SCRIPT = str(ROOT / "benchmarks" / "paper_tables.py")


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module with the tables."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import paper_text

    return paper_text


@pytest.mark.slow
def test_it_does_every_cell_over_two_runs(tmp_path: Path, text: Any) -> None:
    first, printed = run_miniature("paper_tables", tmp_path, tmp_path / "home", "--minutes", "0")
    assert list(first) == ["scratch, 10 classes, 8 epochs, seed 0"]
    assert "scratch, 8 classes, 8 epochs, seed 0 is next" in printed
    assert "| 8 | 8 | not measured | – | not measured | – |" in printed
    pieces, printed = run_miniature("paper_tables", tmp_path, tmp_path / "home")
    assert pieces["scratch, 10 classes, 8 epochs, seed 0"] == next(iter(first.values()))
    assert [name.removesuffix(", seed 0") for name in pieces] == [
        "scratch, 10 classes, 8 epochs",
        "scratch, 8 classes, 8 epochs",
        "staged, rule even",
        "staged, rule 5.6 million",
        "scratch, 2 classes, 8 epochs",
        "scratch, 4 classes, 8 epochs",
        "staged, rule last",
        "staged, rule plateau",
        "scratch, 10 classes, 4 epochs",
        "table 2, run 7, rate by stage",
        "table 2, run 9, rate by stage",
        "table 1, n1 2, Δn 1, gradient 0.1",
        "table 1, n1 2, Δn 8, gradient 0.1",
        "table 2, run 7, rate by plan",
        "table 2, run 9, rate by plan",
    ]
    results = text.by_label(pieces)
    staged = results["staged, rule even"][0]["stages"]
    assert [stage["classes"] for stage in staged] == [2, 4, 8, 10]
    assert results["scratch, 10 classes, 8 epochs"][0]["top1"] > 0.3
    runs = [results[f"table 2, run 7, rate by {spread}"][0] for spread in ("stage", "plan")]
    assert [len(run["stages"]) for run in runs] == [5, 5]
    assert runs[0]["images"] == pytest.approx(runs[1]["images"], abs=128 * 5)
    assert runs[0]["top1"] != runs[1]["top1"]
    top1 = 100 * (1 - runs[0]["stages"][3]["top1"])
    assert f"| 7 | 2 | 2 | – | {top1:.2f} % | – |" in printed
    assert "not measured" not in printed
    images = results["staged, rule 5.6 million"][0]["images"]
    assert images == pytest.approx(6000, rel=0.1)
    assert f"| {images:,} | – |" in printed


def test_rules_spend_what_they_say(text: Any) -> None:
    from paper_cells import FULL, PARTS, cells_of

    cells = cells_of(FULL, precision="fp32", stop_gradient=0.1)
    assert len({made.label for made in cells}) == len(cells)
    assert [PARTS.index(cell.part) for cell in cells] == sorted(PARTS.index(c.part) for c in cells)
    seen = {made.label: made.num_images(FULL.images_per_class) for made in cells}
    sizes = {made.label: made.cell.stage_sizes for made in cells}
    assert sizes["staged, rule even"] == (10, 10, 20, 40, 20)
    assert seen["scratch, 100 classes, 300 epochs"] == pytest.approx(15e6, rel=1e-4)
    assert seen["scratch, 100 classes, 159 epochs"] == pytest.approx(1.42 * 5.6e6, rel=1e-3)
    assert seen["staged, rule even"] == pytest.approx(7.5e6, rel=1e-4)
    for rule in ("5.6 million", "last"):
        assert seen[f"staged, rule {rule}"] == pytest.approx(5.6e6, rel=1e-4)
    assert {pair: text.TABLE_I[pair] for pair in FULL.stages} == text.TABLE_I
    assert {pair: text.TABLE_II[pair] for pair in FULL.runs.values()} == text.TABLE_II


def test_a_stage_that_was_given_up_is_told_and_no_ratio_made_of_it(text: Any) -> None:
    from paper_cells import FULL

    def piece(added: int, *, converged: bool) -> dict[str, Any]:
        stages = [{"classes": 10, "images": 5, "top1": 0.5}]
        stages += [{"classes": 10 + added, "images": 164_000, "top1": 0.5}]
        result = {"cell": f"table 1, n1 10, Δn {added}, gradient 0.1", "seed": 0, "stages": stages}
        return {
            "machine": {"gpu": "G", "cpu": "C"},
            "result": result | {"converged": [True, converged]},
        }

    pieces = {"a": piece(1, converged=True), "b": piece(5, converged=False)}
    written = text.report(pieces, FULL, 0.1)
    assert "| 10 | 1 | 82 | 164 | 2.00× |" in written
    assert "| 10 | 5 | 330 | over 164, given up | – |" in written


def test_of_several_seeds_the_mean_is_told(text: Any) -> None:
    from paper_cells import FULL

    def piece(seed: int, top1: float) -> dict[str, Any]:
        stages = [{"classes": 100, "images": 1000 + seed, "top1": top1}]
        result = {"cell": "scratch, 100 classes, 300 epochs", "seed": seed, "stages": stages}
        return {
            "machine": {"gpu": None, "cpu": "C"},
            "result": result | {"images": 1000 + seed, "top1": top1},
        }

    pieces = {str(seed): piece(seed, top1) for seed, top1 in enumerate((0.70, 0.71, 0.74))}
    written = text.report(pieces, FULL, 0.1)
    assert written.startswith("On: C. Seeds: 0, 1, 2; of several, the mean.")
    assert "| 100 | 300 | 1,001 | 28.30 % | 28.33 % | +0.03 |" in written


def test_the_document_has_the_tables_of_what_is_recorded(text: Any) -> None:
    document = (ROOT / "docs" / "reproduction.md").read_text()
    figures = text.recorded_figures(ROOT / "benchmarks" / "results", 0.1)
    assert text.with_figures(document, figures) == document


def test_the_document_is_written_without_training(tmp_path: Path) -> None:
    path = tmp_path / "document.md"
    path.write_text("a\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nz\n")
    command = [sys.executable, SCRIPT, "--results", str(tmp_path), "--document", str(path)]
    subprocess.run(command, check=True, timeout=HANGS_S)
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("a", "z")
    assert "old" not in lines
    assert "| 100 | 300 | not measured | 28.30 % | not measured | – |" in lines
    assert "| 50 | 50 | 4,450 | not measured | – |" in lines


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--parts", "all"], "--parts has all: choose of scratch, staged, figure2,"),
        (["--seeds", "0", "--miniature"], "--seeds is 0: give at least 1"),
        ([], "CIFAR-100 is nowhere: give --data FOLDER or set ACCRETE_TEST_CIFAR100"),
    ],
)
def test_wrong_options_are_told(options: list[str], line: str, tmp_path: Path) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    done = subprocess.run(
        [sys.executable, SCRIPT, *options],
        env=kept, cwd=tmp_path, capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert line in done.stderr.splitlines()[-1]
