"""The step that has a TrainJob train a stage, against a stand-in for the Kubernetes API."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from accrete_components.train_first_on_nodes.component import train_on_nodes as first_on_nodes
from accrete_components.train_on_nodes.component import train_on_nodes
from conftest import HANGS_S
from digits import SOURCE, digits_run
from kfp.dsl import Artifact, Metrics, Model
from kubernetes_api import Cluster
from train_jobs import PLACEMENT, RUN, cluster_in, eventually

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import load_stage
from accrete.catalog.records import create_record, dump_record, make_record
from accrete.core.untrusted import parse_json
from accrete.data.prepare import prepare_dataset
from accrete.steps.train_job import train_job_name, train_job_spec
from accrete.store import keys
from accrete.store._ports import free_ports


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with cluster_in(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def chain(catalog: Catalog, tmp_path: Path) -> tuple[StageSpec, ...]:
    """A run that was prepared, and nothing more; its record is the file `plan`."""
    config = digits_run(2, 8, precision="fp32", lr=0.05, budget_epochs=3.0)
    dataset = prepare_dataset(
        SOURCE, config.plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest
    chain = stage_chain(config, dataset)
    record = make_record(RUN, config, dataset.digest, chain)
    create_record(catalog.store, record)
    (tmp_path / "plan").write_bytes(dump_record(record))
    return chain


@pytest.fixture
def in_pod(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The store's variables, as the compiled pipeline's task has them."""
    store = catalog.store.settings.as_environment() | {
        "ACCRETE_CACHE": str(tmp_path / "cache-of-the-step")
    }
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    return store


def nodes_of(job: dict[str, Any], store: dict[str, str]) -> list[tuple[list[str], dict[str, str]]]:
    """Return command and variables of each node, as Trainer and the kubelet make them of a job."""
    trainer = job["spec"]["trainer"]
    secrets = {
        "endpoint": "ACCRETE_S3_ENDPOINT", "region": "ACCRETE_S3_REGION",
        "access-key": "ACCRETE_S3_ACCESS_KEY", "secret-key": "ACCRETE_S3_SECRET_KEY",
    }  # fmt: skip
    env = {}
    for variable in trainer["env"]:
        source = variable.get("valueFrom", {})
        reference = source.get("configMapKeyRef") or source.get("secretKeyRef")
        if not reference:
            env[variable["name"]] = variable["value"]
        elif reference["key"] in secrets or not reference.get("optional"):
            env[variable["name"]] = store[secrets[reference["key"]]]
    own = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    (port,) = free_ports(1)
    return [
        (
            [sys.executable, *trainer["command"][1:]],
            own | env | {
                "PET_NNODES": str(trainer["numNodes"]), "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
                "GLOO_SOCKET_IFNAME": "lo", "ACCRETE_PROCESSES": "1",
                "ACCRETE_CACHE": f"{store['ACCRETE_CACHE']}-{rank}",
            },
        )
        for rank in range(trainer["numNodes"])
    ]  # fmt: skip


class Trainer:
    """Plays Kubeflow Trainer: runs the nodes of each job that is created, and says how they end."""

    def __init__(self, cluster: Cluster, store: dict[str, str], num_jobs: int) -> None:
        self.cluster, self.store = cluster, store
        self.jobs: list[dict[str, Any]] = []
        self.thread = Thread(target=self._serve, args=(num_jobs,), daemon=True)
        self.thread.start()

    def _serve(self, num_jobs: int) -> None:
        for _ in range(num_jobs):
            name = self.cluster.next_job(120)
            self.jobs.append(self.cluster.get(name))
            self.cluster.ready(name, nodes=True)
            try:
                codes = self._run(self.jobs[-1])
            except Exception as error:  # the step must not wait for a job that nobody runs
                self.cluster.condition(name, "Failed", "FailedJobs", f"stand-in: {error!r}")
                raise
            if any(codes):
                self.cluster.condition(name, "Failed", "FailedJobs", "jobset failed")
                return
            self.cluster.condition(name, "Complete", "AllJobsCompleted", "")
            with self.cluster.changed:
                gone = self.cluster.changed.wait_for(
                    lambda name=name: "deletionTimestamp" in self.cluster.jobs[name]["metadata"], 60
                )
            assert gone
            self.cluster.remove(name)

    def _run(self, job: dict[str, Any]) -> list[int]:
        nodes = [
            subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
            for command, env in nodes_of(job, self.store)
        ]
        try:
            return [node.wait(200) for node in nodes]
        finally:
            for node in nodes:
                node.kill()


def artifact(kind: type[Artifact], path: Path) -> Any:
    return kind(name=path.name, uri=str(path), metadata={})


def run_step(
    catalog: Catalog, folder: Path, stages: list[float], parent: Any = None, **more: Any
) -> tuple[Any, Any]:
    """Call the component's function as kfp.local does; numbers of a struct come as floats."""
    spec = train_job_spec(PLACEMENT, range(1, 2))
    spec["trainer"]["numNodes"] = float(spec["trainer"]["numNodes"])
    spec["activeDeadlineSeconds"] = float(spec["activeDeadlineSeconds"])
    model = artifact(Model, folder / f"model-{int(stages[-1])}")
    metrics = artifact(Metrics, folder / "metrics")
    component = train_on_nodes if parent else first_on_nodes
    component.python_func(
        first_stage=int(stages[0]), last_stage=int(stages[-1]),
        run_name=RUN, store_uri=str(catalog.store.address), job=spec, wait_s=60,
        plan=artifact(Artifact, folder / "plan"), model=model, metrics=metrics, **more,
        **({"parent": parent} if parent else {}),
    )  # fmt: skip
    return model, metrics


