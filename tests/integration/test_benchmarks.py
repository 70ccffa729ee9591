"""The benchmarks at miniature size: that they work, and the claims that no clock decides."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import HANGS_S, ROOT
from life_sample import make_life
from PIL import Image

pytestmark = pytest.mark.slow

ALLOWANCE_MIB = 128
"""What a streamed stage may take beside its images: up to four worker processes' own pages, the
network's activations, labels and sample order; not a part of the data set's size."""


def benchmark(name: str, results: Path, *options: str, **env: str) -> dict[str, Any]:
    """Run a benchmark to its end; return what it wrote, its table as `printed`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--results", results, *options],
        env=kept | env,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = results.glob(f"{name}*.json")
    written: dict[str, Any] = json.loads(path.read_text())
    assert set(written) == {"benchmark", "date", "machine", "versions", "options", "results"}
    assert written["benchmark"] == path.stem
    assert {"cpu", "cores", "memory_gib", "gpu"} <= set(written["machine"])
    assert {"accrete", "torch", "Python"} <= set(written["versions"])
    assert str(results) not in json.dumps(written)  # nothing of this machine's folders
    return written | {"printed": done.stdout}


def check_summary(summary: dict[str, Any], n: int) -> None:
    assert summary["n"] == n == len(summary["values"])
    assert summary["min"] <= summary["q1"] <= summary["median"] <= summary["q3"] <= summary["max"]


