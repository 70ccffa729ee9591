"""The GPU benchmark at miniature size, on a CPU: all its parts, and where the next run goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from pieces_run import run_miniature


@pytest.mark.slow
def test_it_does_all_of_its_parts_over_two_runs(tmp_path: Path) -> None:
    parts = ("--parts", "ceilings,search,accuracy,arrival,extension,life,paper,seeds")
    first, printed = run_miniature("gpu", tmp_path, tmp_path / "home", *parts, "--minutes", "0")
    assert list(first) == ["ceilings"]
    assert "search, scratch, fast, 2 epochs, seed 100 is next" in printed
    assert "staged, rule 5.6 million, seed 0 is next" in printed
    assert not (tmp_path / "paper_tables_miniature_bf16.json").exists()
    assert "Images to 70.83 %, staged: not measured." in printed
    assert "| not measured | not measured |" in printed
    pieces, printed = run_miniature("gpu", tmp_path, tmp_path / "home", *parts)
    assert pieces["ceilings"] == first["ceilings"]
    searched = [name for name in pieces if name.startswith("search, ")]
    assert searched == [
        f"search, scratch, {change}, 2 epochs, seed 100" for change in ("fast", "lr=0.1", "lr=0.05")
    ]
    best = max(searched, key=lambda name: pieces[name]["result"]["top1"]).split(", ")[2]
    changes = ("the same", "lr=0.1", "lr=0.025")
    arrivals = [f"arrival, 6+4, {best}, 1 epochs, seed 100, at arrival {c}" for c in changes]
    found = max(arrivals, key=lambda name: pieces[name]["result"]["top1"])
    change = found.partition("at arrival ")[2]
    told = ("", *(() if change == "the same" else (f", at arrival {change}",)))
    assert list(pieces)[4:] == [
        *(f"{plan}, {best}, 2 epochs, seed 0" for plan in ("staged", "scratch")),
        *(f"{plan}, {best}, 3 epochs, seed 0" for plan in ("staged", "scratch")),
        *arrivals,
        *(f"extended, 6+4, {best}, 1 epochs, seed 0{end}" for end in told),
        *(f"life, 4+3+3, {best}, 3 epochs, seed 0{end}" for end in told),
        *(f"anew, {number}, {best}, 2 epochs, seed 0" for number in (4, 7, 10)),
    ]
    staged = pieces[f"staged, {best}, 2 epochs, seed 0"]["result"]
    assert [stage["classes"] for stage in staged["stages"]] == [2, 4, 8, 10]
    assert staged["images"] == sum(stage["images"] for stage in staged["stages"])
    assert staged["top1"] == staged["stages"][-1]["top1"]
    assert all(stage["push_s"] > 0 for stage in staged["stages"])
    assert pieces[f"scratch, {best}, 3 epochs, seed 0"]["result"]["top1"] > 0.3
    life = pieces[f"life, 4+3+3, {best}, 3 epochs, seed 0"]["result"]
    assert [stage["classes"] for stage in life["stages"]] == [4, 7, 10]
    paper = json.loads((tmp_path / "paper_tables_miniature_bf16.json").read_text())["pieces"]
    assert list(paper) == [
        "staged, rule 5.6 million, seed 0",
        "scratch, 10 classes, 8 epochs, seed 0",
    ]
    assert "not measured | not measured" in printed  # the rates alone


@pytest.mark.slow
def test_rates_profile_and_start_are_of_this_machine(tmp_path: Path) -> None:
    pieces, printed = run_miniature(
        "gpu", tmp_path, tmp_path / "home", "--parts", "rates,profile,start"
    )
    for how in ("eager", "recorded", "recorded, TF32", "compiled"):
        rate = pieces[f"rate, {how}, batch 8"]["result"]
        assert "failed" in rate or rate["images_per_s"]["min"] > 0
    assert pieces["rate, eager, batch 8"]["result"]["images_per_s"]["n"] == 5
    kernels = pieces["profile, recorded, batch 8"]["result"]["kernels"]
    assert any("conv" in kernel["name"] for kernel in kernels)
    assert kernels == sorted(kernels, key=lambda kernel: -kernel["us"])
    assert pieces["start"]["result"]["stage code"]["min"] > 0
    assert "| 8 | " in printed


def test_an_unknown_part_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--parts", "speed"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "--parts has speed: choose of tests, ceilings, rates, profile, start, search, "
        "accuracy, arrival, extension, life, paper, seeds"
    )


def test_every_change_that_the_search_tries_is_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_chains import ARRIVAL_ROUNDS, ROUNDS

    from accrete.config.plan import Plan
    from accrete.config.recipe import Recipe
    from accrete.config.schedule import resolve

    sizes = (10, 10, 20, 40, 20)
    names = tuple(map(str, range(100)))
    plan = Plan(rule="", class_order=names, class_images=(500,) * 100, stage_sizes=sizes)
    for change in (change for changes in (*ROUNDS, *ARRIVAL_ROUNDS) for change in changes):
        schedules = resolve(Recipe(budget_epochs=16.0, **change), plan, 32)
        assert sum(s.num_steps * s.batch_size for s in schedules) == pytest.approx(8e5, rel=0.01)
