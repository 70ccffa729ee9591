"""A stage by two processes under torchrun, over gloo, against the same stage by one."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HANGS_S
from digits import SOURCE, digits_run, stage_context
from processes import command_line, wait_for_a_snapshot
from torch import distributed, multiprocessing
from torch.nn import functional

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest, StageManifest, dump_dataset
from accrete.catalog.records import dump_record, make_record
from accrete.catalog.step_documents import StepDocument, step_documents
from accrete.config.run import ModelConfig, RunConfig
from accrete.data.prepare import prepare_dataset
from accrete.models.checkpoint import load_checkpoint
from accrete.models.networks import build_model
from accrete.monitoring.status import log_texts, run_states, status_text
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store._ports import free_ports
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.training.distributed import convert_sync_batchnorm, wrap_data_parallel

PROGRAM = """
import json, sys
from accrete.steps.train import train_step
print(json.dumps(train_step(**json.loads(sys.argv[1]))))
"""


@pytest.fixture
def dataset(catalog: Catalog, tmp_path: Path) -> DatasetManifest:
    plan = digits_run().plan
    return prepare_dataset(
        SOURCE, plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest


def _compare_gradients(rank: int, port: int) -> None:
    """In one of two processes: compare with the gradients of the whole batch, in float64."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    whole = build_model(ModelConfig(name="small"), channels=1, num_classes=10, seed=0).double()
    shared = copy.deepcopy(whole)
    convert_sync_batchnorm(shared, torch.device("cpu"))
    part = wrap_data_parallel(shared)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 8, 8, dtype=torch.float64, generator=generator)
    labels = torch.arange(64) % 10
    half = slice(32 * rank, 32 * rank + 32)
    functional.cross_entropy(whole(images), labels).backward()
    functional.cross_entropy(part(images[half]), labels[half]).backward()
    for ours, theirs in zip(whole.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-12, rtol=1e-9)
    for ours, theirs in zip(whole.buffers(), shared.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-9)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_shared_batch_statistics_give_the_whole_batch_s_gradients() -> None:
    context = multiprocessing.start_processes(
        _compare_gradients, tuple(free_ports(1)), nprocs=2, join=False, start_method="spawn"
    )
    while not context.join(120):  # returns as each of them ends; raises what one raised
        pass


class Step:
    """A training step as the pipeline starts it, in an environment of two processes."""

    def __init__(
        self, config: RunConfig, dataset: DatasetManifest, store: ObjectStore, folder: Path
    ) -> None:
        chain = stage_chain(config, dataset)
        self.spec = chain[0]
        self.folder = folder
        (folder / "dataset").write_bytes(dump_dataset(dataset))
        record = make_record("peers", config, dataset.digest, chain)
        (folder / "plan").write_bytes(dump_record(record))
        self.env = os.environ | store.settings.as_environment()
        self.env |= {"ACCRETE_CACHE": str(folder / "cache"), "ACCRETE_PROCESSES": "2"}
        self.arguments: dict[str, Any] = {
            "stages": [1.0],
            "run_name": "peers",
            "store_uri": str(store.address),
            "dataset_path": str(folder / "dataset"),
            "plan_path": str(folder / "plan"),
            "parent_path": None,
            "model_path": str(folder / "model"),
        }

    def start(self, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(self.arguments)],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def weights_of(manifest: StageManifest, cache: NodeCache) -> dict[str, torch.Tensor]:
    ref = manifest.checkpoint
    return load_checkpoint(cache.fetch([ref]).paths[ref.sha256]).weights


def history_of(manifest: StageManifest, cache: NodeCache) -> list[float]:
    ref = manifest.metrics
    metrics = json.loads(cache.fetch([ref]).paths[ref.sha256].read_bytes())
    return [point["loss"] for point in metrics["history"]]


def recorded_right(manifest: StageManifest, cache: NodeCache) -> list[tuple[int, int]]:
    """Return how many test images of each class a record has right, by its bits and its sums."""
    ref = manifest.metrics
    record = json.loads(cache.fetch([ref]).paths[ref.sha256].read_bytes())
    confusion = record["confusion"]["test"]
    return [
        (int(bits or "0", 16).bit_count(), confusion[label][label])
        for label, bits in enumerate(record["test_right"])
    ]


def by_one_process(
    spec: StageSpec, dataset: DatasetManifest, catalog: Catalog, cache: NodeCache
) -> StageManifest:
    """Train the stage alone, and forget that it was."""
    manifest = run_stage(spec, dataset, stage_context(catalog, cache)).manifest
    catalog.store.delete(keys.stage_key(spec.digest))
    return manifest


