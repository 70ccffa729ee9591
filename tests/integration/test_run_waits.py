"""A run that waits on Kubeflow: `--watch` and `status` say why, in the objects' own words."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from kfp_api import Gate, KfpApi, hanging_up, kfp_at, paging, saying
from kubernetes_pods import PLUGIN_API, TOKEN, PodCluster, event, pod, pod_cluster, waiting

from accrete.runners.kubeflow import _kubeconfig, _lookout, standing
from accrete.runners.kubeflow._lookout import Look, Looker
from accrete.runners.kubeflow.access import Access
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.waiting import Waiting
from accrete.store import keys
from accrete.store.object_store import ObjectStore

TRAIN = "run-x7(0).root(0).train-stage(0).executor(0)"
PREPARE = "run-x7(0).root(0).prepare(0).executor(0)"
GPUS = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
ONE_STAGE = ("--stages", "10", "--budget-epochs", "1")
UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": GPUS}
    ],
}


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_at() as server:
        server.states = ["RUNNING"]
        yield server


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PodCluster]:
    with pod_cluster() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        yield server


def workflow(message: str, node: str = TRAIN) -> dict[str, Any]:
    """An Argo workflow as one that cannot go on was recorded."""
    return {
        "metadata": {"name": "run-x7", "namespace": "kubeflow"},
        "status": {
            "phase": "Running",
            "nodes": {
                "run-x7": {"type": "Retry", "name": "run-x7", "phase": "Running"},
                "run-x7-599459960": {
                    "type": "Pod",
                    "displayName": "executor(0)",
                    "name": node,
                    "phase": "Pending",
                    "message": message,
                    "startedAt": "2026-11-27T01:16:17Z",
                },
            },
        },
    }


def submitted(api: KfpApi, name: str = "far") -> str:
    """Have a run there; return its id."""
    experiment = api.create_experiment({"display_name": "accrete", "namespace": "team"})
    run = {"display_name": name, "experiment_id": experiment["experiment_id"], "pipeline_spec": {}}
    return str(api.create_run(run)["run_id"])


def looked(api: KfpApi, run_id: str, namespace: str | None = None) -> Look:
    return Looker(Kubeflow(api.address, Access(namespace=namespace)), run_id).look()


def lines(look: Look) -> list[str]:
    return [each.line for each in look.waiting]


def test_the_cluster_s_own_words_come_first(api: KfpApi, cluster: PodCluster) -> None:
    run_id = submitted(api)
    waits = waiting("main", "ImagePullBackOff", "Back-off pulling image", "registry.invalid/x:1")
    stuck = pod(run_id, PREPARE, {"phase": "Pending", "containerStatuses": [waits]})
    cluster.pods = [stuck, pod("another-run", TRAIN, UNSCHEDULABLE)]
    cluster.events = [
        event(stuck, "Failed", 'Failed to pull image "registry.invalid/x:1": no such host',
              at="2026-11-27T10:01:00Z"),
    ]  # fmt: skip
    api.workflow = workflow("ImagePullBackOff: x", PREPARE)
    look = looked(api, run_id)
    assert look.is_told
    (line,) = lines(look)
    assert line.startswith("prepare waits for its image registry.invalid/x:1, which cannot be pull")
    assert "no such host" in line


def test_the_nodes_of_a_train_job_are_looked_at_too(api: KfpApi, cluster: PodCluster) -> None:
    """Their pods have the run's label by us; JobSet's say which they are."""
    run_id = submitted(api)
    step = pod(run_id, "run-x7(0).root(0).train-on-nodes(0).executor(0)", {"phase": "Running"})
    job = "accrete-far-1-0123456789"
    for index in range(2):
        node = pod(run_id, "", UNSCHEDULABLE, name=f"{job}-node-0-{index}-abcde")
        node["metadata"]["annotations"] = {}
        node["metadata"]["labels"] |= {
            "jobset.sigs.k8s.io/jobset-name": job,
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        cluster.pods.append(node)
    cluster.pods.append(step)
    said = lines(looked(api, run_id))
    assert [line.split(" waits for a node that takes it: ")[0] for line in said] == [
        f"node {index} of TrainJob {job}" for index in range(2)
    ]
    assert all(GPUS.rstrip(".") in line for line in said)


def test_a_quota_s_words_come_from_argo_s_object(api: KfpApi, cluster: PodCluster) -> None:
    run_id = submitted(api)
    quota = 'pods "run-x7" is forbidden: exceeded quota: gpus, requested: cpu=8'
    argo = workflow(quota)
    argo["metadata"]["labels"] = {"pipeline/runid": run_id}
    cluster.workflows = [argo]
    (line,) = lines(looked(api, run_id))
    assert line.startswith(f"train-stage waits for quota: {quota}")


def test_a_kubeconfig_with_rights_in_one_namespace_will_do(
    api: KfpApi, cluster: PodCluster
) -> None:
    run_id = submitted(api)
    cluster.may_list_all = False
    cluster.pods = [pod(run_id, TRAIN, UNSCHEDULABLE)]
    assert GPUS.rstrip(".") in lines(looked(api, run_id))[0]
    assert any(path.startswith("/api/v1/namespaces/kubeflow/pods") for path in cluster.paths)


def test_a_profile_s_pods_are_looked_for_in_its_namespace(api: KfpApi, cluster: PodCluster) -> None:
    api.multi_user = True
    run_id = submitted(api)
    cluster.may_list_all = False
    cluster.pods = [pod(run_id, TRAIN, UNSCHEDULABLE, namespace="team")]
    assert len(lines(looked(api, run_id, "team"))) == 1


@pytest.mark.parametrize("why", ["no rights", "another cluster", "away", "none"])
def test_without_the_cluster_kubeflow_s_own_copy_says_it(
    why: str, api: KfpApi, cluster: PodCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = submitted(api)
    api.workflow = workflow(f"Unschedulable: {GPUS}")
    cluster.may_list = why != "no rights"
    if why == "away":
        cluster.server_close()
    if why == "none":
        monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    look = looked(api, run_id)
    assert look.is_told
    assert lines(look)[0].startswith(
        "train-stage waits for a node that takes it: Unschedulable: 0/2"
    )


def test_where_nothing_tells_it_is_known_that_nothing_does(api: KfpApi) -> None:
    assert not looked(api, submitted(api)).is_told


@pytest.mark.slow
def test_watch_says_within_a_minute_why_a_run_waits_and_says_it_once(cli: Cli, api: KfpApi) -> None:
    api.workflow = workflow(f"Unschedulable: {GPUS}")
    began = time.monotonic()

    def ending(_handler: object) -> bool:
        if time.monotonic() - began > 35:
            api.states = ["CANCELED"]
        return False

    api.gates = [ending]
    done = cli("run", "--endpoint", api.address, "--watch", "--name", "far")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if GPUS.rstrip(".") in line]
    assert said[0].startswith("far: train-stage waits for a node that takes it: Unschedulable")
    assert len([line for line in said if line.startswith("far: train-stage")]) == 1
    assert "run 'far' canceled: " in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_watch_says_where_to_look_where_nothing_here_can_tell(cli: Cli, api: KfpApi) -> None:
    began = time.monotonic()
    api.states = ["PENDING"]
    api.tasks = [{"display_name": "prepare", "state": "PENDING"}]

    def ending(_handler: object) -> bool:
        if time.monotonic() - began > 75:
            api.states = ["SUCCEEDED"]
        return False

    api.gates = [ending]
    done = cli("run", "--endpoint", api.address, "--watch", "--name", "far")
    assert done.returncode == 0
    (run_id,) = api.runs
    said = [line for line in done.stderr.splitlines() if "cannot tell why" in line]
    assert len(said) == 1
    assert said[0].startswith("far: prepare waits for 0:")
    assert f"kubectl -n kubeflow describe pods -l pipeline/runid={run_id}" in said[0]


def test_status_tells_what_a_run_waits_for_that_has_not_begun(cli: Cli, api: KfpApi) -> None:
    run_id = submitted(api)
    api.workflow = workflow('CreateContainerConfigError: secret "accrete-store" not found', PREPARE)
    done = cli("status", "far", "--endpoint", api.address)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == "far: waiting"
    assert second == (
        '  prepare cannot start: CreateContainerConfigError: secret "accrete-store" not found; '
        "create the secret accrete-store in the run's namespace"
    )
    assert third == f"  on Kubeflow: running, {api.address}/#/runs/details/{run_id}"
    (state,) = json.loads(cli("status", "far", "--json", KFP_ENDPOINT=api.address).stdout)
    assert state["state"] == "waiting"
    assert state["kubeflow"]["run_id"] == run_id
    assert state["kubeflow"]["waiting"] == [second.strip()]


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("PENDING", "pending"),
        ("RUNNING", "pending"),
        ("CANCELING", "canceled"),
        ("CANCELED", "canceled"),
        ("FAILED", "failed"),
        ("SUCCEEDED", "done"),
    ],
)
def test_status_has_kubeflow_s_word_for_what_the_store_does_not_know(
    state: str, word: str, cli: Cli, api: KfpApi
) -> None:
    submitted(api)
    api.states = [state]
    done = cli("status", "far", "--endpoint", api.address)
    assert done.stdout.splitlines()[0] == f"far: {word}"


def test_status_says_canceled_of_a_terminated_run_that_kubeflow_ends_as_failed(
    cli: Cli, api: KfpApi
) -> None:
    submitted(api)
    api.states, api.workflow = ["FAILED"], workflow("Step exceeded its deadline")
    api.workflow["status"]["nodes"]["run-x7-599459960"]["phase"] = "Failed"
    api.workflow["spec"] = {"activeDeadlineSeconds": 0}  # as recorded
    first, second = cli("status", "far", "--endpoint", api.address).stdout.splitlines()
    assert first == "far: canceled"
    assert second.startswith("  on Kubeflow: failed, ")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_of_which_the_cluster_has_nothing_any_more_was_deleted(
    is_there: bool, api: KfpApi, cluster: PodCluster
) -> None:
    run_id = submitted(api)
    api.workflow = workflow("")
    cluster.pods = [pod(run_id, TRAIN, {"phase": "Running"})] if is_there else []
    found = standing.standing_of(api.address, Access(), "far")
    assert found is not None
    assert standing.merged_state(None, found) == ("pending" if is_there else "deleted")


def test_a_cluster_that_may_not_be_listed_says_nothing_of_what_is_gone(
    api: KfpApi, cluster: PodCluster
) -> None:
    submitted(api)
    api.workflow, cluster.may_list = workflow(""), False
    found = standing.standing_of(api.address, Access(), "far")
    assert found is not None
    assert not found.is_gone


def test_status_says_that_kubeflow_does_not_know_a_run_that_goes_on(
    cli: Cli, api: KfpApi, store: ObjectStore
) -> None:
    document = {
        "step": "prepare", "attempt": "1", "state": "running", "results": [], "error": None,
        "exit_code": 0, "progress": None, "started_at": "2026-11-27T01:00:00+00:00",
        "updated_at": "2026-11-27T01:00:00+00:00",
    }  # fmt: skip
    key = keys.step_key("far", keys.prepare_step_name())
    store.write_note(key, json.dumps(document).encode())
    first, *_, last = cli("status", "far", "--endpoint", api.address).stdout.splitlines()
    assert first == "far: stopped"
    assert last == "  on Kubeflow: no run of this name: it was deleted there, or runs elsewhere"


@pytest.mark.slow
def test_status_knows_a_terminated_run_from_one_that_stopped(cli: Cli, api: KfpApi) -> None:
    assert cli("run", "--name", "far", *ONE_STAGE).returncode == 0
    assert cli("status", "far").stdout.splitlines()[0] == "far: done"
    submitted(api)  # again, later
    api.states = ["CANCELED"]
    done = cli("status", "far", "--endpoint", api.address)
    assert done.stdout.splitlines()[0] == "far: canceled"
    assert "stage 1" in done.stdout
    api.states = ["SUCCEEDED"]
    assert cli("status", "far", "--endpoint", api.address).stdout.startswith("far: done")


@pytest.mark.slow
@pytest.mark.parametrize("gate", [hanging_up, paging("<title>Log in</title>"), saying("", 503)])
def test_status_is_the_store_s_with_one_remark_where_kubeflow_does_not_say(
    gate: object, cli: Cli, api: KfpApi
) -> None:
    assert cli("run", "--name", "far", *ONE_STAGE).returncode == 0
    alone = cli("status", "far")
    api.gates = [gate]  # type: ignore[list-item]
    done = cli("status", "far", "--endpoint", api.address)
    assert done.returncode == 0
    assert done.stdout == alone.stdout
    (remark,) = done.stderr.splitlines()
    assert remark.startswith("remark: by the object store alone: Kubeflow Pipelines at ")


HANGING = ("sh", "-c", "echo $$ > {pid}; sleep 600 & wait")
FAILING = ("sh", "-c", "echo token=SUPERSECRET expired >&2; exit 3")


def plugin_in(cluster: PodCluster, folder: Path, *command: str) -> str:
    """Have the kubeconfig name a program for its credentials; return the file of its id."""
    file = folder / "plugin.pid"
    cluster.kubeconfig(folder, *(each.format(pid=file) for each in command))
    return str(file)


def is_left(file: str) -> bool:
    """Return whether anything of a program's group still runs."""
    group = Path(file).read_text().strip()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if of == group and state != "Z":
                return True
    return False


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kubeconfig, "PLUGIN_LIMIT_S", 0.6)


