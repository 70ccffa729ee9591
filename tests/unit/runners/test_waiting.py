"""Why a step waits, from objects as Kubernetes and Argo have them."""

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accrete.runners.kubeflow._argo import has_nodes, step_of
from accrete.runners.kubeflow.waiting import Sayings, Waiting, waiting_of

Object = dict[str, Any]
TRAIN = "run-x7(0).root(0).train-stage-2(0).executor(0)"
DRIVER = "run-x7(0).root(0).prepare-driver(0)"
IMAGE = "registry.example.com/accrete-trainer:0.1.0"


def pod(status: Object, node: str = TRAIN, **metadata: Any) -> Object:
    return {
        "metadata": {
            "name": "run-x7-1",
            "creationTimestamp": "2026-11-27T10:00:00Z",
            "annotations": {"workflows.argoproj.io/node-name": node},
            **metadata,
        },
        "spec": {
            "nodeName": "worker-1",
            "containers": [{"name": "main", "resources": {"limits": {"memory": "300M"}}}],
        },
        "status": status,
    }


def event(reason: str, message: str, at: str = "10:01", kind: str = "Warning") -> Object:
    return {
        "involvedObject": {"name": "run-x7-1"},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": f"2026-11-27T{at}:00Z",
    }


def pending(*statuses: Object, **status: Any) -> Object:
    return {"phase": "Pending", "containerStatuses": list(statuses), **status}


def waits(reason: str, message: str | None = None, name: str = "main") -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": name, "image": IMAGE, "state": state}


def ended(reason: str, code: int, state: str = "state", **more: Any) -> Object:
    return {"name": "main", state: {"terminated": {"reason": reason, "exitCode": code, **more}}}


def only(pods: list[Object], events: list[Object] | None = None) -> Waiting:
    (found,) = waiting_of(pods, events or [], None)
    return found


UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2 nodes",
    }],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", 'failed to pull image "…": not found'),
        ("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'),
        ("InvalidImageName", "couldn't parse image name"),
        (
            "ErrImageNeverPull",
            f'Container image "{IMAGE}" is not present with pull policy of Never',
        ),
        ("ImageInspectError", "Failed to inspect image"),
        ("RegistryUnavailable", "registry is unavailable"),
        ("SignatureValidationFailed", "image signature"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_named(reason: str, message: str) -> None:
    found = only([pod(pending(waits(reason, message)))])
    assert found.kind == "image"
    assert found.line.startswith(
        f"train-stage-2 waits for its image {IMAGE}, which cannot be pulled: {reason}"
    )
    assert message in found.line
    assert "--pull-secret" in found.line


def test_an_image_s_cause_and_its_missing_secret_come_from_events() -> None:
    events = [
        event("Failed", f'Failed to pull image "{IMAGE}": 401 Unauthorized', "10:02"),
        event("Failed", "Error: ImagePullBackOff", "10:03"),
        event(
            "FailedToRetrieveImagePullSecret",
            "Unable to retrieve some image pull secrets (regcred)",
            "10:01",
        ),
    ]
    found = only([pod(pending(waits("ImagePullBackOff", "Back-off pulling image")))], events)
    assert "401 Unauthorized" in found.line
    assert "image pull secrets (regcred)" in found.line


def test_an_init_container_s_image_counts_too() -> None:
    status = {"phase": "Pending", "initContainerStatuses": [waits("ErrImagePull", "x", "init")]}
    assert only([pod(status)]).kind == "image"


def test_an_image_between_two_tries_is_one_thing_to_say() -> None:
    said = Sayings()
    (first,) = said.fresh([only([pod(pending(waits("ErrImagePull", "not found")))])])
    again = only([pod(pending(waits("ImagePullBackOff", "Back-off pulling")))])
    assert said.fresh([again]) == []
    assert "not found" in first


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ('secret "accrete-store" not found', "create the secret accrete-store"),
        ('configmap "accrete-store" not found', "create the configmap accrete-store"),
        ("couldn't find key access-key in Secret kubeflow/accrete-store", "access-key"),
    ],
)
def test_what_a_container_lacks_is_named(message: str, hint: str) -> None:
    found = only([pod(pending(waits("CreateContainerConfigError", message)))])
    assert found.kind == "config"
    assert f"cannot start: CreateContainerConfigError: {message}" in found.line
    assert hint in found.line


