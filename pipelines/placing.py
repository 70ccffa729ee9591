"""What a task asks of the cluster, from a Placement."""

from kfp import dsl, kubernetes

from accrete.placement import Placement
from accrete.settings import ENV_ACCESS_KEY, ENV_ENDPOINT, ENV_REGION, ENV_SECRET_KEY


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
    kubernetes.set_timeout(task, placement.timeout_s)
    return task


def place_training(task: dsl.PipelineTask, placement: Placement, stages: range) -> dsl.PipelineTask:
    """Set what a training step needs beside that: GPUs, CPU, memory, shared memory."""
    place_task(task, placement)
    task.set_cpu_request(placement.train_cpu).set_cpu_limit(placement.train_cpu)
    task.set_memory_request(placement.train_memory).set_memory_limit(placement.train_memory)
    gpus = placement.gpus_of(stages)
    if gpus:
        task.set_accelerator_type(placement.gpu_resource)
        task.set_accelerator_limit(gpus)
    kubernetes.empty_dir_mount(
        task,
        volume_name="dshm",
        mount_path="/dev/shm",  # noqa: S108  where worker processes share tensors
        medium="Memory",
        size_limit=placement.shared_memory,
    )
    return task
