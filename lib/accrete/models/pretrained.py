"""Trained weights from elsewhere: read without running any code, checked, stored as a base.

Two kinds of file: what `accrete export` writes, which says all about itself, and the state of a
torchvision network, as safetensors or as the pickle that torch.save makes. A pickle is read by
torch's restricted loader only, and only after its SHA-256 was found to be the one given.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import FORMAT
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.run import BaseModel, ModelConfig
from accrete.core.hashing import sha256_of_file
from accrete.core.serialization import from_json
from accrete.core.untrusted import decode_json
from accrete.errors import CheckpointMismatchError, ConfigError, InputError, IntegrityError
from accrete.models.checkpoint import CheckpointInfo, read_tensors, save_checkpoint
from accrete.models.networks import Classifier, build_model, head_name
from accrete.store.keys import ObjectRef

IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""What torchvision's own weights were trained with (torchvision.transforms._presets)."""

_EXPORT_FORMAT = 1
_NESTED = ("state_dict", "model_state_dict", "model")


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
    path = request.path
    if not path.is_file():
        raise InputError(f"weights {path} do not exist: give a .safetensors or a torch state file")
    if request.sha256 is not None:
        _check_sha256(path, request.sha256)
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
    elif request.sha256 is None:
        raise ConfigError(
            f"weights {path} are a pickle: give the SHA-256 that its publisher names "
            "(--weights-sha256), or a .safetensors file"
        )
    else:
        state, metadata = _read_pickle(path), None
    if metadata is not None:
        return _exported(request, state, metadata)
    return _of_torchvision(request, state)


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


def _check_sha256(path: Path, expected: str) -> None:
    found = sha256_of_file(path)
    if found != expected.lower():
        raise IntegrityError(
            f"weights {path} have SHA-256 {found}, not {expected}: "
            "they are another file than the one meant; fetch them again"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    try:
        state, notes = read_tensors(path)
        metadata = decode_json(notes["accrete"].encode()) if "accrete" in notes else None
    except ValueError as error:
        raise InputError(f"weights {path} are no safetensors file ({error})") from error
    return state, metadata


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's version, several lines
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises nearly anything on bad bytes
        detail = str(error).partition("\n")[0]
        raise InputError(f"weights {path} are no torch state file ({detail})") from error
    for name in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    if not isinstance(loaded, Mapping) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise InputError(f"weights {path} hold no state: give what model.state_dict() saves")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def _exported(
    request: WeightsRequest, state: dict[str, Tensor], metadata: dict[str, Any]
) -> Weights:
    """Return the network of a file that says all about itself."""
    place = str(request.path)
    if not isinstance(metadata, dict) or metadata.get("format") != _EXPORT_FORMAT:
        raise InputError(f"weights {place} are of another version: export them with this accrete")
    if request.class_names is not None or request.model is not None:
        raise ConfigError(
            f"weights {place} name their classes and their network themselves: "
            "leave out --weights-classes and --model"
        )
    if request.normalization is not None:
        raise ConfigError(
            f"weights {place} say themselves what their input was scaled by: leave out "
            "--weights-mean and --weights-std"
        )
    names = metadata.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"weights {place} name no classes: export them again")
    said = metadata.get("image")
    image = {"encoding": "", **said} if isinstance(said, dict) else said
    model = from_json(ModelConfig, metadata.get("model"), f"{place}: model")
    form = from_json(ImageFormat, image, f"{place}: image")
    return Weights(
        network=_network(model, form.channels, tuple(names), state, place),
        model=model,
        class_names=tuple(names),
        image=form,
        normalization=from_json(Normalization, metadata.get("normalization"), f"{place}: scale"),
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
    normalization = request.normalization or IMAGENET
    channels = len(normalization.mean)
    last = head_name(model)
    ours = {}
    for name, tensor in state.items():
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