def test_a_pod_without_a_node_says_the_scheduler_s_words() -> None:
    found = only([pod(UNSCHEDULABLE)])
    assert found.kind == "node"
    assert "Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu" in found.line
    assert "--gpus" in found.line


@pytest.mark.parametrize(
    "message",
    [
        "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        'persistentvolumeclaim "accrete-cache" not found',
    ],
)
def test_a_claim_that_is_not_bound_is_a_volume_s_matter(message: str) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    found = only([pod({"phase": "Pending", "conditions": [condition | {"message": message}]})])
    assert found.kind == "volume"
    assert "--cache-claim" in found.line


def test_a_scheduler_that_only_speaks_in_events_is_heard() -> None:
    events = [event("FailedScheduling", "0/3 nodes are available: 3 node(s) had taints")]
    assert only([pod({"phase": "Pending"})], events).kind == "node"
    scheduled = [*events, event("Scheduled", "assigned to worker-1", "10:05", "Normal")]
    assert waiting_of([pod({"phase": "Pending"})], scheduled, None) == []


@pytest.mark.parametrize(
    ("reason", "message", "kind"),
    [
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "ca": configmap "x" not found',
            "volume",
        ),
        ("FailedAttachVolume", "Multi-Attach error for volume", "volume"),
        ("FailedCreatePodSandBox", "Failed to create pod sandbox: no IP addresses", "start"),
    ],
)
def test_a_container_that_is_not_made_says_the_newest_warning(
    reason: str, message: str, kind: str
) -> None:
    status = pending(waits("ContainerCreating"))
    found = only([pod(status)], [event(reason, message)])
    assert found.kind == kind
    assert f"{reason}: {message}" in found.line


def test_a_pull_that_takes_its_time_is_said() -> None:
    events = [event("Pulling", f'Pulling image "{IMAGE}"', kind="Normal")]
    found = only([pod(pending(waits("ContainerCreating")))], events)
    assert found.line == f'train-stage-2 fetches its image: Pulling image "{IMAGE}"'
    pulled = [*events, event("Pulled", "Successfully pulled", "10:02", "Normal")]
    assert waiting_of([pod(pending(waits("ContainerCreating")))], pulled, None) == []


@pytest.mark.parametrize("state", ["state", "lastState"])
def test_a_step_killed_for_its_memory_says_how_much_it_had(state: str) -> None:
    found = only([pod({"phase": "Running", "containerStatuses": [ended("OOMKilled", 137, state)]})])
    assert found.kind == "memory"
    assert "OOMKilled" in found.line
    assert "all of 300M" in found.line
    assert "--memory" in found.line


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Evicted", "The node was low on resource: ephemeral-storage."),
        ("Terminated", "Pod was terminated in response to imminent node shutdown."),
        ("Preempting", "Preempted in order to admit critical pod"),
        ("UnexpectedAdmissionError", "Allocate failed due to requested number of devices"),
        ("OutOfnvidia.com/gpu", "Node didn't have enough resource"),
    ],
)
def test_a_pod_that_its_node_gave_up_says_why(reason: str, message: str) -> None:
    found = only([pod({"phase": "Failed", "reason": reason, "message": message})])
    assert found.kind == "lost"
    assert f"lost its pod: {reason}: {message.rstrip('.')}" in found.line


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority"),
        ("EvictionByEvictionAPI", "Eviction API: evicting"),
        ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
        ("TerminationByKubelet", "Pod was terminated in response to imminent node shutdown."),
    ],
)
def test_a_disruption_is_said_while_the_pod_still_runs(reason: str, message: str) -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    found = only([pod({"phase": "Running", "conditions": [condition]})])
    assert f"loses its pod (node worker-1): {reason}: {message.rstrip('.')}" in found.line


