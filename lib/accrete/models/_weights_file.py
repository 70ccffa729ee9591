"""Files of weights: read without running any code, and what they say of themselves.

Two kinds: what `accrete export` writes, which says all about itself, and the state of a network, as
safetensors or as the pickle that torch.save makes. A pickle is read by torch's restricted loader
only, and only after its SHA-256 was found to be the one given.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.run import ModelConfig
from accrete.core.hashing import sha256_of_file
from accrete.core.serialization import from_json
from accrete.core.untrusted import decode_json
from accrete.errors import ConfigError, InputError, IntegrityError
from accrete.models.checkpoint import read_tensors

_EXPORT_FORMAT = 1
_NESTED = ("state_dict", "model_state_dict", "model")

_AUXILIARY = re.compile(r"(AuxLogits|aux[12])\.")
"""Heads of Inception and GoogLeNet that train them alone."""

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""How torchvision's own files of DenseNets name what its networks call norm1, conv1, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a file of weights holds."""

    tensors: dict[str, Tensor]
    """By name."""
    exported: "Exported | None"
    """What it says of itself, where `accrete export` wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an exported file says of itself."""

    model: ModelConfig
    """Which network it is."""
    class_names: tuple[str, ...] | None
    """By row of the head; None: it names none."""
    image: ImageFormat
    """What it takes; its encoding means nothing."""
    normalization: Normalization
    """How its input is scaled."""


def read_state(path: Path, sha256: str | None) -> State:
    """Read a file of weights.

    Args:
        path: the file.
        sha256: of it, as its publisher names it; a pickle is not read without.

    Raises:
        InputError: it cannot be read, or is a pickle without a SHA-256.
        IntegrityError: its SHA-256 is not the one given.
    """
    if not path.is_file():
        what = "are a folder" if path.is_dir() else "do not exist"
        raise InputError(f"weights {path} {what}: give a .safetensors or a torch state file")
    if sha256 is not None:
        _check_sha256(path, sha256)
    if path.suffix == ".safetensors":
        tensors, metadata = _read_safetensors(path)
    elif sha256 is None:
        raise ConfigError(
            f"weights {path} are a pickle: give the SHA-256 that its publisher names "
            "(--weights-sha256), or a .safetensors file"
        )
    else:
        tensors, metadata = _read_pickle(path), None
    exported = None if metadata is None else _exported(metadata, str(path))
    return State(tensors=tensors, exported=exported)


def refuse_scaling_of_exported(normalization: Normalization | None, path: Path) -> None:
    """Refuse another scaling for a file that says its own.

    Raises:
        ConfigError: one is given.
    """
    if normalization is not None:
        raise ConfigError(
            f"weights {path} say themselves what their input was scaled by: leave out "
            "--weights-mean and --weights-std"
        )


def _check_sha256(path: Path, expected: str) -> None:
    found = sha256_of_file(path)
    if found != expected.lower():
        raise IntegrityError(
            f"weights {path} have SHA-256 {found}, not {expected}: "
            "they are another file than the one meant; fetch them again"
        )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Any]:
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
    except pickle.UnpicklingError as error:
        raise InputError(
            f"weights {path} hold more than tensors, or are damaged: a whole model may run code "
            "and is never loaded; save what model.state_dict() gives"
        ) from error
    except Exception as error:  # torch raises nearly anything on bad bytes
        detail = str(error).partition("\n")[0]
        raise InputError(f"weights {path} are no torch state file ({detail})") from error
    for name in _NESTED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(name), Mapping):
            loaded = loaded[name]
    if not isinstance(loaded, Mapping) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise InputError(f"weights {path} hold no state: give what model.state_dict() saves")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def _exported(metadata: Any, place: str) -> Exported:
    if not isinstance(metadata, dict) or metadata.get("format") != _EXPORT_FORMAT:
        raise InputError(f"weights {place} are of another version: export them with this accrete")
    names = metadata.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = None
    said = metadata.get("image")
    image = {"encoding": "", **said} if isinstance(said, dict) else said
    return Exported(
        model=from_json(ModelConfig, metadata.get("model"), f"{place}: model"),
        class_names=None if names is None else tuple(names),
        image=from_json(ImageFormat, image, f"{place}: image"),
        normalization=from_json(Normalization, metadata.get("normalization"), f"{place}: scale"),
    )


def torchvision_state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a torchvision network by the names that torchvision has now, without
    heads that only train it."""
    return {
        _OLD_DENSENET.sub(r"\1\2", name): tensor
        for name, tensor in tensors.items()
        if not _AUXILIARY.match(name)
    }
