"""Pipelines on a real cluster, and what harms them there: `make images-cpu kind-up kind-test`.

docs/cluster.md says what has run on one; these tests have not since they were last changed.
"""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kind_bench import CLUSTER, WORKER, Bench, Document, forwarded, kubectl, until

from accrete.config.pod import POD_LABELS, USER_ID
from accrete.store import keys
from accrete.store.settings import StoreSettings

pytestmark = [pytest.mark.kind, pytest.mark.timeout(1800)]

SAID_WITHIN_S = 75
"""A minute, and a look more."""

# Within a step's container: ends the Python process that trains, as the kernel's OOM killer does.
# That is a child of another Python process, where the step supervises it.
KILL = """
import os, pathlib, signal

def stat(pid, number):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[number]

pythons = {}
for entry in pathlib.Path("/proc").iterdir():
    if entry.name.isdigit() and int(entry.name) != os.getpid():
        try:
            if "python" in pathlib.Path(os.readlink(entry / "exe")).name:
                pythons[int(entry.name)] = (int(stat(entry.name, 1)), int(stat(entry.name, 21)))
        except OSError:
            pass
children = [pid for pid, (parent, _) in pythons.items() if parent in pythons]
victim = max(children or pythons, key=lambda pid: pythons[pid][1])
os.kill(victim, signal.SIGKILL)
print(victim)
"""


@pytest.fixture(scope="session", autouse=True)
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


@pytest.fixture(scope="session")
def settings(cluster: None) -> Iterator[StoreSettings]:
    """The cluster's store, with the credentials that its Secret has."""
    secret = json.loads(kubectl("-n", "accrete", "get", "secret", "accrete-store", "-o", "json"))
    access_key, secret_key = (
        base64.b64decode(secret["data"][name]).decode() for name in ("access-key", "secret-key")
    )
    with forwarded("accrete", "accrete-store", 8333) as port:
        yield StoreSettings(
            endpoint=f"http://127.0.0.1:{port}", access_key=access_key, secret_key=secret_key
        )


