"""What a run ended for, from what was recorded on a cluster, and from what its steps said."""

from datetime import UTC, datetime
from typing import Any

import pytest

from accrete.catalog.step_documents import StepDocument, StepFailure, StepState
from accrete.errors import StoreError
from accrete.runners.kubeflow._argo import is_terminated
from accrete.runners.kubeflow._ending import Ending, ending_of
from accrete.runners.kubeflow.runs import run_of
from accrete.runners.kubeflow.waiting import waiting_of
from accrete.store._errors import StoreErrors
from accrete.store.settings import StoreSettings, parse_store_uri

TRAIN = "run-x7(0).root(0).train-stage-2(0).executor"
DRIVER = "run-x7(0).root(0).train-stage-3-driver(0)"
NOW = datetime(2026, 11, 27, 2, tzinfo=UTC)


def argo(message: str | None, phase: str = "Failed", name: str = f"{TRAIN}(0)") -> dict[str, Any]:
    """Return a workflow as it was recorded where a step's pod failed."""
    whole = {"type": "Retry", "name": "run-x7", "phase": "Failed", "message": None}
    pod = {"type": "Pod", "name": name, "phase": phase, "message": message, "startedAt": "2026"}
    return {"spec": {}, "status": {"phase": "Failed", "nodes": {"a": whole, "b": pod}}}


def document(state: StepState, error: str = "", code: int = 0) -> StepDocument:
    failure = StepFailure(error, code) if error else None
    return StepDocument(
        step="stage-002", attempt="1", state=state, started_at=NOW, updated_at=NOW, failure=failure
    )


def ending(workflow: dict[str, Any] | None = None, *documents: StepDocument, **run: Any) -> Ending:
    found = run_of({"run_id": "1", "state": "FAILED", **run})
    waiting = waiting_of([], [], workflow)
    return ending_of(found, documents, waiting, is_terminated=is_terminated(workflow))


@pytest.mark.parametrize(
    "message",
    [
        "OOMKilled (exit code 137): main",
        "Unknown (exit code 255)",
        "main: Unknown (exit code 255)",
        "pod deleted",
        "The node was low on resource: memory. Threshold quantity: 100Mi; evicted",
        "Pod was terminated in response to imminent node shutdown.",
        "main: Error (exit code 137)",
        "pod deleted during operation",
        'pods "run-x7" is forbidden: exceeded quota: gpus, requested: cpu=8, used: cpu=8',
        'Internal error occurred: failed calling webhook "pod-policy": connection refused',
        "Preempted by a pod on node worker-1",
        "OutOfcpu: Node didn't have enough resource: cpu",
    ],
)
@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_what_a_pod_was_lost_of_is_the_infrastructure_s(message: str, phase: str) -> None:
    found = ending(argo(message, phase))
    assert found.cause == "infrastructure", found
    assert message[:12] in found.words


def test_the_outer_retry_s_message_counts_too() -> None:
    workflow = argo(None)
    workflow["status"]["nodes"]["c"] = {
        "type": "Retry", "name": TRAIN, "phase": "Failed", "message": "Max duration limit exceeded"
    }  # fmt: skip
    found = ending(workflow)
    assert found.cause == "infrastructure"
    assert found.words == "train-stage-2 failed: Max duration limit exceeded"


def test_a_killed_process_is_known_by_its_journal_alone() -> None:
    killed = argo("main: Error (exit code 1)")  # as recorded, the launcher's own code
    assert ending(killed).cause == "own"
    found = ending(killed, document("done"), document("running"))
    assert found.cause == "infrastructure"
    assert "main: Error (exit code 1)" in found.words


def test_a_step_that_was_cut_off_without_any_word_is_named() -> None:
    assert ending(None, document("running")).words == "step stage-002 ended without a word"


@pytest.mark.parametrize(
    ("code", "error", "cause"),
    [
        (2, "--batch-size is 0", "own"),
        (4, "stored bytes differ", "own"),
        (1, "the loss became NaN", "own"),
        (75, "told to end (SIGTERM)", "infrastructure"),
        (3, "s3://accrete cannot be reached", "infrastructure"),
        (137, "the training process was ended by SIGKILL", "infrastructure"),
        (2, "class 'killed' has no images; 'ended without a word' neither", "own"),
        (1, "photos/OOMKilled, evicted.png is no image", "own"),
    ],
)  # fmt: skip
def test_a_step_that_could_say_why_it_failed_is_believed(code: int, error: str, cause: str) -> None:
    found = ending(argo("main: Error (exit code 1)"), document("failed", error, code))
    assert (found.cause, found.words, found.exit_code) == (cause, error, code)


