"""The step that has a TrainJob train a stage, against a stand-in for the Kubernetes API."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from accrete_components.train_first_on_nodes.component import train_on_nodes as first_on_nodes
from accrete_components.train_on_nodes.component import train_on_nodes
from conftest import HANGS_S
from digits import SOURCE, digits_run
from kfp.dsl import Artifact, Metrics, Model
from kubernetes_api import USER, Cluster, running_cluster

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import load_stage
from accrete.catalog.records import create_record, dump_record, make_record
from accrete.config.placement import Placement
from accrete.core import settings
from accrete.core.untrusted import parse_json
from accrete.data.prepare import prepare_dataset
from accrete.errors import ClusterError, ClusterUnreachableError, StepFailedError
from accrete.steps._train_job_wait import TrainJobWait
from accrete.steps.train_job import Owner, train_job, train_job_name, train_job_spec
from accrete.steps.train_job_api import TrainJobApi
from accrete.store import keys
from accrete.store._ports import free_ports

RUN = "nodes"
PLACEMENT = Placement(gpus=(2,), nodes=(2,))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that this process is in a pod of."""
    with running_cluster(tmp_path / "account") as (cluster, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ACCRETE_POD_NAME", "a-step")
        monkeypatch.setenv("ACCRETE_POD_UID", "0-1-2")
        monkeypatch.setattr(settings, "SERVICE_ACCOUNT_PATH", str(tmp_path / "account"))
        yield cluster


def job_for_tests(name: str = "accrete-nodes-1-0123456789") -> dict[str, Any]:
    return train_job(
        train_job_spec(PLACEMENT, range(1, 2)),
        name=name,
        namespace="accrete",
        owner=Owner(name="a-step", uid="0-1-2"),
        arguments=[RUN, "1"],
        store_uri="s3://accrete/x",
    )


class Waiting:
    """A wait for a job, in a thread of its own."""

    def __init__(self, wait_s: float = 60, patience_s: float = 60) -> None:
        self.lines: list[str] = []
        self.looks: list[float] = []
        self.error: BaseException | None = None
        api = TrainJobApi(settings.cluster_settings())
        self.wait = TrainJobWait(
            api,
            job_for_tests(),
            wait_s=wait_s,
            patience_s=patience_s,
            say=self.lines.append,
            looked=lambda: self.looks.append(time.monotonic()),
        )
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.wait.until_complete()
        except BaseException as error:
            self.error = error

    def ended(self) -> BaseException | None:
        self.thread.join(HANGS_S)
        assert not self.thread.is_alive(), self.lines
        return self.error


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def test_a_job_is_created_watched_and_found_complete(cluster: Cluster) -> None:
    waiting = Waiting()
    name = cluster.next_job()
    job = cluster.get(name)
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "a-step", "uid": "0-1-2"}
    ]
    cluster.ready(name, nodes=False)
    eventually(lambda: any("waits for 2 nodes" in line for line in waiting.lines))
    cluster.ready(name, nodes=True)
    eventually(lambda: any("runs on 2 nodes" in line for line in waiting.lines))
    cluster.condition(name, "Complete", "AllJobsCompleted", "jobset completed successfully")
    assert waiting.ended() is None
    assert waiting.lines[0] == f"TrainJob {name} is created in accrete"
    assert waiting.lines[-1] == f"TrainJob {name} is complete"
    assert cluster.num_created == 1
    assert len(waiting.looks) >= 2  # or monitoring would take the wait for a standstill
    assert (cluster.folder / "token").read_text() not in "".join(waiting.lines)


def test_a_retry_adopts_the_job_that_runs(cluster: Cluster) -> None:
    cluster.create(job_for_tests())
    waiting = Waiting()
    name = cluster.next_job()
    cluster.ready(name, nodes=True)
    eventually(lambda: len(waiting.lines) > 0)
    cluster.condition(name, "Complete", "AllJobsCompleted", "")
    assert waiting.ended() is None
    assert cluster.num_created == 1


@pytest.mark.parametrize("kind", ["Failed", "Complete"])
def test_what_an_earlier_attempt_s_job_came_to_is_replaced(cluster: Cluster, kind: str) -> None:
    name = cluster.create(job_for_tests())["metadata"]["name"]
    cluster.condition(name, kind, "Because", "of something")
    waiting = Waiting()
    eventually(lambda: "deletionTimestamp" in cluster.get(name)["metadata"])
    time.sleep(0.3)
    assert cluster.num_created == 1  # the old pods are still there
    cluster.remove(name)
    cluster.condition(cluster.next_job(), "Complete", "AllJobsCompleted", "")
    assert waiting.ended() is None
    assert cluster.num_created == 2


def test_a_job_that_fails_is_one_line_and_stays_to_be_looked_at(cluster: Cluster) -> None:
    waiting = Waiting()
    name = cluster.next_job()
    cluster.condition(
        name, "Failed", "FailedJobs", "jobset failed due to\none or more job failures"
    )
    error = waiting.ended()
    assert isinstance(error, StepFailedError)
    assert str(error) == (
        f"TrainJob {name} failed: FailedJobs: jobset failed due to one or more job failures; its "
        f"nodes' logs: kubectl -n accrete logs --prefix -l jobset.sigs.k8s.io/jobset-name={name}"
    )
    assert "deletionTimestamp" not in cluster.get(name)["metadata"]


