"""A finished stage's network, ready to classify."""

from dataclasses import dataclass

import torch

from accrete.cache import NodeCache
from accrete.catalog import object_ref
from accrete.checkpoint import load_checkpoint, load_weights
from accrete.errors import CheckpointMismatchError
from accrete.manifests import StageManifest
from accrete.model import Classifier, build_model


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """A network, and all that is known of it."""

    manifest: StageManifest
    """The stage that made it: classes, image format, normalization."""
    network: Classifier
    """M_j, in evaluation mode, on the CPU."""


def load_model(manifest: StageManifest, cache: NodeCache) -> TrainedModel:
    """Return a stage's network; its checkpoint is fetched where the cache lacks it.

    Raises:
        CheckpointMismatchError: the checkpoint has other classes or another network.
        IntegrityError: its bytes are not those that the manifest names.
    """
    ref = object_ref(manifest.checkpoint)
    checkpoint = load_checkpoint(cache.fetch([ref]).paths[ref.sha256])
    if checkpoint.info.class_names != manifest.class_names:
        raise CheckpointMismatchError(
            f"stage {manifest.digest[:12]} has {len(manifest.class_names)} classes, its checkpoint "
            f"has {len(checkpoint.info.class_names)}, or others: delete its manifest and run again"
        )
    network = build_model(
        manifest.model,
        channels=manifest.image.channels,
        num_classes=len(manifest.class_names),
        seed=manifest.seed,
    )
    load_weights(network, checkpoint)
    network = network.eval().to(memory_format=torch.channels_last)
    return TrainedModel(manifest=manifest, network=network)
