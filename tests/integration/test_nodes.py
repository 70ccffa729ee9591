"""A stage on two nodes, as a TrainJob runs it: a torchrun each, and only the store shared."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import HANGS_S
from digits import SOURCE, digits_run
from processes import wait_for_a_snapshot

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest
from accrete.catalog.records import create_record, make_record
from accrete.config.run import RunConfig
from accrete.data.prepare import prepare_dataset
from accrete.store import keys
from accrete.store._ports import free_ports

RUN = "nodes"


@pytest.fixture
def config() -> RunConfig:
    return digits_run(2, 8, precision="fp32", lr=0.05, budget_epochs=3.0)


@pytest.fixture
def chain(catalog: Catalog, config: RunConfig, tmp_path: Path) -> tuple[StageSpec, ...]:
    """A run that was prepared, and nothing more."""
    return prepared(catalog, config, tmp_path)


def prepared(catalog: Catalog, config: RunConfig, folder: Path) -> tuple[StageSpec, ...]:
    dataset: DatasetManifest = prepare_dataset(
        SOURCE, config.plan, catalog, folder / "work", lambda _: lambda _: None
    ).manifest
    chain = stage_chain(config, dataset)
    create_record(catalog.store, make_record(RUN, config, dataset.digest, chain))
    return chain


def start(catalog: Catalog, cache: Path, *arguments: str, **env: str) -> "subprocess.Popen[str]":
    own = {name: value for name, value in os.environ.items() if not name.startswith("PET_")}
    own |= catalog.store.settings.as_environment()
    own |= {"ACCRETE_STORE": str(catalog.store.address), "ACCRETE_CACHE": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-m", "accrete.node_step", *arguments],
        env=own | env,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def pet(rank: int, port: int, nodes: int = 2) -> dict[str, str]:
    """Return the variables that Kubeflow's Trainer sets for torchrun."""
    return {
        "PET_NNODES": str(nodes), "PET_NODE_RANK": str(rank), "PET_NPROC_PER_NODE": "4",
        "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",  # on one machine only
    }  # fmt: skip


def started_nodes(
    catalog: Catalog, folder: Path, stage: int, processes: str, **env: str
) -> list["subprocess.Popen[str]"]:
    (port,) = free_ports(1)
    return [
        start(
            catalog, folder / f"cache-{rank}", RUN, str(stage),
            ACCRETE_PROCESSES=processes, **pet(rank, port), **env,
        )
        for rank in range(2)
    ]  # fmt: skip


def on_two_nodes(
    catalog: Catalog, folder: Path, stage: int, processes: str
) -> list[tuple[int, str, str]]:
    nodes = started_nodes(catalog, folder, stage, processes)
    try:
        outputs = [node.communicate(timeout=HANGS_S) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    return [(node.returncode, *out) for node, out in zip(nodes, outputs, strict=True)]


@pytest.mark.slow
def test_two_nodes_train_the_stages_of_a_run_and_publish_each_once(
    catalog: Catalog, chain: tuple[StageSpec, ...], tmp_path: Path
) -> None:
    for stage, processes in ((1, "1"), (2, "2")):
        first, second = on_two_nodes(catalog, tmp_path, stage, processes)
        assert first[0] == 0, first[2]
        assert second[0] == 0, second[2]
        digest = chain[stage - 1].digest
        uri = re.escape(catalog.store.uri(keys.stage_key(digest)))
        assert re.search(rf"^stage {stage}: {uri}$", first[1], re.MULTILINE)
        assert "manifest.json" not in second[1]
        manifest = catalog.stage(digest)
        assert manifest is not None
        assert manifest.result.images_seen == chain[stage - 1].schedule.num_images_seen
    assert manifest.result.top1 is not None
    assert manifest.result.top1 > 0.6
    assert (tmp_path / "cache-1" / "objects").exists()  # it fetched what it needed by itself


@pytest.mark.slow
def test_a_stage_that_exists_is_found_by_all_nodes(
    catalog: Catalog, chain: tuple[StageSpec, ...], tmp_path: Path
) -> None:
    process = start(catalog, tmp_path / "cache", RUN, "1", ACCRETE_PROCESSES="1")
    assert process.communicate(timeout=HANGS_S) is not None
    assert process.returncode == 0
    before = catalog.stage(chain[0].digest)
    for code, _, err in on_two_nodes(catalog, tmp_path, 1, "1"):
        assert code == 0, err
    assert catalog.stage(chain[0].digest) == before


@pytest.mark.slow
def test_nodes_that_are_told_to_end_leave_a_snapshot_and_new_ones_go_on(
    catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, precision="fp32", lr=0.05, budget_epochs=20.0)
    chain = prepared(catalog, config, tmp_path)
    nodes = started_nodes(catalog, tmp_path, 1, "1", ACCRETE_SNAPSHOT_INTERVAL_S="1")
    try:
        wait_for_a_snapshot(catalog.store, *nodes)
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        _, err = nodes[0].communicate(timeout=HANGS_S)
        assert nodes[0].returncode == 75, err
        nodes[1].communicate(timeout=HANGS_S)
        assert nodes[1].returncode != 0
    finally:
        for node in nodes:
            node.kill()
    (snapshot,) = catalog.store.list_keys("snapshots/")
    position = keys.parse_snapshot_key(snapshot)
    assert position is not None
    assert position[0] > 0
    for code, _, err in on_two_nodes(catalog, tmp_path, 1, "1"):
        assert code == 0, err
    manifest = catalog.stage(chain[0].digest)
    assert manifest is not None
    assert manifest.result.images_seen == chain[0].schedule.num_images_seen


@pytest.mark.slow
@pytest.mark.usefixtures("chain")
def test_a_node_that_is_told_to_end_while_it_waits_for_the_others_is_not_killed(
    catalog: Catalog, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    node = start(catalog, tmp_path / "cache", RUN, "1", ACCRETE_PROCESSES="1", **pet(0, port))
    deadline = time.monotonic() + HANGS_S
    while not listens(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    node.send_signal(signal.SIGTERM)
    _, err = node.communicate(timeout=HANGS_S)
    assert node.returncode == 75
    assert re.fullmatch("accrete: error: told to end before the step was done: [^\n]*\n", err)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (("other", "1"), {}, "no run 'other' is prepared at s3://"),
        ((RUN, "3"), {}, "stage 3 is asked for, run 'nodes' has 2"),
        ((RUN, "2"), {}, "stage 2 of run 'nodes' grows from stage 1, which does not exist yet"),
        ((RUN, "1"), {"PET_NNODES": "2"}, "PET_NNODES is '2' and PET_NODE_RANK ''"),
        ((RUN, "1"), {"PET_NNODES": "2", "PET_NODE_RANK": "2"}, "PET_NODE_RANK '2'"),
        (
            (RUN, "1"),
            {"PET_NNODES": "2", "PET_NODE_RANK": "1"},
            "PET_NNODES is 2 but PET_MASTER_ADDR is not set",
        ),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    arguments: tuple[str, ...],
    env: dict[str, str],
    message: str,
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    process = start(catalog, tmp_path / "cache", *arguments, ACCRETE_PROCESSES="1", **env)
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode != 0
    assert len(err.splitlines()) == 1
    assert err.startswith("accrete: error: ")
    assert message in err