def test_a_node_that_is_lost_is_named_until_the_pod_is_ready_again() -> None:
    events = [
        event("Started", "Started container main", "10:00", "Normal"),
        event("NodeNotReady", "Node is not ready", "10:09"),
    ]
    away = [{"type": "Ready", "status": "False"}]
    found = only([pod({"phase": "Running", "conditions": away})], events)
    assert found.line == (
        "train-stage-2 has a pod whose node is lost, or takes it away (node worker-1): "
        "NodeNotReady: Node is not ready"
    )
    back = [{"type": "Ready", "status": "True"}]
    assert waiting_of([pod({"phase": "Running", "conditions": back})], events, None) == []


@pytest.mark.parametrize(
    "status", [{"phase": "Running", "reason": "NodeLost"}, {"phase": "Unknown"}]
)
def test_a_pod_of_a_lost_node_is_lost(status: Object) -> None:
    assert "on a node that is lost (node worker-1)" in only([pod(status)]).line


def test_a_pod_that_is_being_deleted_says_so() -> None:
    being = pod({"phase": "Running"}, deletionTimestamp="2026-11-27T10:10:00Z")
    assert "is being deleted (node worker-1) since 2026-11-27T10:10:00Z" in only([being]).line


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Running"},
        {"phase": "Succeeded", "containerStatuses": [ended("Completed", 0)]},
        pending(waits("ContainerCreating")),
        pending(waits("PodInitializing")),
        {"phase": "Pending"},
        {},
        {"phase": None, "conditions": None, "containerStatuses": "x"},
        {"phase": "Pending", "conditions": ["x"], "containerStatuses": [None, 1, {}]},
    ],
)
def test_what_works_or_has_just_begun_has_nothing_to_say(status: Object) -> None:
    assert waiting_of([pod(status)], [], None) == []


def test_a_pod_that_nobody_says_anything_about_is_said_after_a_minute() -> None:
    quiet = [pod(pending(waits("ContainerCreating")))]
    soon = datetime(2026, 11, 27, 10, 0, 30, tzinfo=UTC)
    assert waiting_of(quiet, [], None, soon) == []
    (late,) = waiting_of(quiet, [], None, soon + timedelta(minutes=1))
    assert late.line == (
        "train-stage-2 has a pod that does not start since 2026-11-27T10:00:00Z (node worker-1)"
    )
    (later,) = waiting_of(quiet, [], None, soon + timedelta(hours=1))
    assert later.key == late.key


def test_an_evicted_pod_says_what_the_node_lacked_not_its_event() -> None:
    words = "The node was low on resource: memory."
    evicted = pod({"phase": "Failed", "reason": "Evicted", "message": words})
    found = only([evicted], [event("Evicted", words)])
    assert found.line == f"train-stage-2 lost its pod: Evicted: {words.rstrip('.')}"


def test_the_newest_pod_of_a_step_counts() -> None:
    failed = pod({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    again = pod({"phase": "Running"}, creationTimestamp="2026-11-27T10:30:00Z", name="run-x7-2")
    assert waiting_of([again, failed], [], None) == []


@pytest.mark.parametrize(
    ("node", "step"),
    [
        (TRAIN, "train-stage-2"),
        (DRIVER, "the driver of prepare"),
        ("run-x7(0).root-driver(0)", "the driver of the run"),
        ("run-x7(0).root(0).prepare(0).executor(1)", "prepare"),
        ("run-x7", "run-x7"),
    ],
)
def test_a_node_s_name_tells_the_step(node: str, step: str) -> None:
    assert step_of(node) == step


def test_a_driver_that_waits_is_named() -> None:
    assert only([pod(UNSCHEDULABLE, DRIVER)]).line.startswith("the driver of prepare waits for a")


def node(message: str | None, phase: str = "Pending", name: str = TRAIN, at: str = "1") -> Object:
    return {"type": "Pod", "name": name, "phase": phase, "message": message, "startedAt": at}


def workflow(*nodes: Object) -> Object:
    return {"status": {"nodes": {f"run-x7-{i}": each for i, each in enumerate(nodes)}}}


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu.", "node"),
        (f'ImagePullBackOff: Back-off pulling image "{IMAGE}"', "image"),
        ("ErrImagePull: rpc error: not found", "image"),
        ('CreateContainerConfigError: secret "accrete-store" not found', "config"),
        (
            'pods "run-x7" is forbidden: exceeded quota: gpus, requested: cpu=8, used: cpu=0',
            "quota",
        ),
        ("pods is forbidden: failed quota: q: must specify limits.cpu for: main", "refused"),
        ('pods "run-x7" is forbidden: maximum memory usage per Container is 1Gi', "refused"),
        ('pods "run-x7" is forbidden: violates PodSecurity "restricted:latest"', "refused"),
        ('admission webhook "policy.example.com" denied the request: no', "refused"),
    ],
)
def test_argo_s_words_are_heard_where_no_pod_is(message: str, kind: str) -> None:
    (found,) = waiting_of([], [], workflow(node(message)))
    assert (found.step, found.kind) == ("train-stage-2", kind)
    assert message.rstrip(".") in found.line


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("OOMKilled (exit code 137)", "memory"),
        ("main: Error (exit code 1)", "failed"),
        ("main: Error (exit code 1): the node was low on resource; Evicted", "failed"),
        ("main: Unknown (exit code 255)", "lost"),
        ("pod deleted", "lost"),
    ],
)
def test_a_failed_node_says_what_argo_says(message: str, kind: str) -> None:
    (found,) = waiting_of([], [], workflow(node(message, "Failed")))
    assert found.kind == kind


