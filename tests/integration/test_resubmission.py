"""A watched run is submitted again where the cluster lost it, and not where it failed by itself."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from conftest import Cli
from kfp_api import Handler, KfpApi, failing, kfp_at, saying
from kubernetes_pods import PodCluster, pod, pod_cluster
from proxy import Fault, Proxy, Request

from accrete.catalog.step_documents import StepDocument, StepFailure, StepState
from accrete.cli._options import WhereOptions
from accrete.errors import ConfigError, PipelineError, StepFailedError
from accrete.runners.kubeflow import _lookout, following, resubmission, submission
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.submission import RemoteRun
from accrete.store import keys
from accrete.store.object_store import ObjectStore

STEP = keys.train_step_name(2)
TRAIN = "run-x7(0).root(0).train-stage-2(0).executor(0)"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, store: ObjectStore) -> Iterator[KfpApi]:
    """An API whose runs are looked at often, and a store that this process knows."""
    monkeypatch.setattr(following, "_POLL_S", 0.02)
    monkeypatch.setattr(resubmission, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    for name, value in store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    with kfp_at() as server:
        server.states = ["RUNNING"]
        yield server


def argo(message: str, **spec: Any) -> dict[str, Any]:
    """Return a workflow as it was recorded where a step's pod failed."""
    pod = {"type": "Pod", "name": TRAIN, "phase": "Failed", "message": message, "startedAt": "1"}
    return {"spec": spec, "status": {"phase": "Failed", "nodes": {"run-x7-1": pod}}}


class Watched:
    """A run that is watched; each submission goes as its turn says."""

    def __init__(self, api: KfpApi, store: ObjectStore) -> None:
        self.api, self.store = api, store
        self.kubeflow = Kubeflow(api.address)
        self.experiment = self.kubeflow.experiment_id("accrete")

    def submit(self) -> RemoteRun:
        body = {"display_name": "far", "experiment_id": self.experiment, "pipeline_spec": {}}
        run = self.kubeflow.get_run(self.kubeflow.create_run(body))
        return RemoteRun(name="far", run=run, address=self.kubeflow.page_of(run.run_id))

    def says(self, attempt: str, state: StepState, error: str = "", code: int = 0) -> None:
        """Have the step say how it stands."""
        now = datetime.now(UTC)
        said = StepDocument(
            step=STEP, attempt=attempt, state=state, started_at=now, updated_at=now,
            failure=StepFailure(error, code) if error else None,
        )  # fmt: skip
        data = json.dumps(said.as_json()).encode()
        self.store.write_note(keys.step_key("far", STEP), data)

    def follow(self, times: int) -> None:
        request: Any = _Request(str(self.store.address))
        resubmission.follow_remote(self.kubeflow, self.submit(), request, self.submit, times)


class _Request:
    run_name = "far"

    def __init__(self, store_uri: str) -> None:
        self.store_uri = store_uri


@pytest.fixture
def watched(api: KfpApi, store: ObjectStore) -> Watched:
    return Watched(api, store)


def on_each_look(api: KfpApi, ending: Any) -> None:
    """Have something happen when a run is looked at for the third time."""
    looks: dict[str, int] = {}

    def gate(handler: Handler) -> bool:
        run_id = handler.path.rpartition("/")[2]
        if "v2beta1/runs/" in handler.path and run_id in api.runs:
            looks[run_id] = looks.get(run_id, 0) + 1
            if looks[run_id] == 3:
                ending(list(api.runs).index(run_id) + 1, api.runs[run_id])
        return False

    api.gates.append(gate)