def test_a_store_that_says_no_would_say_so_again(store_errors: list[StoreError]) -> None:
    for error in store_errors:
        found = ending(None, document("failed", str(error), error.exit_code))
        assert (found.cause, found.exit_code) == ("own", 3), error


@pytest.fixture
def store_errors() -> list[StoreError]:
    """The store's own words for a right that is missing, and for a bucket."""
    settings = StoreSettings(endpoint="http://127.0.0.1:1", access_key="a", secret_key="b")
    said = StoreErrors(settings, parse_store_uri("s3://accrete/runs"), lambda: (), None)
    return [said.no_access("key", "s3:PutObject"), said.bucket_missing()]


def test_one_step_s_own_fault_outweighs_what_others_were_lost_of() -> None:
    documents = document("running"), document("failed", "diverged", 1), document("failed", "x", 75)
    assert ending(argo("OOMKilled (exit code 137)"), *documents).words == "diverged"


@pytest.mark.parametrize(
    "message",
    [
        "Pod was active on the node longer than the specified deadline",
        "Step exceeded its deadline",
    ],
)
def test_a_step_that_took_too_long_would_do_so_again(message: str) -> None:
    assert ending(argo(message), document("failed", "told to end", 75)).cause == "own"


@pytest.mark.parametrize(
    "message",
    [
        "ImagePullBackOff: Back-off pulling image",
        'CreateContainerConfigError: secret "accrete-store" not found',
        "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        'pods "x" is forbidden: failed quota: gpus: must specify limits.cpu for: wait',
        'pods "x" is forbidden: violates PodSecurity "restricted:latest"',
        "main: Error (exit code 1)",
    ],
)
def test_what_another_try_would_meet_again_is_the_run_s_own(message: str) -> None:
    assert ending(argo(message)).cause == "own"


def test_kubeflow_s_own_driver_is_no_fault_of_the_run() -> None:
    assert ending(argo("main: Error (exit code 1)", name=DRIVER)).cause == "infrastructure"


def test_a_terminated_run_is_nobody_s_fault_though_kubeflow_says_failed() -> None:
    workflow = argo("Step exceeded its deadline")
    workflow["spec"]["activeDeadlineSeconds"] = 0  # as recorded
    assert ending(workflow, document("running")).cause == "canceled"
    history = [{"state": each} for each in ("RUNNING", "CANCELING", "FAILED")]
    assert ending(None, document("running"), state_history=history).cause == "canceled"
    assert ending(None, state="CANCELED").cause == "canceled"


def test_a_run_that_was_begun_anew_after_it_was_terminated_is_judged_anew() -> None:
    states = ("RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED")
    history = [{"state": each} for each in states]
    assert ending(argo("pod deleted"), state_history=history).cause == "infrastructure"


def pod(status: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "run-x7-1",
            "annotations": {"workflows.argoproj.io/node-name": f"{TRAIN}(0)"},
        },
        "spec": {"nodeName": "worker-1", "containers": [{"name": "main"}]},
        "status": status,
    }


def terminated(reason: str, code: int) -> dict[str, Any]:
    state = {"terminated": {"reason": reason, "exitCode": code}}
    return {"phase": "Failed", "containerStatuses": [{"name": "main", "state": state}]}


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (terminated("Unknown", 255), "infrastructure"),  # its node restarted
        (terminated("OOMKilled", 137), "infrastructure"),
        (terminated("Error", 143), "infrastructure"),
        (terminated("Error", 1), "own"),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "infrastructure"),
        ({"phase": "Failed", "reason": "NodeLost", "message": "x"}, "infrastructure"),
        ({"phase": "Failed", "reason": "Terminated", "message": "node shutdown"}, "infrastructure"),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError"}, "infrastructure"),
        (
            {"phase": "Failed", "reason": "DeadlineExceeded", "message": "longer than specified"},
            "own",
        ),
        (
            {
                "phase": "Failed",
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "preempting to accommodate a higher priority pod",
                    }
                ],
            },
            "infrastructure",
        ),
    ],
)
def test_pods_tell_what_they_were_lost_of(status: dict[str, Any], cause: str) -> None:
    run = run_of({"run_id": "1", "state": "FAILED"})
    found = ending_of(run, (), waiting_of([pod(status)], [], None))
    assert found.cause == cause, found


def test_a_run_that_succeeded_ended_for_nothing() -> None:
    assert ending(argo("pod deleted"), document("done"), state="SUCCEEDED").cause == "none"
