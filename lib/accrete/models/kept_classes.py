"""A trained network without some of its classes: those that are retired."""

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from accrete.errors import ConfigError
from accrete.models.networks import Classifier
from accrete.models.predictor import TrainedModel


def keep_classes(trained: TrainedModel, names: Sequence[str]) -> TrainedModel:
    """Return a network that tells some of its classes apart, and knows no others.

    What it answers for them is what it answered before: their head rows are bit-equal, and the
    trunk is the same.

    Args:
        trained: the network.
        names: of the classes to keep; they stay in the network's order.

    Raises:
        ConfigError: it has no such class, or a class is named twice.
    """
    known = trained.manifest.class_names
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--only-classes names class {name!r}, which the model does not have: it has "
                f"{len(known):,}, such as {known[0]!r}"
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ConfigError(f"--only-classes names class {twice!r} twice: name each class once")
    labels = [label for label, name in enumerate(known) if name in set(names)]
    head = trained.network.head
    kept = nn.Linear(head.in_features, len(labels), device="meta", dtype=head.weight.dtype)
    with torch.no_grad():
        kept.weight = nn.Parameter(head.weight[labels].clone())
        kept.bias = nn.Parameter(head.bias[labels].clone())
    network = Classifier(copy.deepcopy(trained.network.trunk), kept).eval()
    num_old = sum(label < trained.manifest.num_old_classes for label in labels)
    manifest = dataclasses.replace(
        trained.manifest,
        class_names=tuple(known[label] for label in labels),
        num_old_classes=num_old,
    )
    return TrainedModel(manifest=manifest, network=network)
