"""Having a TrainJob: its life at the Kubernetes API, and what goes wrong there."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes_api import USER, Cluster, running_cluster
from train_jobs import Waiting, cluster_in, eventually, job_for_tests

from accrete.core import settings
from accrete.errors import ClusterError, ClusterUnreachableError, StepFailedError


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with cluster_in(tmp_path, monkeypatch) as made:
        yield made


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


@pytest.mark.slow
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
