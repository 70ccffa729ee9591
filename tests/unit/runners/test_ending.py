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


LOW = (
    "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container "
    "main was using 5Gi, request is 0, has larger consumption of memory. "
)
OF_KUBELET = [
    ("Evicted", LOW),
    ("Evicted", "The node had condition: [DiskPressure]. "),
    ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "),
    ("Evicted", 'Container main exceeded its local ephemeral storage limit "1Gi". '),
    ("Evicted", 'Usage of EmptyDir volume "shm" exceeds the limit "2Gi". '),
    ("Evicted", "Pod was evicted"),
    ("NodeShutdown", "Pod was rejected as the node is shutting down."),
    ("NodeShutdown", "Pod was rejected: Pod was rejected as the node is shutting down."),
    ("NodeShutdown", "Pod Pod was rejected as the node is shutting down."),
    ("Terminated", "Pod was terminated in response to imminent node shutdown."),
    ("NodeLost", "Node worker-1 which was running pod run-x7-1 is unresponsive"),
    ("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu, requested: 4000"),
    ("OutOfpods", "Pod Node didn't have enough resource: pods, requested: 1, used: 110"),
    ("OutOfephemeral-storage", "Node didn't have enough resource: ephemeral-storage, requested: 2"),
    (
        "OutOfnvidia.com/gpu",
        "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1",
    ),
    ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match"),
    (
        "UnexpectedAdmissionError",
        "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate "
        "unhealthy devices nvidia.com/gpu, which is unexpected",
    ),
    ("Preempting", "Preempted in order to admit critical pod"),
    ("TopologyAffinityError", "Resources cannot be allocated with Topology locality"),
]
"""Reasons and messages of pods that failed: kubelet's eviction, shutdown and admission of pods."""


@pytest.mark.parametrize(("reason", "message"), OF_KUBELET)
def test_a_pod_that_its_node_took_is_the_infrastructure_s_by_pods_and_by_argo(
    reason: str, message: str
) -> None:
    run = run_of({"run_id": "1", "state": "FAILED"})
    status = {"phase": "Failed", "reason": reason, "message": message}
    by_pods = ending_of(run, (), waiting_of([pod(status)], [], None))
    by_argo = ending(argo(message))  # which hands on the message alone
    assert (by_pods.cause, by_argo.cause) == ("infrastructure", "infrastructure")
    assert message[:30] in by_argo.words


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("SysctlForbidden", "Pod was rejected: forbidden sysctl: kernel.msgmax not allowlisted"),
        ("AppArmor", "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled"),
        ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline"),
    ],
)
def test_what_a_node_would_refuse_again_is_the_run_s_own(reason: str, message: str) -> None:
    run = run_of({"run_id": "1", "state": "FAILED"})
    status = {"phase": "Failed", "reason": reason, "message": message}
    assert ending_of(run, (), waiting_of([pod(status)], [], None)).cause == "own"
    assert ending(argo(message)).cause == "own"


@pytest.mark.parametrize(
    "message",
    [
        "OOMKilled (exit code 137): main",
        "Unknown (exit code 255)",
        "main: Unknown (exit code 255)",
        "pod deleted",
        "main: Error (exit code 137)",
        "pod deleted during operation",
        "pod failed: neither main nor wait container completed successfully",
        "Pod failed before main container starts due to PodInitializing: ",
        "can't find failed message for pod run-x7-1 namespace kubeflow",
        "Taint manager: deleting due to NoExecute taint",
        "wait: Error (exit code 64): failed to put: dial tcp 10.0.0.1:9000: i/o timeout",
        'pods "run-x7" is forbidden: exceeded quota: gpus, requested: cpu=8, used: cpu=8',
        'Internal error occurred: failed calling webhook "pod-policy": connection refused',
        'Post "https://10.96.0.1:443/api/v1/namespaces/kubeflow/pods": context deadline exceeded',
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        "client rate limiter Wait returned an error: context deadline exceeded",
        "Timeout: request did not complete within requested timeout - context deadline exceeded",
        'Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
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
        "Pod failed before main container starts due to ErrImagePull: connection refused",
        'admission webhook "a.b" denied the request: preemptionPolicy must be Never; evicted',
        'admission webhook "a.b" denied the request: connection refused by policy',
        'pods "x" is forbidden: unable to validate against any security context constraint in '
        'namespace "eviction-lab"',
        'Pod "x" is invalid: spec.priorityClassName: preemptible is not allowed',
        'pods "x" is forbidden: maximum nvidia.com/gpu usage per Container is 4, but limit is 8',
        'pods "x" is forbidden: exceeded quota: gpus, requested: limits.nvidia.com/gpu=16, used: '
        "limits.nvidia.com/gpu=0, limited: limits.nvidia.com/gpu=8",
        "main: Error (exit code 1)",
        "main: Error (exit code 1): Evicted/exit code 137.png: connection refused",
    ],
)
def test_what_another_try_would_meet_again_is_the_run_s_own(message: str) -> None:
    assert ending(argo(message)).cause == "own"


@pytest.mark.parametrize(
    "message",
    [
        "ImagePullBackOff: Back-off pulling image",
        'pods "x" is forbidden: violates PodSecurity "restricted:latest"',
    ],
)
@pytest.mark.parametrize("said", [("running", "", 0), ("failed", "told to end", 75)])
def test_what_lasts_outweighs_what_an_attempt_before_was_lost_of(
    message: str, said: tuple[StepState, str, int]
) -> None:
    found = ending(argo(message, "Error"), document(*said))
    assert found.cause == "own"
    assert message in found.words


def test_a_step_that_lost_its_node_and_finds_no_other_now_is_the_infrastructure_s() -> None:
    nodes = argo("Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    assert ending(nodes).cause == "own"
    assert ending(nodes, document("running")).cause == "infrastructure"


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