@pytest.mark.slow
def test_two_processes_train_what_one_does(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache, tmp_path: Path
) -> None:
    config = digits_run(10, precision="fp32", lr=0.005, budget_epochs=3.0)
    step = Step(config, dataset, catalog.store, tmp_path)
    alone = by_one_process(step.spec, dataset, catalog, cache)
    process = step.start()
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, err
    facts = json.loads(out.splitlines()[-1])
    together = catalog.stage(step.spec.digest)
    assert together is not None
    assert facts["digest"] == step.spec.digest
    assert facts["images_seen"] == alone.result.images_seen
    ours, theirs = history_of(alone, cache), history_of(together, cache)
    assert len(ours) == 33
    # Rounding grows from step to step: weights that differ by 1e-7 at the start gave losses that
    # differed by 1e-5 in the third step, 1e-3 in the fifth and at most 0.02 in the others.
    assert ours[:3] == pytest.approx(theirs[:3], abs=1e-4)
    assert ours == pytest.approx(theirs, abs=0.06)
    assert ours != theirs  # or the second process had no part in it
    bits = recorded_right(together, cache)
    assert sum(num_right for num_right, _ in bits) > 0
    assert all(num_right == on_diagonal for num_right, on_diagonal in bits)
    left, right = weights_of(alone, cache), weights_of(together, cache)
    for name in left:
        torch.testing.assert_close(left[name], right[name], atol=0.05, rtol=0.05)


@pytest.mark.slow
def test_what_fails_in_any_process_is_one_line_with_its_code(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, lr=1000.0, weight_decay=10.0)
    process = Step(config, dataset, catalog.store, tmp_path).start()
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 1
    errors = [line for line in err.splitlines() if line.startswith("accrete: error: ")]
    assert len(errors) == 1
    assert "stage 1: the loss is" in errors[0]
    assert catalog.store.list_keys("stages/") == []


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_refused(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, batch_size=125)
    process = Step(config, dataset, catalog.store, tmp_path).start()
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 2
    assert "batch size 125 does not divide among 2 GPUs" in err


@pytest.mark.slow
def test_sigterm_saves_and_two_new_processes_go_on_from_there(
    dataset: DatasetManifest, catalog: Catalog, cache: NodeCache, tmp_path: Path
) -> None:
    config = digits_run(10, precision="fp32", lr=0.05, budget_epochs=40.0)
    step = Step(config, dataset, catalog.store, tmp_path)
    process = step.start(ACCRETE_SNAPSHOT_INTERVAL_S="1")
    wait_for_a_snapshot(catalog.store, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 75, err
    (snapshot,) = catalog.store.list_keys("snapshots/")
    parsed = keys.parse_snapshot_key(snapshot)
    assert parsed is not None
    assert parsed[0] > 0
    process = step.start()
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, err
    stage = catalog.stage(step.spec.digest)
    assert stage is not None
    assert stage.result.images_seen == step.spec.schedule.num_images_seen
    assert stage.result.top1 is not None
    assert stage.result.top1 > 0.9
    assert catalog.store.list_keys("snapshots/") == []


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(found: Callable[[], list[int]]) -> list[int]:
    """Return processes once there are any."""
    deadline = time.monotonic() + HANGS_S
    while not (processes := found()):
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.05)
    return processes


def torchrun_of(step: "subprocess.Popen[str]") -> int:
    def found() -> list[int]:
        return [p for p in children_of(step.pid) if b"torchrun_process" in command_line(p)]

    return wait_for(found)[0]


def peer_of(torchrun: int, rank: int) -> int:
    """Return a process that torchrun started, once it is one of ours."""

    def found() -> list[int]:
        return [
            process
            for process in children_of(torchrun)
            if b"accrete.steps.peer_process" in command_line(process)
            and f"\0RANK={rank}\0".encode() in Path(f"/proc/{process}/environ").read_bytes()
        ]

    return wait_for(found)[0]


def told_of(step: Step, process: "subprocess.Popen[str]", store: ObjectStore) -> StepDocument:
    """Return a failed step's document, once stderr, journal, status and log say one thing."""
    _, err = process.communicate(timeout=HANGS_S)
    (line,) = [line for line in err.splitlines() if line.startswith("accrete: error: ")]
    (document,) = step_documents(store, "peers")
    assert document.state == "failed"
    assert document.failure is not None
    assert line == f"accrete: error: {document.failure.error}"
    assert process.returncode == document.failure.exit_code == 128 + signal.SIGKILL
    (state,) = run_states(store, "peers")
    assert state.state == "failed"
    assert f"stage-0001 failed: {document.failure.error}" in status_text(state)
    ((key, log),) = log_texts(store, "peers", None)
    assert key == keys.log_key("peers", "stage-0001", document.attempt)
    assert log.splitlines()[-1].endswith(f" error: {document.failure.error}")
    return document


