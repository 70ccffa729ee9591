"""The digits pipeline on a real cluster: `make kind-up kind-test`.

docs/cluster.md says what has run on one; these tests have not since they were last changed.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from accrete.config.pod import POD_LABELS, USER_ID
from accrete.store import keys
from accrete.store._ports import free_ports
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

pytestmark = [pytest.mark.kind, pytest.mark.timeout(3600)]

CLUSTER = os.environ.get("CLUSTER", "accrete")
REPOSITORY = Path(__file__).parents[2]
RUN_TIMEOUT_S = 1800
SMALL = ("--cpu", "500m", "--memory", "2G", "--shared-memory", "256Mi", "--model", "small")

Document = dict[str, Any]


def kubectl(*arguments: str, timeout_s: float = 60) -> str:
    done = subprocess.run(
        ["kubectl", "--context", f"kind-{CLUSTER}", *arguments],
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def cluster() -> None:
    """Skip unless the cluster of `make kind-up` is there."""
    for program in ("docker", "kind", "kubectl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("the Docker engine does not answer")
    done = subprocess.run(
        ["kind", "get", "clusters"], capture_output=True, text=True, timeout=60, check=False
    )
    if CLUSTER not in done.stdout.split():
        pytest.skip(f"there is no kind cluster {CLUSTER!r}: make kind-up")


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """Reach a service of the cluster at a port of loopback."""
    (free,) = free_ports(1)
    process = subprocess.Popen(
        ["kubectl", "--context", f"kind-{CLUSTER}", "-n", namespace, "port-forward",
         f"service/{service}", f"{free}:{port}"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "Forwarding from" in process.stdout.readline()
        yield free
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def settings() -> Iterator[StoreSettings]:
    """The cluster's store, with the credentials that its Secret has."""
    secret = json.loads(kubectl("-n", "accrete", "get", "secret", "accrete-store", "-o", "json"))
    access_key, secret_key = (
        base64.b64decode(secret["data"][name]).decode() for name in ("access-key", "secret-key")
    )
    with forwarded("accrete", "accrete-store", 8333) as port:
        yield StoreSettings(
            endpoint=f"http://127.0.0.1:{port}", access_key=access_key, secret_key=secret_key
        )


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Address of the Kubeflow Pipelines API."""
    with forwarded("kubeflow", "ml-pipeline", 8888) as port:
        yield f"http://127.0.0.1:{port}"


Submit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def submit(settings: StoreSettings, endpoint: str, tmp_path: Path) -> Submit:
    """Submit the digits pipeline as a user does."""

    def run(name: str, *options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(Path(sys.executable).with_name("kfp")), "run",
             str(REPOSITORY / "pipelines" / "incremental.py"), "--endpoint", endpoint,
             "--name", name, "--gpus", "1", *SMALL, *options],
            env=os.environ | settings.as_environment() | {"ACCRETE_HOME": str(tmp_path)},
            cwd=tmp_path, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False,
        )  # fmt: skip

    return run


def step_pods(workflow_of: str) -> list[Document]:
    """Return the pods of the steps of a run, by the name that its pods' logs go by."""
    selector = ",".join(f"{key}={value}" for key, value in POD_LABELS.items())
    found = kubectl("-n", "kubeflow", "get", "pods", "-l", selector, "-o", "json")
    pods: list[Document] = json.loads(found)["items"]
    return [pod for pod in pods if workflow_of in json.dumps(pod["spec"])]


def report_of(settings: StoreSettings, name: str) -> Document:
    note = ObjectStore(settings, parse_store_uri("s3://accrete")).read_note(
        keys.report_key(name, "report.json")
    )
    assert note is not None
    report: Document = json.loads(note)
    return report