def test_a_kubeconfig_s_program_gives_the_token(
    api: KfpApi, cluster: PodCluster, tmp_path: Path
) -> None:
    run_id = submitted(api)
    cluster.pods = [pod(run_id, TRAIN, UNSCHEDULABLE)]
    said = {"apiVersion": PLUGIN_API, "kind": "ExecCredential", "status": {"token": TOKEN}}
    plugin_in(cluster, tmp_path, "echo", json.dumps(said).replace("{", "{{").replace("}", "}}"))
    look = looked(api, run_id)
    assert GPUS.rstrip(".") in lines(look)[0]
    assert look.remark == ""


@pytest.mark.parametrize(
    "case",
    [
        (HANGING, "'sh' does not answer within 1 s"),
        (FAILING, "'sh' failed (exit code 3)"),
        (("echo", "no JSON"), "'echo' gives no credentials"),
        (("gke-gcloud-auth-plugin-x",), "cannot be run (No such file or directory)"),
    ],
)
@pytest.mark.usefixtures("short_patience")
def test_a_kubeconfig_s_program_that_gives_none_is_said_and_kubeflow_asked(
    case: tuple[tuple[str, ...], str], api: KfpApi, cluster: PodCluster, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command, words = case
    api.workflow = workflow(f"Unschedulable: {GPUS}")
    file = plugin_in(cluster, tmp_path, *command)
    look = looked(api, submitted(api))
    assert look.remark.startswith("the cluster is not asked: the kubeconfig's plugin '")
    assert words in look.remark
    assert GPUS.rstrip(".") in lines(look)[0]
    assert capfd.readouterr() == ("", "")
    assert command is not HANGING or not is_left(file)


def test_a_look_ends_in_time_where_the_cluster_does_not_answer(
    api: KfpApi, cluster: PodCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lookout, "_FIRST_S", 0.1)
    api.workflow = workflow(f"Unschedulable: {GPUS}")
    plugin_in(cluster, tmp_path, "sleep", "3")
    looker, began = Looker(Kubeflow(api.address), submitted(api)), time.monotonic()
    for _ in range(2):  # the second finds the first still asking
        assert GPUS.rstrip(".") in lines(looker.look(0.4))[0]
    assert time.monotonic() - began < 2


@pytest.mark.slow
def test_status_says_what_kubeflow_said_where_the_kubeconfig_hangs(
    cli_env: dict[str, str], api: KfpApi, cluster: PodCluster, tmp_path: Path
) -> None:
    api.workflow = workflow(f"Unschedulable: {GPUS}")
    run_id, file = submitted(api), plugin_in(cluster, tmp_path, *HANGING)
    command = [str(Path(sys.executable).parent / "accrete"), "status", "far"]
    done = subprocess.run(
        [*command, "--endpoint", api.address],
        env=cli_env | {"KUBECONFIG": str(tmp_path / "kubeconfig")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "far: waiting"
    assert GPUS.rstrip(".") in done.stdout
    assert run_id in done.stdout.splitlines()[-1]
    assert not is_left(file)


@pytest.mark.slow
def test_watch_ends_with_the_run_where_the_kubeconfig_hangs(
    cli: Cli, api: KfpApi, cluster: PodCluster, tmp_path: Path
) -> None:
    api.states = ["FAILED"]
    api.workflow = workflow("OOMKilled (exit code 137)")
    api.workflow["status"]["nodes"]["run-x7-599459960"]["phase"] = "Failed"
    file = plugin_in(cluster, tmp_path, *HANGING)
    command = ("run", "--endpoint", api.address, "--watch", "--name", "far")
    done = cli(*command, KUBECONFIG=str(tmp_path / "kubeconfig"))
    assert done.returncode == 1
    assert "run 'far' failed: train-stage was killed for its memory" in done.stderr
    assert not is_left(file)


@pytest.mark.slow
def test_what_the_store_knows_of_a_later_run_stands(cli: Cli, api: KfpApi) -> None:
    run_id = submitted(api)
    api.runs[run_id] |= {
        "created_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T01:00:00Z"
    }  # fmt: skip
    api.states, api.workflow = ["FAILED"], workflow("OOMKilled (exit code 137)")
    assert cli("run", "--name", "far", *ONE_STAGE).returncode == 0
    first, *more = cli("status", "far", "--endpoint", api.address).stdout.splitlines()
    assert first == "far: done"
    assert not any("OOMKilled" in line for line in more)
    assert run_id in more[-1]


def test_status_waits_for_kubeflow_some_seconds_and_no_longer(
    api: KfpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_QUICKLY_S", 0.3)
    api.gates = [lambda _handler: bool(time.sleep(2))]
    with pytest.raises(standing.PipelineError, match="does not answer within"):
        standing.standing_of(api.address, Access(), "far")


def test_a_run_that_nobody_knows_is_still_refused(cli: Cli, api: KfpApi) -> None:
    done = cli("status", "nothing", "--endpoint", api.address)
    assert done.returncode == 2
    assert "no run 'nothing'" in done.stderr


def test_the_lookout_looks_once_more_when_asked() -> None:
    seen = iter(range(1, 10))
    lookout = _lookout.Lookout(lambda: Look(remark=str(next(seen))))
    assert lookout.last(5).remark == "1"
    assert lookout.last(5).remark == "2"
    lookout.stop()


def test_a_look_that_tells_nothing_takes_nothing_of_what_was_told_before() -> None:
    lost = Waiting("train", "lost", "lost its pod: pod deleted")
    looks = iter([Look([lost], is_told=True), Look(is_cut_off=True), Look(is_told=True)])
    lookout = _lookout.Lookout(lambda: next(looks))
    assert lookout.last().waiting == [lost]
    assert (lookout.last().waiting, lookout.found.is_cut_off) == ([lost], True)
    assert lookout.last().waiting == []
    lookout.stop()


@pytest.mark.parametrize(
    ("gate", "is_cut_off"),
    [
        (saying("<html>503", 503, "text/html"), True),
        (saying('{"code":13,"message":"x"}', 500, "application/json"), True),
        (saying('{"code":5,"message":"Not Found"}', 404, "application/json"), False),
        (saying("404 page not found", 404), False),
    ],
)
def test_an_api_that_does_not_answer_is_told_from_one_that_has_no_version_1(
    gate: Gate, is_cut_off: bool, api: KfpApi
) -> None:
    looker = Looker(Kubeflow(api.address), submitted(api))
    api.gates = [lambda handler: "v1beta1" in handler.path and gate(handler)]
    assert looker.look().is_cut_off is is_cut_off


def test_the_lookout_ends_with_who_looks() -> None:
    lookout = _lookout.Lookout(Look)
    lookout.stop()
    assert lookout.found == Look()


def test_status_of_all_runs_has_no_kubeflow(cli: Cli, api: KfpApi) -> None:
    done = cli("status", "--endpoint", api.address)
    assert done.returncode == 2
    assert "give a NAME too" in done.stderr
    assert cli("status", KFP_ENDPOINT=api.address).returncode == 0
    assert api.seen == []


def test_status_of_a_failed_run_tells_what_its_pods_were_lost_of(cli: Cli, api: KfpApi) -> None:
    submitted(api)
    api.states = ["FAILED"]
    api.workflow = workflow("OOMKilled (exit code 137)")
    api.workflow["status"]["nodes"]["run-x7-599459960"]["phase"] = "Failed"
    first, second, _ = cli("status", "far", "--endpoint", api.address).stdout.splitlines()
    assert first == "far: failed"
    assert second.startswith("  train-stage was killed for its memory: OOMKilled (exit code 137)")


def test_watch_tells_what_a_failed_run_s_pods_were_lost_of(cli: Cli, api: KfpApi) -> None:
    api.states = ["FAILED"]
    api.workflow = workflow("OOMKilled (exit code 137)")
    api.workflow["status"]["nodes"]["run-x7-599459960"]["phase"] = "Failed"
    done = cli("run", "--endpoint", api.address, "--watch", "--name", "far")
    assert done.stderr.splitlines()[-1].startswith(
        "accrete: error: run 'far' failed: train-stage was killed for its memory: OOMKilled"
    )


def test_of_hundreds_of_pods_the_newest_of_each_step_are_asked_for(
    api: KfpApi, cluster: PodCluster
) -> None:
    run_id = submitted(api)
    done = [
        pod(run_id, f"run-x7(0).root(0).train-stage-{i}(0).executor(0)", {"phase": "Succeeded"},
            name=f"done-{i}")
        for i in range(210)
    ]  # fmt: skip
    evicted = {"phase": "Failed", "reason": "Evicted", "message": "x"}
    before = [
        pod(run_id, f"run-x7(0).root(0).last(0).executor({i})", evicted, name=f"before-{i}",
            created=f"2026-11-27T10:{i:02}:00Z")
        for i in range(50)
    ]  # fmt: skip
    last = "run-x7(0).root(0).last(0).executor(50)"
    newest = pod(run_id, last, UNSCHEDULABLE, name="newest", created="2026-11-27T11:00:00Z")
    cluster.pods = [*done, *before, newest]
    (line,) = lines(looked(api, run_id))
    assert line.startswith("last waits for a node that takes it")
    (asked,) = [path for path in cluster.paths if "/events" in path]
    assert "newest" in asked


def test_a_cluster_that_refuses_is_asked_no_more(api: KfpApi, cluster: PodCluster) -> None:
    cluster.may_list = False
    looker = Looker(Kubeflow(api.address), submitted(api))
    looker.look()
    asked = len(cluster.paths)
    looker.look()
    assert len(cluster.paths) == asked