@pytest.mark.slow
def test_a_torchrun_that_is_killed_before_its_processes_begin_leaves_a_journal(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    step = Step(digits_run(10), dataset, catalog.store, tmp_path)
    process = step.start(ACCRETE_RESTARTS="0")
    os.kill(torchrun_of(process), signal.SIGKILL)
    failure = told_of(step, process, catalog.store).failure
    assert failure is not None
    assert failure.error.startswith(
        "torchrun, which ran the 2 processes of the step, was ended by SIGKILL: "
    )


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["torchrun", "the first", "the second"])
def test_a_process_that_is_killed_in_training_is_told_in_the_journal_of_the_attempt(
    killed: str, dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, precision="fp32", lr=0.05, budget_epochs=200.0)
    step = Step(config, dataset, catalog.store, tmp_path)
    process = step.start(ACCRETE_SNAPSHOT_INTERVAL_S="1", ACCRETE_RESTARTS="0")
    torchrun = torchrun_of(process)
    peers = [peer_of(torchrun, rank) for rank in range(2)]
    wait_for_a_snapshot(catalog.store, process)
    (begun,) = step_documents(catalog.store, "peers")
    os.kill({"torchrun": torchrun, "the first": peers[0], "the second": peers[1]}[killed], 9)
    document = told_of(step, process, catalog.store)
    assert (document.attempt, document.started_at) == (begun.attempt, begun.started_at)
    assert document.failure is not None
    assert "was ended by SIGKILL: " in document.failure.error
    assert ("1 of the 2 processes of the" in document.failure.error) == (killed != "torchrun")
    assert not any(command_line(peer) for peer in peers)


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["torchrun", "the first", "the second", "the first, by SIGTERM"])
def test_processes_one_of_which_is_killed_are_started_again_in_the_same_step(
    killed: str, dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, precision="fp32", lr=0.05, budget_epochs=15.0)
    step = Step(config, dataset, catalog.store, tmp_path)
    process = step.start(ACCRETE_SNAPSHOT_INTERVAL_S="1")
    torchrun = torchrun_of(process)
    peers = [peer_of(torchrun, rank) for rank in range(2)]
    wait_for_a_snapshot(catalog.store, process)
    who, _, how = killed.partition(", by ")
    pid = {"torchrun": torchrun, "the first": peers[0], "the second": peers[1]}[who]
    os.kill(pid, signal.SIGTERM if how else signal.SIGKILL)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, err
    assert out.count(": started again in 1 s, from the last snapshot") == 1
    assert "goes on from a snapshot, after step " in out
    (document,) = step_documents(catalog.store, "peers")
    assert (document.state, document.restarts) == ("done", 1)
    stage = catalog.stage(step.spec.digest)
    assert stage is not None
    assert stage.result.images_seen == step.spec.schedule.num_images_seen
    assert not any(command_line(peer) for peer in peers)


@pytest.mark.slow
@pytest.mark.parametrize("restarts", ["0", "5"])
def test_sigterm_before_the_processes_begin_is_no_kill(
    restarts: str, dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    process = Step(digits_run(10), dataset, catalog.store, tmp_path).start(
        ACCRETE_RESTARTS=restarts
    )
    torchrun_of(process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=HANGS_S)
    (line,) = err.splitlines()
    assert line.startswith("accrete: error: told to end before the step was done")
    assert process.returncode == 75
    assert "started again" not in out
    (document,) = step_documents(catalog.store, "peers")
    assert document.failure is not None
    assert line == f"accrete: error: {document.failure.error}"


@pytest.mark.slow
def test_processes_whose_step_is_killed_save_and_end(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, precision="fp32", lr=0.05, budget_epochs=200.0)
    step = Step(config, dataset, catalog.store, tmp_path)
    process = step.start(ACCRETE_SNAPSHOT_INTERVAL_S="1")
    torchrun = torchrun_of(process)
    everyone = [torchrun, *(peer_of(torchrun, rank) for rank in range(2))]
    wait_for_a_snapshot(catalog.store, process)
    process.kill()
    process.communicate(timeout=HANGS_S)
    deadline = time.monotonic() + HANGS_S
    while any(map(command_line, everyone)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(command_line, everyone))
    (document,) = step_documents(catalog.store, "peers")
    assert document.failure is not None
    assert re.fullmatch(
        r"told to end after step \d+ of the stage: another attempt goes on from there",
        document.failure.error,
    )


def test_what_is_wrong_with_a_step_s_artifacts_is_in_its_journal(
    dataset: DatasetManifest, catalog: Catalog, tmp_path: Path
) -> None:
    step = Step(digits_run(10), dataset, catalog.store, tmp_path)
    changed = json.loads((tmp_path / "dataset").read_bytes()) | {"format": 2}
    (tmp_path / "dataset").write_text(json.dumps(changed))
    process = step.start()
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 4
    assert len(err.splitlines()) == 1
    (document,) = step_documents(catalog.store, "peers")
    assert document.failure is not None
    assert err == f"accrete: error: {document.failure.error}\n"
    assert f"{tmp_path / 'dataset'} has digest" in err
