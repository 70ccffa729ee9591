"""What a task asks of the cluster, from a Placement: a PodRequest, in KFP's calls."""

from collections import defaultdict

from kfp import dsl, kubernetes

from accrete.config.placement import Placement
from accrete.config.pod import Object, PodRequest, step_pod, training_pod, waiting_pod

_MOST_DOUBLED = 5
"""Pauses that double, from 30 s: the fifth has 8 minutes."""
_LONGEST_WINDOW_S = 100 * 365 * 24 * 3600
"""Argo keeps a duration as nanoseconds in 64 bits: 292 years."""


def pipeline_config(placement: Placement) -> dsl.PipelineConfig:
    """Return what holds for a run as a whole.

    A stock Kubeflow has a default for each of the three: what is said for success or failure goes
    before what is said for both, so that one alone would have no effect.
    """
    return dsl.PipelineConfig(
        ttl_seconds_after_finished=placement.ttl_s,
        ttl_seconds_after_success=placement.ttl_s,
        ttl_seconds_after_failure=placement.ttl_s,
    )


def place_task(task: dsl.PipelineTask, placement: Placement) -> dsl.PipelineTask:
    """Set what every step needs: image, store access, retries, CPU and memory where asked for."""
    return _place(task, placement, step_pod(placement))


def place_training(task: dsl.PipelineTask, placement: Placement, stages: range) -> dsl.PipelineTask:
    """Set what a training step needs beside that: nodes, GPUs, CPU, memory, node cache."""
    return _place(task, placement, training_pod(placement, stages))


def place_waiting(task: dsl.PipelineTask, placement: Placement, stages: range) -> dsl.PipelineTask:
    """Set what a step needs that waits for TrainJobs: who it is, so that they end with it."""
    return _place(task, placement, waiting_pod(placement, stages))


def _place(task: dsl.PipelineTask, placement: Placement, pod: PodRequest) -> dsl.PipelineTask:
    task.set_container_image(pod.image)
    task.set_caching_options(False)  # the object store is the cache: KFP's cannot see into it
    _set_retries(task, placement.retries, pod.active_deadline_seconds)
    if pod.image_pull_policy:
        kubernetes.set_image_pull_policy(task, pod.image_pull_policy)
    if pod.image_pull_secrets:
        names = [each["name"] for each in pod.image_pull_secrets]
        kubernetes.set_image_pull_secrets(task, names)
    kubernetes.set_security_context(
        task,
        run_as_user=pod.security_context["runAsUser"],
        run_as_group=pod.security_context["runAsGroup"],
        run_as_non_root=pod.security_context["runAsNonRoot"],
    )
    for key, value in pod.labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in pod.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
    _set_env(task, pod)
    for path, volume in pod.volumes.items():
        _mount(task, path, volume)
    _set_resources(task, pod)
    _set_node(task, pod)
    kubernetes.set_timeout(task, pod.active_deadline_seconds)
    return task


def _set_retries(task: dsl.PipelineTask, retries: int, attempt_s: int) -> None:
    """Have lost pods replaced, for as long as all attempts may take.

    Argo counts the window from the first attempt's start, not from its failure: a shorter one gives
    up on a pod that was lost late ("Max duration limit exceeded"). kfp's own default is an hour.

    Args:
        task: to be tried again.
        retries: so many times at most; 0: Kubeflow's own default holds.
        attempt_s: seconds that one attempt may take.
    """
    if not retries:
        return
    # A factor must be whole (Argo), and many doublings come to days: many tries are evenly spaced.
    is_doubled = retries <= _MOST_DOUBLED
    pause_s, factor = (30, 2) if is_doubled else (120, 1)
    pauses_s = sum(pause_s * factor**number for number in range(retries))
    window_s = min((retries + 1) * attempt_s + pauses_s, _LONGEST_WINDOW_S)
    task.set_retry(
        num_retries=retries,
        backoff_duration=f"{pause_s}s",
        backoff_factor=float(factor),
        backoff_max_duration=f"{window_s}s",
    )


def _set_env(task: dsl.PipelineTask, pod: PodRequest) -> None:
    """Set the variables; KFP takes those of one source together, optional ones apart."""
    config_maps: defaultdict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    secrets: defaultdict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    for variable in pod.env:
        match variable:
            case {"name": name, "value": value}:
                task.set_env_variable(name, value)
            case {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}:
                kubernetes.use_field_path_as_env(task, name, path)
            case {"name": name, "valueFrom": {"configMapKeyRef": ref}}:
                config_maps[ref["name"], ref.get("optional", False)][ref["key"]] = name
            case {"name": name, "valueFrom": {"secretKeyRef": ref}}:
                secrets[ref["name"], ref.get("optional", False)][ref["key"]] = name
            case _:
                raise AssertionError(f"KFP is not told of {variable}")
    for (source, optional), keys in config_maps.items():
        kubernetes.use_config_map_as_env(task, source, keys, optional)
    for (source, optional), keys in secrets.items():
        kubernetes.use_secret_as_env(task, source, keys, optional)


def _mount(task: dsl.PipelineTask, path: str, volume: Object) -> None:
    """Mount a volume; KFP names those itself that are a ConfigMap or a claim."""
    match volume:
        case {"configMap": {"name": name}}:
            kubernetes.use_config_map_as_volume(task, name, path)
        case {"persistentVolumeClaim": {"claimName": name}}:
            kubernetes.mount_pvc(task, name, path)
        case {"name": name, "emptyDir": {"medium": medium, "sizeLimit": size}}:
            kubernetes.empty_dir_mount(task, name, path, medium, size)
        case _:
            raise AssertionError(f"KFP is not told of {volume}")


def _set_resources(task: dsl.PipelineTask, pod: PodRequest) -> None:
    for resource, amount in pod.resources.items():
        match resource:
            case "cpu":
                task.set_cpu_request(amount).set_cpu_limit(amount)
            case "memory":
                task.set_memory_request(amount).set_memory_limit(amount)
            case _:
                task.set_accelerator_type(resource).set_accelerator_limit(amount)


def _set_node(task: dsl.PipelineTask, pod: PodRequest) -> None:
    """Say which nodes will do."""
    for key, value in pod.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in pod.tolerations:
        kubernetes.add_toleration(task, **toleration)
    if pod.node_requirements:
        kubernetes.add_node_affinity(task, list(pod.node_requirements))