@pytest.fixture(scope="module")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like CIFAR-100's with 64 random images of two classes."""
    rng = np.random.default_rng(0)
    rows = []
    for pixels in rng.integers(0, 256, (64, 32, 32, 3), np.uint8):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        rows.append({"bytes": file.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"img": pa.array(rows, kind), "fine_label": pa.array([0, 1] * 32)}
    folder = tmp_path_factory.mktemp("few")
    pq.write_table(pa.table(columns), folder / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def throughput(few_images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    turns = ("--rounds", "2", "--steps", "5", "--warmup", "2", "--batch-sizes", "8,16")
    folder = tmp_path_factory.mktemp("results")
    return benchmark("throughput", folder, *turns, ACCRETE_TEST_CIFAR100=str(few_images))


def test_throughput_lets_all_loops_train_on_equally_many_images(throughput: dict[str, Any]) -> None:
    assert [result["batch_size"] for result in throughput["results"]] == [8, 16]
    for result in throughput["results"]:
        loops = result["loops"]
        assert {"ours", "ours, fp32", "plain PyTorch"} <= set(loops)
        for name, loop in loops.items():
            check_summary(loop["images_per_s"], 2)
            # One turn of every loop warms up; those with a DataLoader try no worker and two.
            num_turns = 2 + (1 if loop["num_workers"] is None else 2)
            assert loop["num_images"] == num_turns * 5 * result["batch_size"]
            assert ("plain PyTorch" in loop["over"]) == (name != "plain PyTorch")
    assert "| 16 | ours, fp32 | – |" in throughput["printed"]


def test_throughput_has_avalanche_take_part(throughput: dict[str, Any]) -> None:
    for result in throughput["results"]:
        if "Avalanche" in result["left_out"]:
            pytest.skip(result["left_out"]["Avalanche"])
        check_summary(result["loops"]["ours"]["over"]["Avalanche"], 2)
        check_summary(result["loops"]["Avalanche"]["over"]["plain PyTorch"], 2)


def test_a_streamed_stage_s_memory_follows_the_budget_and_not_the_data(tmp_path: Path) -> None:
    (result,) = benchmark("memory", tmp_path, "--miniature")["results"]
    assert result["budgets"] == 16
    assert result["dataset_mib"] == pytest.approx(16 * result["budget_mib"], rel=1e-3)
    limit_mib = result["budget_mib"] + ALLOWANCE_MIB
    assert result["dataset_mib"] > limit_mib  # or the two could not be told apart
    assert result["budgeted"]["peak_mib"]["max"] < limit_mib
    assert result["resident"]["peak_mib"]["min"] > limit_mib


def test_resume_measures_snapshots_and_restarts(tmp_path: Path) -> None:
    short = ("--rounds", "1", "--seconds", "1", "--interval", "0.2", "--restarts", "1")
    parts = ("--source", "digits", "--parts", "snapshots,restart")
    results = benchmark("resume", tmp_path, *parts, *short)["results"]
    snapshots, restart = results["snapshots"], results["restart"]
    assert snapshots["num_snapshots"]["median"] >= 1
    assert snapshots["default_interval_s"] == 60
    check_summary(snapshots["share"], 1)
    check_summary(snapshots["each_s"], 1)
    assert restart["position"] > 0
    for node in ("same node", "new node"):
        check_summary(restart[node]["total_s"], 1)
        parts_s = restart[node]["parts_s"]
        assert next(iter(parts_s)) == "interpreter"
        assert {"imports", "pull", "snapshot", "network", "images", "steps"} <= set(parts_s)
        total_s = sum(part["median"] for part in parts_s.values())
        assert total_s == pytest.approx(restart[node]["total_s"]["median"])


def test_resume_ends_a_killed_stage_identical(tmp_path: Path) -> None:
    found = benchmark("resume", tmp_path, "--parts", "kills", "--kills", "2")["results"]["kills"]
    assert found["kills"] == 2
    assert found["attempts"] == 3
    assert found["positions"][-1] > 0
    assert found["checkpoint_sha256"] == found["undisturbed_sha256"]
    assert found["identical"] is True


def test_samples_to_accuracy_compares_at_equal_accuracy(tmp_path: Path) -> None:
    options = ("--source", "digits", "--initial", "2", "--seeds", "2", "--staged", "6")
    options += ("--scratch", "2,6,20")
    home = {"ACCRETE_HOME": str(tmp_path / "home")}
    results = benchmark("samples_to_accuracy", tmp_path, *options, **home)["results"]
    cells = results["cells"]
    assert len(cells) == 2 * (1 + 3)
    assert all(0.1 < cell["top1"] <= 1 for cell in cells)
    assert len({cell["images"] for cell in cells if cell["budget_epochs"] == 6}) == 1
    (row,) = results["comparison"]
    staged = [cell["top1"] for cell in cells if cell["plan"] == "staged"]
    assert row["top1"] == pytest.approx(sum(staged) / 2)
    assert row["images_ratio"]["top1"] == row["top1"]  # a ratio always has its accuracy beside it
    assert row["images_ratio"]["ratio"] == pytest.approx(row["gflop_ratio"]["ratio"], rel=0.2)


def test_goodput_agrees_with_real_kills_and_draws_both_nodes(tmp_path: Path) -> None:
    figure = tmp_path / "goodput.svg"
    short = ("--rounds", "1", "--steps", "60", "--restarts", "1", "--kills", "8")
    options = (*short, "--points", "0.2:6", "--figure", str(figure))
    results = benchmark("goodput", tmp_path, *options, OMP_NUM_THREADS="1")["results"]
    for kind in ("measured", "assumed"):
        for line in results[kind]["by_mtbf"].values():
            best = max(line["goodput"].values())
            assert 0 < best < 1
            assert line["at_young_daly"] > best - 0.02  # the formula's interval is about the best
    (point,) = results["real_kills"]
    assert point["kills"] == 8
    assert 0 <= point["goodput"] < 1
    # Loose: the machine may be busier in one part than in the other.
    assert point["goodput"] == pytest.approx(point["modelled"], abs=0.25)
    assert "<svg" in figure.read_text()


def test_tiny_maps_sets_both_convolutions_side_by_side(tmp_path: Path) -> None:
    turns = ("--cases", "digits", "--precisions", "fp32,bf16", "--rounds", "2", "--seconds", "0.1")
    results = benchmark("tiny_maps", tmp_path, *turns)["results"]
    for precision in ("fp32", "bf16"):
        found = results[f"digits, {precision}"]
        assert set(found) == {"ours", "torch", "ratio"}
        for summary in found.values():
            check_summary(summary, 2)


def test_a_lifecycle_s_tables_have_every_contestant_and_arrival(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from lifecycle_text import lifecycle_text

    machine = {"cpu": "a CPU", "cores": 2, "gpu": None}
    report = make_life(contestants=["head", "improved"], schedules=[(2, 2, 2), (4, 1)])
    text = lifecycle_text({"results": report, "machine": machine})
    assert "| `head` | not reached | not reached | not reached | not reached |" in text
    assert (
        "| `improved` | 5.57× (5.57–5.57) | 5.57× (5.57–5.57) | 5.57× (5.57–5.57), 0.5 ep" in text
    )
    assert (
        "| 6 | 77.6 % | 19,200 | 46.1 % (-1.0) | not reached |" in text
    )  # 80 - 4 - 30 %, and the seeds' tenth
    assert "| ≤ 300 |" in text
    assert "Arrivals `4,1`:" in text


@pytest.mark.slow
def test_a_lifecycle_is_measured_and_put_into_its_document(tmp_path: Path) -> None:
    home = {"ACCRETE_HOME": str(tmp_path / "home")}
    written = benchmark("lifecycle", tmp_path, "--scale", "miniature", "--", "--gpus", "0", **home)
    assert [each["schedule"] for each in written["results"]["schedules"]] == ["4,3*2"]
    document = tmp_path / "life.md"
    document.write_text("# Life\n\n<!-- figures: begin -->\n<!-- figures: end -->\n")
    benchmark("lifecycle", tmp_path, "--document", str(document))
    assert "Arrivals `4,3*2`:" in document.read_text()