@pytest.mark.parametrize(
    "each",
    [
        node("PodInitializing"),
        node("ContainerCreating"),
        node(None),
        node("Unschedulable: 0/2", "Succeeded"),
        {"type": "Retry", "name": TRAIN, "phase": "Pending", "message": "Unschedulable: x"},
    ],
)
def test_a_node_that_is_no_news_is_passed_over(each: Object) -> None:
    assert waiting_of([], [], workflow(each)) == []


def test_a_pod_knows_better_than_its_node() -> None:
    running = pod({"phase": "Running"})
    assert waiting_of([running], [], workflow(node("Unschedulable: 0/2 nodes"))) == []


def test_quota_counts_beside_the_pod_of_the_attempt_before() -> None:
    failed = pod({"phase": "Failed", "reason": "Evicted"})
    (found,) = waiting_of([failed], [], workflow(node("forbidden: exceeded quota: gpus")))
    assert found.kind == "quota"


def test_only_the_newest_attempt_of_a_node_counts() -> None:
    nodes = workflow(node("OOMKilled (exit code 137)", "Failed", at="1"), node(None, at="2"))
    assert waiting_of([], [], nodes) == []


def test_compressed_nodes_are_read() -> None:
    nodes = workflow(node("Unschedulable: 0/2 nodes"))["status"]["nodes"]
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    (found,) = waiting_of([], [], {"status": {"compressedNodes": packed}})
    assert found.kind == "node"


@pytest.mark.parametrize("packed", ["x", "####", base64.b64encode(b"no gzip").decode(), "W10="])
def test_nodes_that_cannot_be_read_say_nothing(packed: str) -> None:
    assert waiting_of([], [], {"status": {"compressedNodes": packed}}) == []


@pytest.mark.parametrize("value", [{}, {"status": None}, {"status": {"nodes": [1]}}])
def test_a_workflow_of_another_form_says_nothing(value: Object) -> None:
    assert waiting_of([], [], value) == []


def test_a_workflow_that_argo_has_not_begun_tells_nothing() -> None:
    assert not has_nodes(None)
    assert not has_nodes({"metadata": {}, "status": {}})
    assert has_nodes(workflow(node(None)))


def test_counts_of_nodes_and_what_comes_of_preemption_are_no_news() -> None:
    said = Sayings()
    first = "0/3 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/3 nodes"
    assert len(said.fresh(waiting_of([], [], workflow(node(f"Unschedulable: {first}"))))) == 1
    for more in ("0/4 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: none",
                 "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."):  # fmt: skip
        assert said.fresh(waiting_of([], [], workflow(node(f"Unschedulable: {more}")))) == []


