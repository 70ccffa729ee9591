"""What a task asks of the cluster, from a Placement."""

from kfp import dsl, kubernetes

from accrete.config.placement import POD_ANNOTATIONS, POD_LABELS, USER_ID, Placement
from accrete.core.environment import (
    ENV_ACCESS_KEY,
    ENV_CA_BUNDLE,
    ENV_ENDPOINT,
    ENV_FETCH_AHEAD,
    ENV_POD_NAME,
    ENV_POD_UID,
    ENV_PUSHGATEWAY,
    ENV_REGION,
    ENV_SECRET_KEY,
)

_CACHE_PATH = "/cache"
"""Where the image keeps its cache (`ACCRETE_CACHE` in images/Dockerfile)."""

_STORE_CA_PATH = "/etc/accrete/store-ca"
"""Where a step finds the CA of the store; `manifests/components/store-ca` has the same."""


_MARGIN_S = 600
"""A step that waits for a TrainJob may outlive it by this: the job's own deadline says more."""


def pipeline_config(placement: Placement) -> dsl.PipelineConfig:
    """Return what holds for a run as a whole."""
    return dsl.PipelineConfig(ttl_seconds_after_finished=placement.ttl_s)


def place_task(task: dsl.PipelineTask, placement: Placement) -> dsl.PipelineTask:
    """Set what every step needs: image, store access, retries. Credentials come as environment."""
    task.set_container_image(placement.image)
    task.set_caching_options(False)  # the object store is the cache: KFP's cannot see into it
    if placement.retries:
        task.set_retry(
            num_retries=placement.retries,
            backoff_duration="30s",
            backoff_factor=2.0,
            backoff_max_duration="600s",
        )
    if placement.pull_policy:
        kubernetes.set_image_pull_policy(task, placement.pull_policy)
    if placement.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(placement.pull_secrets))
    kubernetes.set_security_context(
        task, run_as_user=USER_ID, run_as_group=USER_ID, run_as_non_root=True
    )
    for key, value in POD_LABELS.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in POD_ANNOTATIONS.items():
        kubernetes.add_pod_annotation(task, key, value)
    if placement.pushgateway:
        task.set_env_variable(ENV_PUSHGATEWAY, placement.pushgateway)
    kubernetes.use_config_map_as_env(
        task,
        config_map_name=placement.store_config,
        config_map_key_to_env={"endpoint": ENV_ENDPOINT, "region": ENV_REGION},
    )
    kubernetes.use_secret_as_env(
        task,
        secret_name=placement.store_config,
        secret_key_to_env={"access-key": ENV_ACCESS_KEY, "secret-key": ENV_SECRET_KEY},
    )
    if placement.store_ca:
        kubernetes.use_config_map_as_volume(task, placement.store_ca, _STORE_CA_PATH)
        task.set_env_variable(ENV_CA_BUNDLE, f"{_STORE_CA_PATH}/ca.crt")
    kubernetes.set_timeout(task, placement.timeout_s)
    return task


def place_training(task: dsl.PipelineTask, placement: Placement, stages: range) -> dsl.PipelineTask:
    """Set what a training step needs beside that: nodes, GPUs, CPU, memory, node cache."""
    place_task(task, placement)
    task.set_cpu_request(placement.train_cpu).set_cpu_limit(placement.train_cpu)
    task.set_memory_request(placement.train_memory).set_memory_limit(placement.train_memory)
    for key, value in placement.node_selector:
        kubernetes.add_node_selector(task, key, value)
    for toleration in placement.tolerations:
        kubernetes.add_toleration(
            task,
            key=toleration.key,
            operator="Exists" if toleration.value is None else "Equal",
            value=toleration.value,
            effect=toleration.effect,
        )
    if placement.cache_claim:
        kubernetes.mount_pvc(task, placement.cache_claim, _CACHE_PATH)
        task.set_env_variable(ENV_FETCH_AHEAD, "1")
    gpus = placement.gpus_of(stages)
    if gpus:
        _ask_for_gpus(task, placement, gpus)
    kubernetes.empty_dir_mount(
        task,
        volume_name="dshm",
        mount_path="/dev/shm",  # noqa: S108  where worker processes share tensors
        medium="Memory",
        size_limit=placement.shared_memory,
    )
    return task


def place_waiting(task: dsl.PipelineTask, placement: Placement, stages: range) -> dsl.PipelineTask:
    """Set what a step needs that waits for a TrainJob: who it is, so that the job ends with it."""
    place_task(task, placement)
    of_a_job_s = placement.timeout_s + placement.node_wait_s + _MARGIN_S
    kubernetes.set_timeout(task, len(stages) * of_a_job_s)
    kubernetes.use_field_path_as_env(task, ENV_POD_NAME, "metadata.name")
    kubernetes.use_field_path_as_env(task, ENV_POD_UID, "metadata.uid")
    return task


def _ask_for_gpus(task: dsl.PipelineTask, placement: Placement, gpus: int) -> None:
    """Ask for so many GPUs of the chosen kinds, on nodes that are kept for pods with GPUs too."""
    task.set_accelerator_type(placement.gpu_resource)
    task.set_accelerator_limit(gpus)
    kubernetes.add_toleration(
        task, key=placement.gpu_resource, operator="Exists", effect="NoSchedule"
    )
    if placement.gpu_kinds:  # a node selector could name one kind only
        kubernetes.add_node_affinity(
            task,
            match_expressions=[
                {"key": placement.gpu_label, "operator": "In", "values": list(placement.gpu_kinds)}
            ],
        )
