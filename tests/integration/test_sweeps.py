"""Comparison and studies on the digits, through their compiled pipelines, on a real store."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli

QUICK = ("--gpus", "0", "--seeds", "1")


def report_of(home: Path, name: str) -> dict[str, Any]:
    folder = home / "home" / "runs" / name
    page = (folder / "report.html").read_text()
    assert name in page
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.slow
def test_staged_training_is_set_beside_training_from_scratch(cli: Cli, tmp_path: Path) -> None:
    options = ("--initial", "5", "--budget-epochs", "3", "--scratch-epochs", "3,9", *QUICK)
    done = cli("compare", *options, "--name", "both")
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path, "both")
    kinds = [(cell["kind"], cell["num_classes"], cell["budget_epochs"]) for cell in report["cells"]]
    assert kinds == [
        ("staged", 10, 3.0),
        ("scratch", 10, 3.0),
        ("scratch", 10, 9.0),
        ("scratch", 5, 3.0),
    ]
    assert [row["num_classes"] for row in report["over_classes"]] == [5, 10]
    assert all(row["staged"] and row["scratch"] for row in report["over_classes"])
    assert [row["measure"] for row in report["speed_ups"]] == ["images_seen", "train_s"]
    staged, scratch, *_ = report["cells"]
    assert abs(staged["images_seen"] - scratch["images_seen"]) <= 2 * 128
    assert "% top-1" in done.stderr

    again = cli("compare", *options, "--name", "both")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("reused") == 6  # the data set, and five stages
    assert report_of(tmp_path, "both")["cells"] == report["cells"]

    status = cli("status", "both")
    assert status.returncode == 0, status.stderr
    assert "both: done" in status.stdout
    other = cli("compare", *options, "--seed", "7", "--name", "both")
    assert other.returncode == 2
    assert "'both' is a comparison with another configuration" in other.stderr
    run = cli("run", "--gpus", "0", "--name", "both")
    assert run.returncode == 2
    assert "'both' is a comparison with another configuration" in run.stderr


@pytest.mark.parametrize(
    ("contestants", "scratch"),
    [
        (["improved"], "12"),
        pytest.param(["extend", "improved"], "4,12", marks=pytest.mark.slow),
    ],
)
def test_a_life_of_the_digits_is_set_beside_training_from_scratch(
    contestants: list[str], scratch: str, cli: Cli, tmp_path: Path
) -> None:
    options = ("--schedules", "2*5", "--contestants", ",".join(contestants), *QUICK)
    budgets = ("--scratch-epochs", scratch, "--budgets", "2,12")
    done = cli("study", "lifecycle", *options, *budgets, "--name", "life")
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path, "life")
    numbers = [2, 4, 6, 8, 10]
    assert [row["num_classes"] for row in report["scratch"]] == numbers
    assert all(row["tuned"]["budget"] in (4, 12) for row in report["scratch"])
    assert report["dataset"]["num_validation_images"] > 0

    (schedule,) = report["schedules"]
    assert schedule["num_classes"] == numbers
    assert schedule["scratch"]["images"] == sum(row["tuned"]["images"] for row in report["scratch"])
    assert [each["name"] for each in schedule["contestants"]] == contestants
    for each in schedule["contestants"]:
        for arrival in each["arrivals"]:
            least, most = arrival["budgets"]
            assert 5 * least["images"] < most["images"] < 7 * least["images"]
            assert most["lost"] is not None
        assert each["arrivals"][-1]["budgets"][1]["top1"] > 0.6  # all ten, from two at a time

    by_name = {cell["name"]: cell for cell in report["cells"]}
    assert len(by_name) == 5 * len(scratch.split(",")) + 2 * len(contestants)
    firsts = {cell["stages"][0]["seconds"] for cell in report["cells"] if len(cell["stages"]) > 1}
    assert firsts == {by_name["scratch-2-12-s0"]["stages"][0]["seconds"]}  # one training, shared
    assert "2*5  improved: " in done.stderr


@pytest.mark.slow
def test_a_study_of_convergence_gives_costs_to_plan_by(cli: Cli, tmp_path: Path) -> None:
    options = ("--initial", "2,4", "--add", "1,3", "--lr", "0.05", "--stop-gradient", "0.2", *QUICK)
    done = cli("study", "convergence", *options, "--max-epochs", "30", "--name", "table1")
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path, "table1")
    pairs = {(cell["num_initial"], cell["num_added"]) for cell in report["cells"]}
    assert pairs == {(0, 2), (0, 4), (2, 1), (2, 3), (4, 1), (4, 3)}
    assert len(report["cells"]) == 6  # first stages are shared, not trained twice
    assert all(cell["converged"] for cell in report["cells"])

    costs = tmp_path / "home" / "runs" / "table1" / "costs.json"
    assert len(json.loads(costs.read_text())) == 6
    plan = cli("plan", "--classes", "10", "--alpha", "auto", "--costs", str(costs))
    assert plan.returncode == 0, plan.stderr
    assert "expected training images by" in plan.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("added", "num_stages"), [("8", [2]), ("4,8", [3, 2])])
def test_a_study_of_increments_has_a_baseline(
    added: str, num_stages: list[int], cli: Cli, tmp_path: Path
) -> None:
    options = ("--initial", "2", "--add", added, "--budget-epochs", "3", *QUICK)
    done = cli("study", "increments", *options, "--name", "table2")
    assert done.returncode == 0, done.stderr
    report = report_of(tmp_path, "table2")
    rows = [
        (cell["num_initial"], cell["num_added"], cell["num_stages"]) for cell in report["cells"]
    ]
    assert rows == [(2, int(d), n) for d, n in zip(added.split(","), num_stages, strict=True)]
    assert report["baseline"]["num_classes"] == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "--stages", "10"), "the plan has one stage"),
        (("compare", "--epochs", "1,2"), "give --budget-epochs"),
        (("compare", "--scratch-epochs", "a,b"), "scratch epochs are 'a,b'"),
        (("compare", "--seeds", "0"), "seeds is 0"),
        (("study", "convergence", "--initial", "11"), "a number of --initial or --add is 11"),
        (("study", "convergence", "--initial", "9", "--add", "2"), "need more than the 10"),
        (("study", "convergence", "--initial", "x"), "stage size 'x'"),
        (("study", "increments", "--initial", "2", "--add", "2", "--total", "11"), "total classes"),
        (("study", "increments", "--epochs", "1", "--initial", "2", "--add", "2"), "budget-epochs"),
        (("study", "nothing"), "'nothing' is not one of"),
    ],
)
def test_what_cannot_be_swept_is_refused_in_one_line(
    cli: Cli, arguments: tuple[str, ...], words: str
) -> None:
    done = cli(*arguments, "--gpus", "0")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert words in line
