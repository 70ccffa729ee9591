"""Where a pipeline's steps run: image, GPUs, memory, retries. Changes no result."""

import re
from dataclasses import dataclass

from accrete.checks import check_range
from accrete.errors import ConfigError

DEFAULT_IMAGE = "accrete-trainer:0.1.0"
"""The trainer image; `images/` builds it and `manifests/` names the same."""

POD_LABELS = {"app.kubernetes.io/name": "accrete", "app.kubernetes.io/component": "step"}
"""Labels of every step's pod: what `manifests/` selects them by."""

_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:-]*(@sha256:[0-9a-f]{64})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What each step of the compiled pipeline asks of the cluster."""

    image: str = DEFAULT_IMAGE
    """Container image of every step."""
    gpus: tuple[int, ...] = (1,)
    """GPUs of each stage's training step, or one number for all; 0 trains on the CPU."""
    gpu_resource: str = "nvidia.com/gpu"
    """The GPU's Kubernetes resource name."""
    train_cpu: str = "4"
    """CPU request and limit of a training step."""
    train_memory: str = "16G"
    """Memory request and limit of a training step."""
    shared_memory: str = "2Gi"
    """Size of /dev/shm in a training step."""
    data_memory: str | None = None
    """Memory that images may take in a training step; None: two fifths of what it has."""
    retries: int = 2
    """How often a failed step is tried again."""
    timeout_s: int = 24 * 3600
    """Seconds that one attempt at a training step may take."""
    store_config: str = "accrete-store"
    """ConfigMap (endpoint, region) and Secret (access-key, secret-key) of the object store."""

    def __post_init__(self) -> None:
        if not _IMAGE.fullmatch(self.image):
            raise ConfigError(f"image is {self.image!r}: give a reference such as {DEFAULT_IMAGE}")
        if not self.gpus:
            raise ConfigError("GPUs per step are an empty list: give one number, or one a stage")
        for gpus in self.gpus:
            check_range("GPUs per step", gpus, 0, 64)
        check_range("retries", self.retries, 0, 20)
        check_range("step timeout in seconds", self.timeout_s, 60, 30 * 24 * 3600)

    def gpus_of(self, stages: range) -> int:
        """Return the GPUs of the step that trains these stages, counted from 1."""
        return max(self.gpus[min(stage, len(self.gpus)) - 1] for stage in stages)

    def check_fits(self, num_stages: int, batch_size: int) -> None:
        """Refuse GPUs that do not fit a plan's stages or do not divide its batches.

        Raises:
            ConfigError: they do not.
        """
        if len(self.gpus) not in (1, num_stages):
            raise ConfigError(
                f"GPUs are listed for {len(self.gpus)} stages, but the plan has {num_stages}: "
                "give one number for each stage, or one for all"
            )
        for gpus in self.gpus:
            if batch_size % max(1, gpus):
                raise ConfigError(
                    f"batch size {batch_size} does not divide among {gpus} GPUs: "
                    f"choose a multiple of {gpus}"
                )
