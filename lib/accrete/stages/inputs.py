"""What a stage starts from: the parent's checkpoint and the images of D_j."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec
from accrete.catalog.manifests import ClassEntry, DatasetManifest
from accrete.data.shards import ShardReader
from accrete.errors import CheckpointMismatchError, ConfigError
from accrete.models.checkpoint import Checkpoint, CheckpointInfo, load_checkpoint
from accrete.store.cache import NodeCache, Pulled
from accrete.store.keys import ObjectRef
from accrete.training.distributed import Peers
from accrete.training.image_source import DataMemory, ImageSource, open_images


@dataclass(frozen=True, slots=True)
class Split:
    """A split of D_j, in label order; may be empty."""

    images: ImageSource
    """uint8, on the device or on their way there."""
    labels_N: Tensor
    """int64 (N,), on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInputs:
    """What was pulled."""

    checkpoint: Checkpoint[CheckpointInfo] | None
    """The parent's; None for the first stage."""
    weights: Path | None
    """Of a trained trunk that the first stage begins from; None: of random weights."""
    pulled: Pulled
    """What came from where."""


def find_parent(spec: StageSpec, catalog: Catalog) -> ObjectRef | None:
    """Return the checkpoint that this stage grows from, None for a first stage without a base.

    Raises:
        CheckpointMismatchError: it is not in the store.
    """
    if spec.parent is None:
        return None
    if spec.base is not None:
        if not catalog.store.has_object(spec.base):
            raise CheckpointMismatchError(
                f"{spec.name} grows from checkpoint {spec.base.sha256[:12]}…, which is not in the "
                "store, or has another size: extend from a model that is"
            )
        return spec.base
    parent = catalog.stage(spec.parent)
    if parent is None:
        raise CheckpointMismatchError(
            f"{spec.name} grows from stage {spec.parent[:12]}…, which is not in the store: "
            "run the whole pipeline, it reuses what exists"
        )
    return parent.checkpoint


def check_batch_size(spec: StageSpec, peers: Peers) -> None:
    """Refuse batches that do not divide into equal parts, one for each process.

    Raises:
        ConfigError: they do not.
    """
    if spec.schedule.batch_size % peers.world_size:
        raise ConfigError(
            f"batch size {spec.schedule.batch_size} does not divide among {peers.world_size} GPUs: "
            f"choose a multiple of {peers.world_size}"
        )


def check_same_classes(spec: StageSpec, info: CheckpointInfo) -> None:
    """Refuse a checkpoint whose head has other classes than the stage starts from.

    Raises:
        CheckpointMismatchError: they differ.
    """
    old = spec.class_names[: spec.num_old_classes]
    if info.class_names != old:
        raise CheckpointMismatchError(
            f"{spec.name} starts from {len(old)} classes, but its checkpoint has "
            f"{len(info.class_names)}, or others: is it another plan's?"
        )


def pull_inputs(
    spec: StageSpec,
    dataset: DatasetManifest,
    parent: ObjectRef | None,
    cache: NodeCache,
) -> StageInputs:
    """Fetch what this node lacks: what the model begins from, and the shards of D_j, of all splits.

    Raises:
        IntegrityError: stored bytes are not those that a manifest names.
        ObjectMissingError: an object is gone.
    """
    pulled = cache.fetch(needed_objects(spec, dataset, parent))
    checkpoint = load_checkpoint(pulled.paths[parent.sha256]) if parent else None
    weights = pulled.paths[spec.weights.sha256] if spec.weights else None
    return StageInputs(checkpoint=checkpoint, weights=weights, pulled=pulled)


def needed_objects(
    spec: StageSpec, dataset: DatasetManifest, parent: ObjectRef | None
) -> list[ObjectRef]:
    """Return the shards of D_j, of all splits, and the parent's checkpoint or trained weights."""
    shards = [shard for entry in _seen_entries(spec, dataset) for shard in entry.all_shards]
    return [*shards, *(ref for ref in (parent, spec.weights) if ref)]


def _seen_entries(spec: StageSpec, dataset: DatasetManifest) -> list[ClassEntry]:
    """Return the seen classes, by label."""
    by_name = dataset.by_name
    return [by_name[name] for name in spec.class_names]


def open_split(
    spec: StageSpec,
    dataset: DatasetManifest,
    split: str,
    pulled: Pulled,
    *,
    memory: DataMemory,
    device: torch.device,
    batch_size: int,
) -> Split:
    """Open the images of a split that was pulled, resident on the device where they fit.

    Args:
        spec: the stage.
        dataset: its data set.
        split: `train`, `validation` or `test`.
        pulled: from `pull_inputs`.
        memory: what images may cost.
        device: that trains.
        batch_size: images that will be asked for at once.

    Raises:
        IntegrityError: a shard is not what its manifest names.
        BadImageError: an image cannot be decoded.
    """
    entries = _seen_entries(spec, dataset)
    paths = [pulled.paths[shard.sha256] for entry in entries for shard in entry.shards(split)]
    counts = [entry.num_images(split) for entry in entries]
    reader = ShardReader(paths, dataset.image, num_images=sum(counts))
    encoded = dataset.image.encoding == "encoded"
    images = open_images(reader, memory, device, encoded=encoded, batch_size=batch_size)
    labels = torch.repeat_interleave(torch.arange(len(entries)), torch.tensor(counts))
    return Split(images, labels)
