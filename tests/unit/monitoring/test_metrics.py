"""What a step exports: which figures, when, under which names and labels."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import HANGS_S
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from training_sample import make_schedule

from accrete.catalog.identity import StageSpec
from accrete.config.run import ModelConfig
from accrete.errors import (
    AccreteError,
    BadImageError,
    BucketMissingError,
    IntegrityError,
    OutOfMemoryError,
    PreemptedError,
    TrainingDivergedError,
)
from accrete.monitoring.instruments import INSTRUMENTS
from accrete.monitoring.metrics import StepMetrics, gpu_memory, reason_of
from accrete.monitoring.stage_metrics import StageMetrics
from accrete.store.traffic import Traffic

Figures = dict[tuple[str, tuple[str, ...]], float]
DOCS = Path(__file__).parents[3] / "docs" / "monitoring.md"


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def metrics(traffic: Traffic) -> StepMetrics:
    return StepMetrics("some-run", "stage-0002", traffic)


@pytest.fixture
def stage(metrics: StepMetrics) -> StageMetrics:
    """Stage 2: a hundred steps of 16 images."""
    spec = StageSpec(
        index=2,
        digest="2" * 64,
        parent="1" * 64,
        class_names=("a", "b", "c"),
        num_old_classes=2,
        schedule=make_schedule(100, first_step=50, total_steps=150),
        model=ModelConfig(name="small"),
        seed=0,
    )
    return StageMetrics(metrics, spec, snapshot_interval_s=60.0)


def figures(metrics: StepMetrics) -> Figures:
    """Return all that is exported, by name and the labels beside run and step, in their order."""
    found = {}
    text = generate_latest(metrics.registry).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("run") == "some-run"
            assert labels.pop("step") == "stage-0002"
            found[sample.name, tuple(labels.values())] = sample.value
    return found


def test_a_step_that_has_just_begun_exports_no_figure_that_it_does_not_know(
    metrics: StepMetrics,
) -> None:
    before = time.time()
    found = figures(metrics)
    assert found["accrete_step_running", ()] == 1
    assert found["accrete_step_started_timestamp_seconds", ()] == pytest.approx(before, abs=5)
    assert found["accrete_store_pulled_bytes_total", ()] == 0
    names = {name for name, _ in found}
    assert not names & {"accrete_step_exit_code", "accrete_step_attempts", "accrete_train_loss"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingDivergedError("x"), "diverged"),
        (PreemptedError("x"), "preempted"),
        (BucketMissingError("x"), "store"),
        (BadImageError("x"), "input"),
        (IntegrityError("x"), "integrity"),
        (OutOfMemoryError("x"), "memory"),
        (AccreteError("x"), "other"),
        (ZeroDivisionError("x"), "other"),
    ],
)
def test_a_failure_is_counted_under_one_of_few_reasons(
    error: BaseException, reason: str, metrics: StepMetrics
) -> None:
    assert reason_of(error) == reason
    metrics.end(error, 4)
    found = figures(metrics)
    assert found["accrete_step_failed", (reason,)] == 1
    assert found["accrete_step_exit_code", ()] == 4
    assert found["accrete_step_running", ()] == 0


def test_a_success_has_exit_code_0_and_no_reason(metrics: StepMetrics) -> None:
    metrics.end()
    found = figures(metrics)
    assert found["accrete_step_exit_code", ()] == 0
    assert not [name for name, _ in found if name == "accrete_step_failed"]


def test_a_stage_that_goes_on_from_a_snapshot_counts_only_its_own_steps(
    metrics: StepMetrics, stage: StageMetrics
) -> None:
    stage.training_begins(40)
    time.sleep(0.01)
    stage.progress(60, 0.5)
    found = figures(metrics)
    assert found["accrete_stage_training", ("2",)] == 1
    assert found["accrete_stage_steps_done", ("2",)] == 60
    assert found["accrete_stage_steps_planned", ("2",)] == 100
    assert found["accrete_train_steps_total", ("2",)] == 20
    assert found["accrete_train_images_total", ("2",)] == 320
    assert 0 < found["accrete_train_images_per_second", ("2",)] < 320 / 0.01
    assert found["accrete_train_loss", ("2",)] == 0.5
    assert 0 < found["accrete_train_learning_rate", ("2",)] <= 0.05


@pytest.mark.parametrize("by_failure", [False, True])
def test_a_stage_whose_step_loop_has_ended_trains_no_more(
    by_failure: bool, metrics: StepMetrics, stage: StageMetrics
) -> None:
    stage.training_begins(0)
    if by_failure:
        metrics.end(TrainingDivergedError("x"), 1)
    else:
        stage.phase_ended("train", 2.5)
        assert figures(metrics)["accrete_stage_duration_seconds", ("train", "2")] == 2.5
    assert figures(metrics)["accrete_stage_training", ("2",)] == 0


def test_snapshots_are_counted_with_their_time_and_size(
    metrics: StepMetrics, stage: StageMetrics
) -> None:
    assert figures(metrics)["accrete_snapshots_total", ("2",)] == 0
    stage.snapshot_stored(1000, 0.25)
    stage.snapshot_stored(1001, 0.5)
    stage.snapshot_failed()
    found = figures(metrics)
    assert found["accrete_snapshots_total", ("2",)] == 2
    assert found["accrete_snapshot_failures_total", ("2",)] == 1
    assert found["accrete_snapshot_last_bytes", ("2",)] == 1001
    assert found["accrete_snapshot_last_duration_seconds", ("2",)] == 0.5
    assert found["accrete_snapshot_last_timestamp_seconds", ("2",)] == pytest.approx(
        time.time(), abs=5
    )
    assert found["accrete_snapshot_interval_seconds", ("2",)] == 60


def test_traffic_is_read_when_it_is_asked_for_and_is_progress(
    metrics: StepMetrics, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = figures(metrics)["accrete_step_last_progress_timestamp_seconds", ()]
    later = time.time() + 100
    monkeypatch.setattr("accrete.store.traffic.time.time", lambda: later)
    traffic.add_pulled(10, 0.5)
    traffic.add_pulled(20, 0.5)
    traffic.add_pushed(5, 0.25)
    traffic.add_error()
    traffic.add_retries(1)
    monkeypatch.undo()
    found = figures(metrics)
    assert found["accrete_store_pulled_bytes_total", ()] == 30
    assert found["accrete_store_pulled_objects_total", ()] == 2
    assert found["accrete_store_pull_seconds_total", ()] == 1
    assert found["accrete_store_pushed_bytes_total", ()] == 5
    assert found["accrete_store_push_seconds_total", ()] == 0.25
    assert found["accrete_store_errors_total", ()] == 1
    assert found["accrete_store_retries_total", ()] == 1
    moved = found["accrete_step_last_progress_timestamp_seconds", ()]
    assert moved == pytest.approx(later)
    assert moved > began
    metrics.progressed()  # earlier than the transfer, by the clock that was set forward
    assert figures(metrics)["accrete_step_last_progress_timestamp_seconds", ()] == moved


def test_without_a_gpu_none_is_exported_and_torch_is_not_imported() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert list(gpu_memory()) == []
    program = (
        "import sys; from accrete.monitoring.metrics import gpu_memory; list(gpu_memory()); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=HANGS_S)
    assert done.returncode == 0


def test_on_a_gpu_its_memory_is_exported(metrics: StepMetrics) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    block = torch.zeros(1 << 20, device="cuda")
    found = figures(metrics)
    assert found["accrete_gpu_memory_allocated_bytes", ("0",)] >= block.nbytes
    assert found["accrete_gpu_memory_reserved_bytes", ("0",)] >= block.nbytes
    assert found["accrete_gpu_memory_peak_bytes", ("0",)] >= block.nbytes
    assert found["accrete_gpu_memory_total_bytes", ("0",)] > 1 << 30


def documented() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield name, type and further labels of each row of the document's table."""
    for line in DOCS.read_text().splitlines():
        row = re.fullmatch(r"\| `(accrete_\w+)` \| (counter|gauge) \| (.*?) \| .+ \|", line)
        if row:
            yield row[1], row[2], tuple(re.findall(r"`(\w+)`", row[3]))


def test_the_document_lists_what_is_exported_and_nothing_else() -> None:
    exported = [
        (one.name, "counter" if one.is_counter else "gauge", one.labels) for one in INSTRUMENTS
    ]
    assert list(documented()) == exported


def test_every_name_keeps_to_prometheus_conventions(
    metrics: StepMetrics, stage: StageMetrics
) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    for instrument in INSTRUMENTS:
        metrics.set(instrument.name, 1.5, *("x" for _ in instrument.labels))
    text = generate_latest(metrics.registry)
    for instrument in INSTRUMENTS:
        assert instrument.name.encode() in text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