@pytest.fixture(scope="session")
def endpoint(cluster: None) -> Iterator[str]:
    """Address of the Kubeflow Pipelines API."""
    with forwarded("kubeflow", "ml-pipeline", 8888) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def kubeconfig(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of this cluster alone."""
    path = tmp_path_factory.mktemp("kube") / "config"
    done = subprocess.run(
        ["kind", "get", "kubeconfig", "--name", CLUSTER],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    path.touch(mode=0o600)
    path.write_text(done.stdout)
    return path


@pytest.fixture
def bench(
    settings: StoreSettings, endpoint: str, kubeconfig: Path, tmp_path: Path
) -> Iterator[Bench]:
    """Runs are submitted from here, and are gone after the test, whatever it came to."""
    made = Bench(settings, endpoint, kubeconfig, tmp_path)
    try:
        yield made
    finally:
        made.remove()


def test_digits_run_to_their_end_with_lineage_objects_and_restricted_pods(bench: Bench) -> None:
    name = bench.new_name()
    done = bench.submit("digits", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.end_of(name) == "SUCCEEDED"

    run = bench.client.get_run(bench.run_id(name))
    tasks = {task.display_name: task for task in run.run_details.task_details}
    stages = ["train-stage", *(f"train-stage-{number}" for number in range(2, 5))]
    assert {"prepare", *stages, "report"} <= tasks.keys()
    assert all(tasks[task].state == "SUCCEEDED" for task in ("prepare", *stages, "report"))

    report = bench.report(name)
    digests = [stage["digest"] for stage in report["stages"]]
    assert [stage["parent"] for stage in report["stages"]] == [None, *digests[:-1]]
    for stage in report["stages"]:
        assert bench.store.read_note(keys.stage_key(stage["digest"])) is not None
        assert bench.store.size_of(keys.object_key(stage["checkpoint_sha256"]))
    assert report["totals"]["top1"] > 0.5

    pods = bench.pods(name)
    assert len(pods) == len(stages) + 2
    assert sum(gpus_asked(pod) for pod in pods) == len(stages)
    for pod in pods:
        assert_restricted(pod)


def gpus_asked(pod: Document) -> int:
    (main,) = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
    gpus = int(main["resources"].get("limits", {}).get("nvidia.com/gpu", 0))
    assert not gpus or pod["spec"]["nodeName"] == WORKER
    return gpus


def assert_restricted(pod: Document) -> None:
    (main,) = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
    security = pod["spec"]["securityContext"] | main["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == USER_ID
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    assert security["seccompProfile"]["type"] == "RuntimeDefault"
    assert pod["metadata"]["labels"].items() >= POD_LABELS.items()


def test_a_training_process_that_is_killed_goes_on_in_the_same_pod(bench: Bench) -> None:
    name, before = bench.new_name(), bench.snapshots()
    done = bench.submit("killed process", name)
    assert done.returncode == 0, done.stderr
    pod = bench.training_pod(name, 2, before)
    attempt = (bench.step(name, 2) or {})["attempt"]
    killed = kubectl("-n", "kubeflow", "exec", pod, "-c", "main", "--", "python3", "-c", KILL)
    assert killed.strip().isdigit()

    assert bench.end_of(name) == "SUCCEEDED"
    step = bench.step(name, 2)
    assert step is not None
    assert (step["state"], step["attempt"]) == ("done", attempt)
    said = bench.accrete("logs", name, "--step", keys.train_step_name(2))
    assert re.search(r"again\b.*\bfrom the last snapshot", said), said
    assert re.search(r"goes on from a snapshot, after step [1-9]", said), said


def test_a_pod_that_is_deleted_is_tried_again_and_its_run_completed(bench: Bench) -> None:
    name, before = bench.new_name(), bench.snapshots()
    # Stock KFP tries a lost pod again, whatever the template says of retries.
    done = bench.submit("deleted pod", name)
    assert done.returncode == 0, done.stderr
    pod = bench.training_pod(name, 2, before)
    attempt = (bench.step(name, 2) or {})["attempt"]
    kubectl("-n", "kubeflow", "delete", "pod", pod, "--now")
    assert bench.end_of(name) == "SUCCEEDED"
    step = bench.step(name, 2)
    assert step is not None
    assert step["attempt"] != attempt  # or the deletion came too late to matter
    said = bench.accrete("logs", name, "--step", keys.train_step_name(2))
    assert re.search(r"goes on from a snapshot, after step [1-9]", said), said
    stages = bench.report(name)["stages"]

    again = bench.submit("deleted pod", name, "--watch")
    assert again.returncode == 0, again.stdout + again.stderr
    reused = bench.report(name)["stages"]
    assert [stage["digest"] for stage in reused] == [stage["digest"] for stage in stages]
    assert all(stage["reused"] for stage in reused)


def test_a_run_that_is_terminated_says_so_and_goes_on_when_it_is_submitted_again(
    bench: Bench,
) -> None:
    name, before = bench.new_name(), bench.snapshots()
    done = bench.submit("terminated", name)
    assert done.returncode == 0, done.stderr
    bench.training_pod(name, 2, before)
    first_stage = (bench.step(name, 1) or {})["state"]
    assert first_stage == "done"
    bench.client.terminate_run(bench.run_id(name))
    assert bench.end_of(name) in ("CANCELED", "FAILED")
    said = bench.accrete("status", name, "--endpoint", bench.endpoint)
    assert "canceled" in said, said
    (state,) = json.loads(bench.accrete("status", name, "--endpoint", bench.endpoint, "--json"))
    assert state["state"] == "canceled", state

    again = bench.submit("terminated", name, "--watch")
    assert again.returncode == 0, again.stdout + again.stderr
    first, second = bench.report(name)["stages"]
    assert (first["reused"], second["reused"]) == (True, False)
    said = bench.accrete("logs", name, "--step", keys.train_step_name(2))
    assert re.search(r"goes on from a snapshot, after step [1-9]", said), said


@pytest.mark.parametrize("of_the_cluster", [True, False], ids=["kubeconfig", "api alone"])
@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("no such GPUs", r"waits for a node .*Insufficient nvidia\.com/gpu"),
        ("no such image", r"waits for its image.*accrete-trainer:nowhere"),
    ],
)
def test_a_step_that_cannot_begin_is_said_within_a_minute(
    scenario: str, words: str, of_the_cluster: bool, bench: Bench
) -> None:
    name = bench.new_name()
    environment = bench.environment()
    if not of_the_cluster:
        environment["KUBECONFIG"] = os.devnull
    with subprocess.Popen(
        bench.command(scenario, name), env=environment, cwd=bench.folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        lines: list[tuple[float, str]] = []

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append((time.time(), line))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            said_at = until(
                f"{words} is said",
                lambda: next((at for at, line in lines if re.search(words, line)), None),
                timeout_s=600,
            )
            (pending,) = [p for p in bench.pods(name) if p["status"]["phase"] == "Pending"]
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)
            reader.join(60)
    made = datetime.fromisoformat(pending["metadata"]["creationTimestamp"]).astimezone(UTC)
    assert said_at - made.timestamp() < SAID_WITHIN_S, lines
    assert "goes on" in lines[-1][1], lines  # it was the watching that ended


@pytest.mark.parametrize("away_s", [0, 150], ids=["restarted", "away for minutes"])
def test_a_stage_trains_on_while_the_store_is_away(away_s: int, bench: Bench) -> None:
    name, before = bench.new_name(), bench.snapshots()
    done = bench.submit("store away", name)
    assert done.returncode == 0, done.stderr
    bench.training_pod(name, 2, before)
    attempt = (bench.step(name, 2) or {})["attempt"]
    store = ("-n", "accrete")
    uid = kubectl(*store, "get", "pod", "accrete-store-0", "-o", "jsonpath={.metadata.uid}")
    try:
        if away_s:
            kubectl(*store, "scale", "statefulset/accrete-store", "--replicas=0")
            time.sleep(away_s)
        else:
            kubectl(*store, "delete", "pod", "accrete-store-0", timeout_s=180)
    finally:
        kubectl(*store, "scale", "statefulset/accrete-store", "--replicas=1")
        kubectl(
            *store, "rollout", "status", "statefulset/accrete-store", "--timeout=5m", timeout_s=330
        )
    assert uid != kubectl(*store, "get", "pod", "accrete-store-0", "-o", "jsonpath={.metadata.uid}")
    assert bench.end_of(name) == "SUCCEEDED"
    step = bench.step(name, 2)
    assert step is not None
    assert step["attempt"] == attempt  # no retry had to mend it


def test_classes_that_come_later_join_the_model_of_a_finished_run(bench: Bench) -> None:
    old, new = bench.new_name(), bench.new_name()
    names: list[Path] = []
    for filename, digits in (("old.txt", "01234567"), ("new.txt", "89")):
        names.append(bench.folder / filename)
        names[-1].write_text("\n".join(digits))
    done = bench.submit("old classes", old, "--only-classes", str(names[0]))
    assert done.returncode == 0, done.stdout + done.stderr
    done = bench.submit("new classes", new, old, "--only-classes", str(names[1]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.end_of(new) == "SUCCEEDED"
    report = bench.report(new)
    assert report["stages"][-1]["num_classes"] == 10
    assert report["stages"][-1]["top1_old"] > 0.5


def test_a_comparison_runs_to_its_report(bench: Bench) -> None:
    name = bench.new_name()
    done = bench.submit("compare", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.end_of(name) == "SUCCEEDED"
    report = bench.report(name)
    assert report["purpose"] == "comparison"
    assert {cell["kind"] for cell in report["cells"]} == {"staged", "scratch"}


def test_a_stage_on_two_nodes_is_trained_by_a_train_job_that_goes_afterwards(bench: Bench) -> None:
    kinds = kubectl("get", "crd", "-o", "name")
    if "trainjobs.trainer.kubeflow.org" not in kinds:
        pytest.skip(f"cluster {CLUSTER} has no Trainer: manifests/kind/up.sh --trainer")
    name = bench.new_name()
    jobs = ("-n", "kubeflow", "get", "trainjobs.trainer.kubeflow.org", "-o", "name")
    before = kubectl(*jobs)
    done = bench.submit("two nodes", name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert bench.end_of(name) == "SUCCEEDED"
    assert [stage["reused"] for stage in bench.report(name)["stages"]] == [False, False]
    assert kubectl(*jobs) == before