@pytest.mark.parametrize(
    ("message", "kind", "hint"),
    [
        ("0/2 nodes are available: 2 node(s) had volume node affinity conflict.", "volume",
         "waits for a node that can reach its volume"),
        ("Scheduling is blocked due to non-empty scheduling gates", "node", "kubectl get workload"),
    ],
)  # fmt: skip
def test_a_volume_s_place_and_a_gate_have_words_of_their_own(
    message: str, kind: str, hint: str
) -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "x", "message": message}
    found = only([pod({"phase": "Pending", "conditions": [condition]})])
    assert found.kind == kind
    assert hint in found.line


def test_a_volume_of_a_secret_that_is_not_there_says_what_to_create() -> None:
    words = 'MountVolume.SetUp failed for volume "accrete-store" : secret "accrete-store" not found'
    found = only([pod(pending(waits("ContainerCreating")))], [event("FailedMount", words)])
    assert found.kind == "volume"
    assert "create the secret accrete-store" in found.line


@pytest.mark.parametrize("name", ["kfp-launcher", "wait", "istio-proxy"])
def test_any_container_that_failed_is_named_with_its_words(name: str) -> None:
    failed = ended("Error", 64, message="failed to put file: Access Denied") | {"name": name}
    fine = ended("Completed", 0)
    found = only([pod({"phase": "Failed", "containerStatuses": [fine, failed]})])
    words = f"(container {name}, exit code 64: Error: failed to put file: Access Denied)"
    assert found.line.endswith(words)


def test_the_step_s_own_failure_comes_before_that_of_what_is_beside_it() -> None:
    killed = ended("Error", 137) | {"name": "istio-proxy"}
    found = only([pod({"phase": "Failed", "containerStatuses": [killed, ended("Error", 1)]})])
    assert found.words == "has a pod that failed (exit code 1: Error)"


@pytest.mark.parametrize("statuses", [[], [ended("Error", 64) | {"name": "wait"}]])
def test_argo_is_heard_where_a_pod_failed_without_a_word(statuses: list[Object]) -> None:
    failed = pod({"phase": "Failed", "containerStatuses": statuses})
    argo = workflow(node("wait: failed to put file: Access Denied", "Error"))
    (found,) = waiting_of([failed], [], argo)
    assert found.words == "has a pod that failed: wait: failed to put file: Access Denied"


def test_a_pod_s_own_message_is_kept_before_argo_s() -> None:
    failed = pod({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})
    (found,) = waiting_of([failed], [], workflow(node("Error (exit code 137)", "Failed")))
    assert "low on memory" in found.line


@pytest.mark.parametrize(
    ("message", "begin", "hint"),
    [
        ('pods "x" is forbidden: failed quota: q: must specify limits.cpu for: main,wait',
         "gets no pod", "--prepare-cpu and --prepare-memory for prepare and report"),
        ('pods "x" is forbidden: exceeded quota: q, requested: cpu=8', "waits for quota",
         "or have the quota raised"),
        ('pods "x" is forbidden: exceeded quota: q, requested: limits.cpu=8, used: limits.cpu=0, '
         "limited: limits.cpu=7900m", "gets no pod", "more than the whole quota"),
        ('pods "x" is forbidden: exceeded quota: q, requested: cpu=8,memory=2Gi, used: cpu=4,'
         "memory=0, limited: cpu=8,memory=2048Mi", "waits for quota", "ask for less"),
        ('Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
         "has no pod yet", "that passes by itself"),
    ],
)  # fmt: skip
def test_what_a_quota_wants_is_what_is_advised(message: str, begin: str, hint: str) -> None:
    (found,) = waiting_of([], [], workflow(node(message)))
    assert found.words.startswith(f"{begin}: {message}")
    assert hint in found.words


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('Pod "x" is invalid: spec.containers[0].resources.requests: Invalid value: "8"',
         "refused"),
        ('Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
         "away"),
        ('Internal error occurred: failed calling webhook "sidecar.istio.io": deadline exceeded',
         "away"),
    ],
)  # fmt: skip
def test_a_pod_that_never_was_is_not_said_to_have_failed(message: str, kind: str) -> None:
    (found,) = waiting_of([], [], workflow(node(message, "Error")))
    assert (found.kind, found.words) == (kind, f"gets no pod: {message}")