def test_a_run_that_a_node_took_is_submitted_again_until_it_succeeds(
    api: KfpApi, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    def ends(number: int, run: dict[str, Any]) -> None:
        watched.says(f"attempt-{number}", "running" if number < 3 else "done")
        api.workflow = argo("main: Unknown (exit code 255)")
        run["state"] = "FAILED" if number < 3 else "SUCCEEDED"

    on_each_look(api, ends)
    watched.follow(times=5)
    assert len(api.runs) == 3
    assert {run["display_name"] for run in api.runs.values()} == {"far"}
    said = capfd.readouterr().err.splitlines()
    lost = [line for line in said if line.startswith("run 'far' ended: ")]
    assert len(lost) == 2
    assert "train-stage-2 has a pod that failed: main: Unknown (exit code 255)" in lost[0]
    again = [line for line in said if "submitted again as" in line]
    assert [line.split("submitted again as ")[1].split(":")[0] for line in again] == [
        f"{run_id}, {number} of 5" for number, run_id in enumerate(list(api.runs)[1:], start=1)
    ]


def test_it_is_submitted_again_so_many_times_and_ends_with_the_last_one_s_code(
    api: KfpApi, watched: Watched
) -> None:
    def ends(number: int, run: dict[str, Any]) -> None:
        watched.says(f"attempt-{number}", "failed", f"the store was away, {number}", 3)
        run["state"] = "FAILED"

    on_each_look(api, ends)
    with pytest.raises(StepFailedError) as failed:
        watched.follow(times=2)
    assert str(failed.value) == "run 'far' failed: the store was away, 3 (submitted again 2 times)"
    assert failed.value.exit_code == 3
    assert len(api.runs) == 3


CANCELED = {"state": "FAILED", "state_history": [{"state": "CANCELING"}, {"state": "FAILED"}]}


@pytest.mark.parametrize(
    ("said", "run", "words"),
    [
        (("failed", "bad --data", 2), {"state": "FAILED"}, "failed: bad --data"),
        (("failed", "the loss became NaN", 1), {"state": "FAILED"}, "failed: the loss became NaN"),
        (("running", "", 1), {"state": "CANCELED"}, "canceled: it was terminated"),
        (("running", "", 1), CANCELED, "canceled: it was terminated"),
    ],
)
def test_what_failed_by_itself_or_was_terminated_is_not_submitted_again(
    said: tuple[StepState, str, int], run: dict[str, Any], words: str, api: KfpApi, watched: Watched
) -> None:
    def ends(_number: int, found: dict[str, Any]) -> None:
        watched.says("attempt", *said)
        api.workflow = argo("main: Error (exit code 1)")
        found |= run

    on_each_look(api, ends)
    with pytest.raises(StepFailedError, match=words) as failed:
        watched.follow(times=5)
    assert len(api.runs) == 1
    assert failed.value.exit_code == said[2]


def test_a_workflow_that_was_told_to_end_is_a_terminated_run(api: KfpApi, watched: Watched) -> None:
    api.workflow = argo("Step exceeded its deadline", activeDeadlineSeconds=0)  # as recorded
    api.states = ["FAILED"]
    with pytest.raises(StepFailedError, match="canceled: it was terminated on Kubeflow"):
        watched.follow(times=5)
    assert len(api.runs) == 1


def test_what_an_earlier_run_of_the_name_said_counts_for_nothing(
    api: KfpApi, watched: Watched
) -> None:
    watched.says("before", "failed", "the loss became NaN", 1)
    api.states, api.workflow = ["FAILED"], argo("pod deleted")
    with pytest.raises(StepFailedError, match="lost its pod: pod deleted"):
        watched.follow(times=0)


def test_an_api_that_is_away_when_it_is_needed_is_waited_for(
    api: KfpApi, watched: Watched, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(watched.kubeflow, "_patience_s", 0)
    away = failing(3, saying("away", 503))

    def gate(handler: Handler) -> bool:
        return handler.command == "POST" and bool(api.runs) and away(handler)

    def ends(number: int, run: dict[str, Any]) -> None:
        api.workflow = argo("pod deleted")
        run["state"] = "FAILED" if number == 1 else "SUCCEEDED"

    on_each_look(api, ends)
    api.gates.append(gate)
    watched.follow(times=1)
    assert len(api.runs) == 2
    assert capfd.readouterr().err.count("submitted again when it answers") == 1


def test_an_api_whose_database_is_away_when_it_is_needed_is_waited_for(
    api: KfpApi, submitting: "Submitting", capfd: pytest.CaptureFixture[str]
) -> None:
    error = '{"error":"x","code":13,"message":"InternalServerError: dial tcp mysql:3306"}'
    fail = failing(4, saying(error, 500, "application/json"))

    def gate(handler: Handler) -> bool:
        has_failed = any(run.get("state") == "FAILED" for run in api.runs.values())
        return has_failed and "v2beta1" in handler.path and fail(handler)

    api.gates.insert(0, gate)
    submitting.follow(times=1)
    assert len(api.runs) == 2
    assert capfd.readouterr().err.count("submitted again when it answers") == 1


def test_an_api_that_takes_no_credentials_any_more_ends_it_with_one_line(
    api: KfpApi, watched: Watched
) -> None:
    refuse = saying("Unauthorized", 401)

    def gate(handler: Handler) -> bool:
        return handler.command == "POST" and bool(api.runs) and refuse(handler)

    def ends(_number: int, run: dict[str, Any]) -> None:
        api.workflow = argo("pod deleted")
        run["state"] = "FAILED"

    on_each_look(api, ends)
    api.gates.append(gate)
    with pytest.raises(PipelineError) as refused:
        watched.follow(times=3)
    words = str(refused.value)
    assert words.startswith("run 'far' ended, and could not be submitted again: Kubeflow Pipelines")
    assert "\n" not in words
    assert len(api.runs) == 1


def test_an_api_that_is_away_while_a_run_is_watched_is_said_once(
    api: KfpApi, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    away = failing(30, saying("<html>503 Service Unavailable", 503, "text/html"))

    def gate(handler: Handler) -> bool:
        return len(api.seen) > 6 and "v2beta1/runs/" in handler.path and away(handler)

    on_each_look(api, lambda _number, run: run.update(state="SUCCEEDED"))
    api.gates.insert(0, gate)
    watched.follow(times=0)
    said = capfd.readouterr().err
    assert said.count("the run goes on, and is looked for again") == 1
    assert said.count("Kubeflow Pipelines answers again") == 1
    assert said.splitlines()[-1] == "far: succeeded"


class Submitting(Watched):
    """The same by `submit`, as the command does it."""

    def submit(self) -> RemoteRun:
        request: Any = _Request(str(self.store.address))
        return submission.submit(self.kubeflow, lambda _: None, request, "accrete", print)


@pytest.fixture
def submitting(
    api: KfpApi, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Submitting]:
    """A run that is submitted as a command does it, lost at its third look, and done the next."""
    monkeypatch.setattr(submission, "specification", lambda _: {"pipeline_spec": {}})
    monkeypatch.setattr(submission, "_LOOKS_S", (0.01, 0.02))
    found = Submitting(api, store)
    found.kubeflow._patience_s = 0

    def ends(number: int, run: dict[str, Any]) -> None:
        api.workflow = argo("pod deleted")
        run["state"] = "FAILED" if number == 1 else "SUCCEEDED"

    on_each_look(api, ends)
    return found


@pytest.fixture
def far_store(
    api: KfpApi, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bool], None]]:
    """Shut, or open, the way that the command has to the store: every connection is cut."""
    is_shut: list[bool] = [False]

    def plan(_request: Request) -> Fault | None:
        return Fault(body_bytes=0) if is_shut[0] else None

    with Proxy(store.settings.endpoint, plan) as proxy:
        monkeypatch.setenv("ACCRETE_S3_ENDPOINT", proxy.endpoint)
        yield lambda shut: is_shut.__setitem__(0, shut)


AWAY = saying("<html>503 Service Unavailable", 503, "text/html")
UNHEARD, HEARD = "what the steps say cannot be read from here", "the object store answers again"


def test_a_store_that_goes_away_and_comes_back_is_said_once_and_the_run_is_followed(
    api: KfpApi, watched: Watched, far_store: Callable[[bool], None],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    looks: list[str] = []

    def gate(handler: Handler) -> bool:
        if "v2beta1/runs/" in handler.path:
            looks.append(handler.path)
            far_store(5 < len(looks) < 20)
            if len(looks) == 25:
                api.states = ["SUCCEEDED"]
        return False

    api.gates.append(gate)
    watched.follow(times=0)
    said = capfd.readouterr().err
    assert (said.count(UNHEARD), said.count(HEARD)) == (1, 1)
    assert "Kubeflow's own states are shown meanwhile" in said
    assert said.splitlines()[-1] == "far: succeeded"


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
def test_a_store_that_is_dead_from_the_start_holds_up_nothing(
    state: str, api: KfpApi, watched: Watched, far_store: Callable[[bool], None],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    far_store(True)
    api.workflow = argo("main: Error (exit code 1)")
    on_each_look(api, lambda _number, run: run.update(state=state))
    began = time.monotonic()
    with pytest.raises(StepFailedError) if state == "FAILED" else nullcontext():
        watched.follow(times=0)
    assert time.monotonic() - began < 10
    assert capfd.readouterr().err.count(UNHEARD) == 1


@pytest.mark.parametrize("is_back", [True, False])
def test_a_store_that_is_away_at_the_end_is_asked_for_what_the_steps_said_last(
    is_back: bool, api: KfpApi, watched: Watched, far_store: Callable[[bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(following, "_LAST_S", 30.0 if is_back else 0.2)

    def ends(number: int, run: dict[str, Any]) -> None:
        watched.says("attempt", "running")  # it was killed, and said no more
        far_store(True)
        api.workflow = argo("main: Error (exit code 1)")  # the launcher's own code
        run["state"] = "FAILED"
        if number == 2:
            run["state"] = "SUCCEEDED"
        elif is_back:
            Timer(0.5, far_store, [False]).start()

    on_each_look(api, ends)
    with nullcontext() if is_back else pytest.raises(StepFailedError):
        watched.follow(times=1)
    assert len(api.runs) == (2 if is_back else 1)


def test_who_stops_watching_while_the_store_is_away_is_told_that_the_run_goes_on(
    api: KfpApi, watched: Watched, far_store: Callable[[bool], None]
) -> None:
    far_store(True)

    def stop(_handler: Handler) -> bool:
        if len(api.seen) == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    api.gates.append(stop)
    with pytest.raises(KeyboardInterrupt, match="far goes on: http://"):
        watched.follow(times=0)


def test_who_stops_while_the_store_is_asked_for_last_words_is_told_that_the_run_ended(
    api: KfpApi, watched: Watched, far_store: Callable[[bool], None]
) -> None:
    def ends(_number: int, run: dict[str, Any]) -> None:
        far_store(True)
        api.workflow = argo("pod deleted")
        run["state"] = "FAILED"
        Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()

    on_each_look(api, ends)
    with pytest.raises(KeyboardInterrupt, match=r"far ended \(failed\): http://"):
        watched.follow(times=1)


@pytest.mark.parametrize("num_away", [1, 4])
def test_what_became_of_the_steps_is_asked_again_where_that_is_not_answered(
    num_away: int, api: KfpApi, watched: Watched, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(_lookout, "_PAUSE_S", 0.05)
    monkeypatch.setattr(following, "_LAST_S", 0.1)
    away = failing(num_away, AWAY)

    def gate(handler: Handler) -> bool:
        has_failed = any(run.get("state") == "FAILED" for run in api.runs.values())
        return has_failed and handler.command == "GET" and away(handler)

    def ends(number: int, run: dict[str, Any]) -> None:
        api.workflow = argo("pod deleted")
        run["state"] = "FAILED" if number == 1 else "SUCCEEDED"

    on_each_look(api, ends)
    api.gates.insert(0, gate)
    watched.kubeflow._patience_s = 0
    watched.follow(times=1)
    assert len(api.runs) == 2
    assert "cannot be told now, and is asked again" in capfd.readouterr().err


def test_a_run_that_was_submitted_again_and_cannot_be_read_is_followed_and_not_made_twice(
    api: KfpApi, submitting: Submitting, capfd: pytest.CaptureFixture[str]
) -> None:
    away = failing(3, AWAY)

    def gate(handler: Handler) -> bool:
        return len(api.runs) == 2 and handler.command == "GET" and away(handler)

    api.gates.append(gate)
    submitting.follow(times=5)
    assert len(api.runs) == 2
    said = capfd.readouterr().err
    assert f"run {list(api.runs)[1]} was created, but cannot be read again" in said
    assert "it is followed all the same" in said
    assert said.splitlines()[-1] == "far: succeeded"


@pytest.mark.parametrize("is_made", [True, False])
def test_an_api_that_goes_away_in_the_middle_of_it_is_asked_for_the_run_when_it_is_back(
    is_made: bool, api: KfpApi, submitting: Submitting, capfd: pytest.CaptureFixture[str]
) -> None:
    away, cut = failing(4, AWAY), []

    def gate(handler: Handler) -> bool:
        is_it = handler.command == "POST" and handler.path.endswith("/runs") and bool(api.runs)
        if is_it and not cut:
            cut.append(is_made and api.create_run(handler.body))
            handler.hang_up()
            return True
        return bool(cut) and away(handler)

    api.gates.append(gate)
    submitting.follow(times=5)
    assert len(api.runs) == 2
    said = capfd.readouterr().err
    assert said.count("it cannot be told whether run 'far' was submitted") == 1
    assert said.count("it is looked for when Kubeflow answers") == 1
    assert f"submitted again as {list(api.runs)[1]}, 1 of 5" in said


def test_an_api_that_stays_away_in_the_middle_of_it_ends_it_with_the_words_of_doubt(
    api: KfpApi, submitting: Submitting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resubmission, "AWAY_S", 0.2)
    cut: list[bool] = []

    def gate(handler: Handler) -> bool:
        if handler.command == "POST" and handler.path.endswith("/runs") and api.runs:
            cut.append(True)
            handler.hang_up()
            return True
        return bool(cut) and AWAY(handler)

    api.gates.append(gate)
    with pytest.raises(PipelineError, match="cannot be told whether run 'far' was submitted; look"):
        submitting.follow(times=5)
    assert len(cut) == 1


@pytest.mark.parametrize(("state", "is_canceled"), [("SUCCEEDED", False), ("CANCELED", True)])
def test_a_run_that_somebody_retried_in_the_pause_is_followed_and_none_made_beside_it(
    state: str, is_canceled: bool, api: KfpApi, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    looks: list[str] = []

    def gate(handler: Handler) -> bool:
        run_id = handler.path.rpartition("/")[2]
        if "v2beta1/runs/" in handler.path and run_id in api.runs:
            looks.append(run_id)
            lives = {3: "FAILED", 4: "RUNNING", 6: state}
            api.runs[run_id]["state"] = lives.get(len(looks)) or api.runs[run_id].get("state")
            if api.runs[run_id]["state"] is None:
                del api.runs[run_id]["state"]
        return False

    api.gates.append(gate)
    api.workflow = argo("pod deleted")
    if is_canceled:
        with pytest.raises(StepFailedError, match="canceled"):
            watched.follow(times=2)
    else:
        watched.follow(times=2)
    assert len(api.runs) == 1
    said = capfd.readouterr().err
    assert "far: is running again on Kubeflow, and is not submitted beside that: http://" in said


def test_a_run_that_somebody_terminated_in_the_pause_is_not_submitted_again(
    api: KfpApi, watched: Watched
) -> None:
    api.workflow = argo("pod deleted")
    looks: list[str] = []

    def gate(handler: Handler) -> bool:
        if "v2beta1/runs/" in handler.path:
            looks.append(handler.path)
            (run,) = api.runs.values()
            run |= {"state": "FAILED"} if len(looks) == 3 else CANCELED if len(looks) == 4 else {}
        return False

    api.gates.append(gate)
    with pytest.raises(StepFailedError, match="canceled"):
        watched.follow(times=2)
    assert len(api.runs) == 1


@pytest.fixture
def cluster(api: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PodCluster]:
    with pod_cluster() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
        monkeypatch.setattr(_lookout, "_INTERVAL_S", 0.05)
        yield server


def test_a_run_whose_workflow_was_deleted_is_not_watched_for_ever(
    api: KfpApi, watched: Watched, cluster: PodCluster
) -> None:
    remote = watched.submit()
    cluster.pods = [pod(remote.run.run_id, TRAIN, {"phase": "Running"})]
    request: Any = _Request(str(watched.store.address))
    seen: list[int] = []

    def gone(handler: Handler) -> bool:
        if "v2beta1/runs/" in handler.path and any("/pods" in path for path in cluster.paths):
            seen.append(1)
            if len(seen) > 10:
                cluster.pods.clear()
        return False

    api.gates.append(gone)
    with pytest.raises(StepFailedError, match="was deleted: its workflow and its pods are gone"):
        resubmission.follow_remote(watched.kubeflow, remote, request, watched.submit, 5)
    assert len(api.runs) == 1


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="number of resubmissions is -1"):
        WhereOptions(resubmit=-1)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_pause_ends_the_command_and_submits_nothing(
    signum: int, code: int, cli_env: dict[str, str], api: KfpApi, tmp_path: Path
) -> None:
    api.states, api.workflow = ["FAILED"], argo("pod deleted")
    command = [str(Path(sys.executable).parent / "accrete"), "run", "--name", "far", "--watch"]
    process = subprocess.Popen(
        [*command, "--resubmit", "1", "--endpoint", api.address],
        env=cli_env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    with process:
        try:
            for line in process.stderr:
                if "it is submitted again in 0:30" in line:
                    break
            process.send_signal(signum)
            said = process.stderr.read()
        finally:
            process.kill()
    assert "far ended, and was not submitted again" in said
    assert process.returncode == code
    assert len(api.runs) == 1


@pytest.mark.slow
def test_the_command_follows_a_run_that_it_submitted_and_cannot_read(cli: Cli, api: KfpApi) -> None:
    error = '{"error":"x","code":13,"message":"Failed to get a run"}'
    fail = failing(1, saying(error, 500, "application/json"))
    api.gates.append(lambda handler: "v2beta1/runs/" in handler.path and fail(handler))
    api.states = ["RUNNING", "SUCCEEDED"]
    done = cli("run", "--endpoint", api.address, "--watch", "--name", "far")
    assert done.returncode == 0, done.stderr
    assert "was created, but cannot be read again" in done.stderr
    assert done.stderr.splitlines()[-1] == "far: succeeded"


@pytest.mark.slow
def test_the_command_submits_the_same_pipeline_again(cli: Cli, api: KfpApi) -> None:
    def ends(number: int, run: dict[str, Any]) -> None:
        api.workflow = argo("pod deleted")
        run["state"] = "FAILED" if number == 1 else "SUCCEEDED"

    on_each_look(api, ends)
    options = ("--endpoint", api.address, "--watch", "--resubmit", "1", "--name", "far")
    done = cli("run", *options)
    assert done.returncode == 0, done.stderr
    first, second = api.posted
    assert first["pipeline_spec"] == second["pipeline_spec"]
    assert first["runtime_config"] == second["runtime_config"]