def test_a_job_that_waits_for_too_long_is_given_up_and_deleted(cluster: Cluster) -> None:
    waiting = Waiting(wait_s=0.5)
    name = cluster.next_job()
    cluster.condition(name, "Suspended", "Suspended", "TrainJob is suspended")
    error = waiting.ended()
    assert isinstance(error, StepFailedError)
    assert f"TrainJob {name} is suspended: Suspended: TrainJob is suspended; given up" in str(error)
    assert "deletionTimestamp" in cluster.get(name)["metadata"]


def test_a_job_that_nobody_takes_up_names_the_controller(cluster: Cluster) -> None:
    error = Waiting(wait_s=0.5).ended()
    assert "was not taken up: is the controller of Kubeflow Trainer running?" in str(error)


def test_a_job_that_is_deleted_meanwhile_is_created_anew_but_not_for_ever(cluster: Cluster) -> None:
    waiting = Waiting()
    for number in range(1, 5):
        name = cluster.next_job()
        assert cluster.num_created == number
        cluster.remove(name)
    assert "was deleted 4 times while it was waited for" in str(waiting.ended())


def test_an_api_that_fails_for_a_while_is_asked_again(cluster: Cluster) -> None:
    cluster.failures = 2
    waiting = Waiting()
    name = cluster.next_job()
    cluster.condition(name, "Complete", "AllJobsCompleted", "")
    assert waiting.ended() is None
    assert "503: etcd has no leader" in waiting.lines[0]


def test_an_api_that_fails_for_long_ends_the_wait(cluster: Cluster) -> None:
    cluster.failures = 1000
    error = Waiting(patience_s=0).ended()
    assert isinstance(error, ClusterUnreachableError)
    assert "(503: etcd has no leader)" in str(error)


def test_a_version_that_the_api_forgot_is_looked_up_again(cluster: Cluster) -> None:
    cluster.create(job_for_tests())
    cluster.oldest_version = 10_000
    waiting = Waiting()
    eventually(lambda: cluster.requests.count("watch") > 1)
    cluster.oldest_version = 0
    cluster.condition(cluster.next_job(), "Complete", "AllJobsCompleted", "")
    assert waiting.ended() is None


@pytest.mark.parametrize("verb", ["get", "create", "watch"])
def test_a_right_that_is_missing_is_named(cluster: Cluster, verb: str) -> None:
    cluster.verbs.discard(verb)
    error = Waiting().ended()
    assert isinstance(error, ClusterError)
    assert not isinstance(error, ClusterUnreachableError)
    assert f"this step may not {verb} TrainJobs in the namespace accrete" in str(error)
    assert f'User "{USER}" cannot {verb} resource "trainjobs"' in str(error)
    assert "apply manifests/components/multi-node" in str(error)


def test_a_cluster_without_trainer_is_named(cluster: Cluster) -> None:
    cluster.has_trainer = False
    assert "install Kubeflow Trainer v2" in str(Waiting().ended())


def test_what_trainer_s_webhook_denies_is_no_matter_of_rights(cluster: Cluster) -> None:
    cluster.denial = "spec.runtimeRef: Invalid value: accrete-torch: not found"
    error = str(Waiting().ended())
    assert error.startswith("the cluster refuses to create the TrainJob (403: admission webhook")
    assert "accrete-torch: not found" in error


def test_a_token_that_is_refused_is_named(cluster: Cluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for name in ("ca.crt", "namespace"):
        (wrong / name).write_bytes((cluster.folder / name).read_bytes())
    (wrong / "token").write_text("stale")
    settings.SERVICE_ACCOUNT_PATH = str(wrong)  # the fixture sets it back
    error = str(Waiting().ended())
    assert "does not accept this pod's token (401: Unauthorized)" in error
    assert "stale" not in error


def test_an_api_with_another_certificate_is_not_talked_to(cluster: Cluster, tmp_path: Path) -> None:
    with running_cluster(tmp_path / "other"):
        other = (tmp_path / "other" / "ca.crt").read_bytes()
    (cluster.folder / "ca.crt").write_bytes(other)
    error = Waiting(patience_s=0).ended()
    assert isinstance(error, ClusterUnreachableError)
    assert "certificate" in str(error).lower()
    assert cluster.requests == []


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
        env[variable["name"]] = store[secrets[reference["key"]]] if reference else variable["value"]
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
            nodes = [
                subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
                for command, env in nodes_of(self.jobs[-1], self.store)
            ]
            try:
                codes = [node.wait(200) for node in nodes]
            finally:
                for node in nodes:
                    node.kill()
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
        stages=stages, run_name=RUN, store_uri=str(catalog.store.address), job=spec, wait_s=60,
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