def ends(endpoint: str, name: str) -> str:
    """Return the state in which the newest run of a name ends."""
    import kfp

    client = kfp.Client(host=endpoint)
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline:
        runs = client.list_runs(sort_by="created_at desc", page_size=50).runs or []
        states = [run.state for run in runs if run.display_name == name]
        if states and states[0] in ("SUCCEEDED", "FAILED", "CANCELED"):
            return str(states[0])
        time.sleep(5)
    raise AssertionError(f"run {name} does not end")


def test_digits_run_to_their_end_with_lineage_objects_and_restricted_pods(
    submit: Submit, settings: StoreSettings, endpoint: str
) -> None:
    import kfp

    name = f"kind-{uuid4().hex[:8]}"
    done = submit(name, "--watch", "--cache-claim", "accrete-cache", "--gpu-kind", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ends(endpoint, name) == "SUCCEEDED"

    client = kfp.Client(host=endpoint)
    (run,) = [r for r in client.list_runs(page_size=50).runs if r.display_name == name]
    tasks = {
        task.display_name: task for task in client.get_run(run.run_id).run_details.task_details
    }
    stages = ["train-stage", *(f"train-stage-{number}" for number in range(2, 5))]
    assert {"prepare", *stages, "report"} <= tasks.keys()
    assert all(tasks[task].state == "SUCCEEDED" for task in ("prepare", *stages, "report"))

    store = ObjectStore(settings, parse_store_uri("s3://accrete"))
    report = report_of(settings, name)
    digests = [stage["digest"] for stage in report["stages"]]
    assert [stage["parent"] for stage in report["stages"]] == [None, *digests[:-1]]
    for stage in report["stages"]:
        assert store.read_note(keys.stage_key(stage["digest"])) is not None
        assert store.size_of(keys.object_key(stage["checkpoint_sha256"]))
    assert report["totals"]["top1"] > 0.5

    pods = step_pods(name)
    assert len(pods) == len(stages) + 2
    asked = 0
    for pod in pods:
        (main,) = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
        security = pod["spec"]["securityContext"] | main["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == USER_ID
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"]["drop"] == ["ALL"]
        assert security["seccompProfile"]["type"] == "RuntimeDefault"
        assert pod["metadata"]["labels"].items() >= POD_LABELS.items()
        gpus = int(main["resources"].get("limits", {}).get("nvidia.com/gpu", 0))
        asked += gpus
        if gpus:
            assert pod["spec"]["nodeName"] == f"{CLUSTER}-worker"
    assert asked == len(stages)


def test_a_pod_that_is_deleted_is_tried_again_and_its_run_completed(
    submit: Submit, settings: StoreSettings, endpoint: str
) -> None:
    name = f"kind-{uuid4().hex[:8]}"
    # Stock KFP tries a lost pod again, whatever the template says of retries.
    options = ("--retries", "0", "--budget-epochs", "60")
    done = submit(name, *options)
    assert done.returncode == 0, done.stderr
    store = ObjectStore(settings, parse_store_uri("s3://accrete"))
    deadline = time.monotonic() + RUN_TIMEOUT_S
    step = keys.step_key(name, keys.train_step_name(3))
    ended = None
    while ended is None and time.monotonic() < deadline:
        note = store.read_note(step)
        running = [pod for pod in step_pods(name) if pod["status"]["phase"] == "Running"]
        if note and json.loads(note)["state"] == "running" and running:
            kubectl("-n", "kubeflow", "delete", "pod", running[0]["metadata"]["name"], "--now")
            ended = json.loads(note)["attempt"]
        time.sleep(1)
    assert ended is not None
    assert ends(endpoint, name) == "SUCCEEDED"
    note = store.read_note(step)
    assert note is not None
    assert json.loads(note)["attempt"] != ended  # or the deletion came too late to matter
    stages = report_of(settings, name)["stages"]

    again = submit(name, "--watch", *options)
    assert again.returncode == 0, again.stdout + again.stderr
    reused = report_of(settings, name)["stages"]
    assert [stage["digest"] for stage in reused] == [stage["digest"] for stage in stages]
    assert all(stage["reused"] for stage in reused)