@pytest.mark.slow
def test_stages_are_trained_by_jobs_and_handed_on_as_one_node_s_are(
    cluster: Cluster,
    catalog: Catalog,
    chain: tuple[StageSpec, ...],
    in_pod: dict[str, str],
    tmp_path: Path,
) -> None:
    trainer = Trainer(cluster, in_pod, num_jobs=2)
    first, _ = run_step(catalog, tmp_path, [1.0], data_memory="1G")
    second, metrics = run_step(catalog, tmp_path, [2.0], parent=first)
    trainer.thread.join(HANGS_S)
    assert not trainer.thread.is_alive()
    for model, spec in ((first, chain[0]), (second, chain[1])):
        data = Path(model.path).read_bytes()
        manifest = load_stage(parse_json(data, model.path), spec.digest, model.path)
        assert manifest == catalog.stage(spec.digest)
        assert model.metadata["digest"] == spec.digest
        assert manifest.result.images_seen == spec.schedule.num_images_seen
    assert metrics.metadata["top1"] == second.metadata["top1"] > 0.6
    names = [job["metadata"]["name"] for job in trainer.jobs]
    assert names == [train_job_name(RUN, spec.index, spec.digest) for spec in chain]
    commands = [job["spec"]["trainer"]["command"][3:] for job in trainer.jobs]
    assert commands == [[RUN, "1", "--data-memory", "1G"], [RUN, "2"]]
    assert cluster.jobs == {}  # a stage that is published needs no job any more
    assert in_pod["ACCRETE_S3_SECRET_KEY"] not in str(trainer.jobs)
    # Once more: the stages exist, so nothing is asked of the cluster.
    before = len(cluster.requests)
    again, _ = run_step(catalog, tmp_path, [2.0], parent=first)
    assert again.metadata == second.metadata
    assert len(cluster.requests) == before


@pytest.mark.slow
@pytest.mark.usefixtures("chain")
def test_the_nodes_own_word_is_the_step_s(
    cluster: Cluster, catalog: Catalog, in_pod: dict[str, str], tmp_path: Path, capfd: Any
) -> None:
    Trainer(cluster, in_pod, num_jobs=1)
    with pytest.raises(SystemExit) as ended:
        run_step(catalog, tmp_path, [1.0], data_memory="much")
    assert ended.value.code == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "on the nodes" in line]
    assert len(errors) == 1
    assert errors[0].startswith("accrete: error: data memory is 'much': give at least 1M")
    assert re.search(r"on the nodes of a TrainJob: TrainJob accrete-nodes-1-\w+ failed", errors[0])


@pytest.mark.usefixtures("cluster", "in_pod")
def test_a_parent_of_another_plan_is_refused_before_any_job(
    cluster: Cluster, catalog: Catalog, chain: tuple[StageSpec, ...], tmp_path: Path, capsys: Any
) -> None:
    with pytest.raises(SystemExit):
        run_step(catalog, tmp_path, [2.0])
    assert f"starts from stage {chain[0].digest[:12]}, but was given stage none" in (
        capsys.readouterr().err
    )
    assert cluster.requests == []


@pytest.mark.usefixtures("chain", "in_pod")
def test_outside_of_a_cluster_the_step_says_so(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SystemExit) as ended:
        run_step(catalog, tmp_path, [1.0])
    assert ended.value.code == 2
    assert "this is no pod of one" in capsys.readouterr().err


PROGRAM = """
import sys
from accrete.core import settings
settings.SERVICE_ACCOUNT_PATH = sys.argv[1]
from accrete.config.placement import Placement
from accrete.steps.train_job import train_job_spec
from accrete.steps.train_on_nodes import train_job_step
train_job_step(
    stages=[1.0], run_name="nodes", store_uri=sys.argv[2], wait_s=600, parent_path=None,
    job=train_job_spec(Placement(gpus=(2,), nodes=(2,)), range(1, 2)),
    plan_path=sys.argv[3], model_path=sys.argv[3] + "-model",
)
"""


@pytest.mark.usefixtures("chain", "in_pod")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_step_that_is_told_to_end_deletes_its_job_and_one_that_is_killed_leaves_it(
    signum: int, cluster: Cluster, catalog: Catalog, tmp_path: Path
) -> None:
    stays = signum == signal.SIGKILL
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cluster.folder), str(catalog.store.address),
         str(tmp_path / "plan")],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        name = cluster.next_job(60)
        cluster.ready(name, nodes=True)
        eventually(lambda: "watch" in cluster.requests)
        process.send_signal(signum)
        _, err = process.communicate(timeout=HANGS_S)
    finally:
        process.kill()
    assert process.returncode == (-9 if stays else 75), err
    assert ("deletionTimestamp" not in cluster.get(name)["metadata"]) == stays
    if not stays:
        assert "accrete: error: told to end before the step was done" in err
        log = catalog.store.list_keys(keys.log_prefix(RUN))
        assert any("stage-0001-job" in key for key in log)