def test_a_node_that_argo_lets_wait_waits() -> None:
    (found,) = waiting_of([], [], workflow(node("Waiting for default/Mutex/m lock")))
    assert found.words == "waits: Waiting for default/Mutex/m lock"


def test_events_of_an_earlier_pod_of_the_same_name_do_not_count() -> None:
    old, new = (event("FailedMount", f"{which} failure") for which in ("old", "new"))
    old["involvedObject"]["uid"], new["involvedObject"]["uid"] = "1", "2"
    starting = pod(pending(waits("ContainerCreating")), uid="2")
    assert waiting_of([starting], [old], None) == []
    assert "new failure" in only([starting], [old, new]).line


@pytest.mark.parametrize(
    ("phase", "message", "line"),
    [
        ("Pending", "Workflow processing has been postponed because too many workflows are already "
         "running", "the run waits: Workflow processing has been postponed"),
        ("", "Waiting for default/Mutex/m lock. Lock status: 0/1", "the run waits: Waiting for"),
        ("Failed", "invalid spec: templates.root", "the run failed: invalid spec: templates.root"),
    ],
)  # fmt: skip
def test_a_workflow_s_own_message_is_heard(phase: str, message: str, line: str) -> None:
    argo = {"status": {"phase": phase, "message": message}}
    assert has_nodes(argo)
    assert only_of(argo).line.startswith(line)


def only_of(argo: Object) -> Waiting:
    (found,) = waiting_of([], [], argo)
    return found


def test_a_part_that_failed_is_named_once_and_not_all_that_is_around_it() -> None:
    words = 'pods "x" is forbidden: error looking up service account: "pipeline-runner" not found'
    names = ("run-x7", "run-x7(0)", "run-x7(0).root", "run-x7(0).root(0).prepare")
    argo = workflow(*(
        {"type": "DAG" if name.endswith(")") else "Retry", "name": name, "phase": "Error",
         "message": words} for name in names
    ))  # fmt: skip
    assert only_of(argo).line == f"prepare failed: {words}"


def test_a_step_that_was_stopped_is_not_said_to_have_failed() -> None:
    whole = {"type": "Retry", "name": "run-x7", "phase": "Failed",
             "message": "retry exceeded workflow deadline 2026-11-27 01:15:37"}  # fmt: skip
    argo = workflow(whole, node("Step exceeded its deadline", "Failed"))
    assert only_of(argo).line == "train-stage-2 was stopped: Step exceeded its deadline"


@pytest.mark.parametrize("message", ["child 'run-x7-1' failed", "No more retries left"])
def test_what_only_says_that_a_part_failed_is_passed_over(message: str) -> None:
    whole = {"type": "Retry", "name": "run-x7", "phase": "Failed", "message": message}
    assert waiting_of([], [], workflow(whole)) == []


def test_words_of_others_stay_one_line_and_bounded() -> None:
    condition = UNSCHEDULABLE["conditions"][0] | {"message": "a\nb\x1b[2J" + "x" * 5000}
    found = only([pod({"phase": "Pending", "conditions": [condition]})])
    assert found.line.isprintable()
    assert len(found.line) < 700


def test_each_thing_is_said_once_and_again_when_it_changes() -> None:
    said, gpus = Sayings(), Waiting("a", "node", "waits: 0/2 nodes")
    assert said.fresh([gpus]) == ["a waits: 0/2 nodes"]
    assert said.fresh([gpus]) == []
    assert said.fresh([Waiting("a", "node", "waits: 0/3 nodes")]) == []
    assert said.fresh([Waiting("a", "node", "waits: taint")]) == ["a waits: taint"]
    assert said.fresh([]) == []
    assert said.fresh([gpus]) == ["a waits: 0/2 nodes"]
    assert said.fresh([Waiting("b", "start", "back-off 10s")]) == ["b back-off 10s"]
    assert said.fresh([Waiting("b", "start", "back-off 20s")]) == []
    assert said.fresh([Waiting("b", "start", "back-off 2m40s")]) == []
    assert said.fresh([Waiting("c", "start", "sandbox 0123456789abcdef: x")]) != []
    assert said.fresh([Waiting("c", "start", "sandbox fedcba9876543210: x")]) == []
