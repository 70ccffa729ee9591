"""A trained trunk for classes of one's own: read from a file without its head, stored, loaded.

Names of tensors are the network's own: torchvision's, and below `trunk.` in an exported file. What
timm calls otherwise is another network here: its ResNets, ResNeXts, Wide ResNets, DenseNets and
Inception v3 have torchvision's names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import Tensor

from accrete.config.image_format import Normalization
from accrete.config.known_networks import TORCHVISION, scaling_of_weights
from accrete.config.pretrained_weights import PretrainedWeights
from accrete.config.run import ModelConfig
from accrete.core.hashing import sha256_of_file
from accrete.errors import CheckpointMismatchError, ConfigError, IntegrityError
from accrete.models._weights_file import (
    State,
    read_state,
    refuse_scaling_of_exported,
    torchvision_state,
)
from accrete.models.checkpoint import read_tensors
from accrete.models.networks import Classifier, build_model, head_name, weighted_part
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore

_USUAL_SIDE = 224
"""Pixels of the images that most of torchvision's and timm's weights were trained on."""

_COUNTER = "num_batches_tracked"
"""Of batch norm: what it counts is used by nothing here, and some files leave it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRequest:
    """What a user says of a file of weights."""

    path: Path
    """The file."""
    sha256: str | None = None
    """Of the file; needed for a pickle."""
    model: ModelConfig | None = None
    """The network, where the file does not say."""
    normalization: Normalization | None = None
    """How its input is scaled; None: as the file itself says, else as torchvision's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A trunk that was read, not stored yet."""

    tensors: dict[str, Tensor]
    """All that its network's trunk has, and nothing else, by name."""
    model: ModelConfig
    """Which network it is."""
    normalization: Normalization
    """How its input is scaled."""
    origin: str
    """The file, for people."""
    file_sha256: str
    """Of that, 64 hex digits."""
    image_side: int
    """Pixels of the shorter side of the images that it was made for."""


def read_backbone(request: BackboneRequest) -> Backbone:
    """Read the trunk of a file of weights; a head of any number of rows, or none, is left out.

    Raises:
        InputError: the file cannot be read, or what it is of is not said.
        IntegrityError: its SHA-256 is not the one given.
        CheckpointMismatchError: the weights do not fit the network's trunk.
    """
    state = read_state(request.path, request.sha256)
    exported = state.exported
    if exported is None:
        model, side = _named_model(request), _USUAL_SIDE
        normalization = request.normalization or scaling_of_weights(model.name)
    else:
        model = exported.model.architecture
        refuse_scaling_of_exported(request.normalization, request.path)
        normalization = exported.normalization
        side = min(exported.image.height, exported.image.width)
    return Backbone(
        tensors=_trunk_of(model, state, len(normalization.mean), request.path),
        model=model,
        normalization=normalization,
        origin=request.path.name,
        file_sha256=sha256_of_file(request.path),
        image_side=side,
    )


def store_backbone(backbone: Backbone, store: ObjectStore) -> ModelConfig:
    """Store a trunk as an object by its content; return the network that begins from it."""
    with TemporaryDirectory(prefix="accrete-") as folder:
        path = Path(folder) / "trunk.safetensors"
        save_file(backbone.tensors, path)
        ref = ObjectRef(sha256=sha256_of_file(path), num_bytes=path.stat().st_size)
        store.push_file(ref, path, renew=True)
    weights = PretrainedWeights(
        origin=backbone.origin,
        file_sha256=backbone.file_sha256,
        sha256=ref.sha256,
        num_bytes=ref.num_bytes,
        normalization=backbone.normalization,
        image_side=backbone.image_side,
    )
    return replace(backbone.model, weights=weights)


def load_backbone(model: Classifier, path: Path) -> None:
    """Copy a stored trunk, whose hash was checked when it was fetched, into a network's own.

    Args:
        model: the network, for grey or colour images; its head stays as it is.
        path: the trunk, as `store_backbone` stored it.

    Raises:
        IntegrityError: the file holds no tensors.
        CheckpointMismatchError: they are of another network.
    """
    try:
        tensors, _ = read_tensors(path)
    except ValueError as error:
        raise IntegrityError(f"{path} is no stored trunk ({error})") from error
    own = weighted_part(model).state_dict()
    _check_fit(tensors, own, "stored weights", "this network")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def _named_model(request: BackboneRequest) -> ModelConfig:
    model = request.model
    if model is None or not model.name.startswith(TORCHVISION):
        beside = "" if model is None else f", and --model {model.name} takes exported files alone"
        raise ConfigError(
            f"weights {request.path} do not say what network they are of{beside}: "
            "give --model torchvision:NAME"
        )
    return model


def _trunk_of(model: ModelConfig, state: State, channels: int, path: Path) -> dict[str, Tensor]:
    """Return the trunk's tensors as the network has them: its names, its types.

    Raises:
        CheckpointMismatchError: one is missing, too many, of another shape, not finite, or a
            variance below zero.
    """
    network = build_model(model, channels=channels, num_classes=1, seed=0)
    own = weighted_part(network).state_dict()
    if state.exported is None:
        found = _without_head(model, _unwrapped(state.tensors, own))
    else:
        is_widened = weighted_part(network) is not network.trunk
        prefix = "trunk.1." if is_widened else "trunk."
        found = {
            name.removeprefix(prefix): tensor
            for name, tensor in state.tensors.items()
            if not name.startswith("head.")
        }
    for name, tensor in own.items():
        if name.endswith(_COUNTER):
            found.setdefault(name, torch.zeros_like(tensor))
    _check_fit(found, own, f"weights {path}", model.name)
    made = {name: found[name].detach().to(own[name].dtype).contiguous() for name in own}
    for name, tensor in made.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointMismatchError(
                f"weights {path} have values in {name} that are no numbers: give others"
            )
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CheckpointMismatchError(
                f"weights {path} have negative variances in {name}: give others"
            )
    return made


def _unwrapped(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without a first part that all their names share, as `backbone.`."""
    first = next(iter(tensors), "").partition(".")[0] + "."
    is_own = any(name.startswith(first) for name in own)
    if is_own or not all(name.startswith(first) for name in tensors):
        return dict(tensors)
    return {name.removeprefix(first): tensor for name, tensor in tensors.items()}


def _without_head(model: ModelConfig, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the trunk of a torchvision network's state, by the names that torchvision has now."""
    head = head_name(model) + "."
    return {
        name: tensor
        for name, tensor in torchvision_state(tensors).items()
        if not name.startswith(head)
    }


def _check_fit(found: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str, of: str) -> None:
    """Refuse tensors that are not those of a network, by the first that is not.

    Raises:
        CheckpointMismatchError: says its name, and shapes where they differ.
    """
    for name, tensor in own.items():
        if name not in found:
            strange = next((each for each in found if each not in own), None)
            but = "" if strange is None else f", and have {strange[:80]!r}, which it has not"
            raise CheckpointMismatchError(
                f"{what} do not fit {of}: they lack {name!r}{but}: are they of another network, or "
                "named as another program does?"
            )
        theirs, ours = found[name], tensor
        if theirs.shape != ours.shape or theirs.is_floating_point() != ours.is_floating_point():
            raise CheckpointMismatchError(
                f"{what} do not fit {of}: {name!r} is {_shown(theirs)} instead of {_shown(ours)}: "
                "are they of another network?"
            )
    for name in found:
        if name not in own:
            raise CheckpointMismatchError(
                f"{what} do not fit {of}: they have {name[:80]!r}, which it has not: are they of "
                "another network?"
            )


def _shown(tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {tuple(tensor.shape)}"
