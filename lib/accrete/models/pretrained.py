"""Trained weights from elsewhere with their classes: read, checked, stored as a base that grows.

What takes a trunk alone, for classes of its own, is backbone.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import FORMAT
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.known_networks import scaling_of_weights
from accrete.config.run import BaseModel, ModelConfig
from accrete.core.hashing import sha256_of_file
from accrete.errors import CheckpointMismatchError, ConfigError, InputError
from accrete.models._weights_file import (
    Exported,
    read_state,
    refuse_scaling_of_exported,
    torchvision_state,
)
from accrete.models.checkpoint import CheckpointInfo, save_checkpoint
from accrete.models.networks import Classifier, build_model, head_name
from accrete.store.keys import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsRequest:
    """What a user says of a file of weights."""

    path: Path
    """The file."""
    sha256: str | None = None
    """Of the file; needed for a pickle."""
    class_names: tuple[str, ...] | None = None
    """By row of the head; None: as the file itself says."""
    model: ModelConfig | None = None
    """The network; None: as the file itself says."""
    side: int = 224
    """Side in pixels of the images that it takes, where the file does not say."""
    normalization: Normalization | None = None
    """How its input is scaled; None: as the file itself says, else ImageNet's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A network that was read, not stored yet."""

    network: Classifier
    """With a head of as many rows as there are names."""
    model: ModelConfig
    """Which network it is."""
    class_names: tuple[str, ...]
    """By row of the head."""
    image: ImageFormat
    """What it takes; its encoding means nothing."""
    normalization: Normalization
    """How its input is scaled."""
    origin: str
    """The file, for people."""


def read_weights(request: WeightsRequest) -> Weights:
    """Read a file of weights.

    Raises:
        InputError: it cannot be read, or what it takes is not said.
        IntegrityError: its SHA-256 is not the one given.
        CheckpointMismatchError: the weights do not fit the network or the names.
    """
    state = read_state(request.path, request.sha256)
    if state.exported is not None:
        return _of_exported(request, state.tensors, state.exported)
    return _of_torchvision(request, state.tensors)


def store_weights(weights: Weights, catalog: Catalog, dataset: str | None) -> BaseModel:
    """Store weights as a checkpoint that a run can grow.

    Args:
        weights: what was read.
        catalog: where it goes.
        dataset: digest of a stored data set that has the classes' images; None: the source has.
    """
    image = weights.image if dataset is None else catalog.dataset(dataset).image
    info = CheckpointInfo(
        format=FORMAT,
        stage="",
        class_names=weights.class_names,
        model=weights.model,
        image=image,
        normalization=weights.normalization,
    )
    with TemporaryDirectory(prefix="accrete-") as folder:
        path = Path(folder) / "checkpoint.safetensors"
        save_checkpoint(path, weights.network.state_dict(), {}, info)
        ref = ObjectRef(sha256=sha256_of_file(path), num_bytes=path.stat().st_size)
        catalog.store.push_file(ref, path, renew=True)
    return BaseModel(
        origin=weights.origin,
        identity=ref.sha256,
        checkpoint_sha256=ref.sha256,
        checkpoint_bytes=ref.num_bytes,
        dataset=dataset,
        image=image,
        normalization=weights.normalization,
    )


def _of_exported(request: WeightsRequest, state: dict[str, Tensor], exported: Exported) -> Weights:
    """Return the network of a file that says all about itself."""
    place = str(request.path)
    if request.class_names is not None or request.model is not None:
        raise ConfigError(
            f"weights {place} name their classes and their network themselves: "
            "leave out --weights-classes and --model"
        )
    refuse_scaling_of_exported(request.normalization, request.path)
    names = exported.class_names
    if names is None:
        raise InputError(f"weights {place} name no classes: export them again")
    return Weights(
        network=_network(exported.model, exported.image.channels, names, state, place),
        model=exported.model,
        class_names=names,
        image=exported.image,
        normalization=exported.normalization,
        origin=request.path.name,
    )


def _of_torchvision(request: WeightsRequest, state: dict[str, Tensor]) -> Weights:
    """Return the network of a torchvision state; the user says which, and of what classes."""
    model, names = request.model, request.class_names
    if model is None or not model.name.startswith("torchvision:"):
        raise ConfigError(
            f"weights {request.path} do not say what network they are of: "
            "give --model torchvision:NAME"
        )
    if names is None:
        raise ConfigError(
            f"weights {request.path} do not name their classes: give a file with one name a "
            "line, in the order of the outputs (--weights-classes)"
        )
    normalization = request.normalization or scaling_of_weights(model.name)
    channels = len(normalization.mean)
    last = head_name(model)
    ours = {}
    for name, tensor in torchvision_state(state).items():
        owner, _, leaf = name.rpartition(".")
        ours[f"head.{leaf}" if owner == last else f"trunk.{name}"] = tensor
    return Weights(
        network=_network(model, channels, names, ours, str(request.path)),
        model=model,
        class_names=names,
        image=ImageFormat(
            encoding="",
            height=request.side,
            width=request.side,
            channels=channels,
            preprocessing="short-side-center-crop",
        ),
        normalization=normalization,
        origin=request.path.name,
    )


def _network(
    model: ModelConfig,
    channels: int,
    names: tuple[str, ...],
    state: Mapping[str, Tensor],
    place: str,
) -> Classifier:
    """Return a network with given weights.

    Raises:
        ConfigError: a class is named twice.
        CheckpointMismatchError: names or shapes differ.
    """
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"weights {place} have class {twice!r} twice: name each class once")
    rows = state.get("head.weight")
    num_outputs = rows.shape[0] if rows is not None and rows.ndim else 0
    if rows is not None and rows.shape[:1] != (len(names),):
        raise CheckpointMismatchError(
            f"weights {place} have {num_outputs} outputs, but {len(names)} classes are named: "
            "name one class an output"
        )
    network = build_model(model, channels=channels, num_classes=len(names), seed=0)
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise CheckpointMismatchError(
            f"weights {place} do not fit {model.name}: {detail}"
        ) from error
    return network
