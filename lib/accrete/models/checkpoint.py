"""Checkpoints: weights and momentum as safetensors, with what is needed to use them."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from accrete.catalog.manifests import FORMAT
from accrete.config.image_format import ImageFormat, Normalization, check_scaling
from accrete.config.run import ModelConfig
from accrete.core.hashing import canonical_json
from accrete.core.serialization import from_json, to_json
from accrete.core.untrusted import HEAD_BYTES, decode_json, pickle_kind
from accrete.core.validation import check_distinct
from accrete.errors import CheckpointMismatchError, InputError, IntegrityError

_MODEL, _MOMENTUM = "model.", "momentum."
_METADATA_KEY = "accrete"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint says of itself."""

    format: int
    """FORMAT."""
    stage: str
    """Identity of the stage that made it."""
    class_names: tuple[str, ...]
    """By label: one for each row of the head."""
    model: ModelConfig
    """The network."""
    image: ImageFormat
    """What it takes."""
    normalization: Normalization
    """How its input is scaled."""

    def __post_init__(self) -> None:
        check_distinct("classes", self.class_names)
        check_scaling(self.image, self.normalization)


class Described(Protocol):
    """What a file of tensors says of itself."""

    @property
    def stage(self) -> str:
        """Identity of the stage that it is of."""


Info = TypeVar("Info", bound=Described)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Generic[Info]):
    """The content of a checkpoint or a snapshot, on the CPU."""

    info: Info
    """What it says of itself."""
    weights: dict[str, Tensor]
    """The model's state, by name."""
    momentum: dict[str, Tensor]
    """SGD's buffers, by parameter name; may be empty."""


def save_checkpoint(
    path: Path,
    weights: Mapping[str, Tensor],
    momentum: Mapping[str, Tensor],
    info: Any,
) -> None:
    """Write a checkpoint or a snapshot; the same content gives the same bytes.

    Args:
        path: the file to make.
        weights: the model's state, by name.
        momentum: SGD's buffers, by parameter name; may be empty.
        info: what it says of itself, a dataclass.
    """
    tensors = {_MODEL + name: tensor for name, tensor in weights.items()}
    tensors |= {_MOMENTUM + name: tensor for name, tensor in momentum.items()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One metadata entry only: safetensors writes several in an order that changes by process.
    save_file(plain, path, metadata={_METADATA_KEY: canonical_json(to_json(info)).decode()})


def load_checkpoint(path: Path) -> Checkpoint[CheckpointInfo]:
    """Read a checkpoint whose hash was checked when it was fetched.

    Raises:
        IntegrityError: the file is no checkpoint of this format.
    """
    return load_described(path, CheckpointInfo)


def load_described(path: Path, info_type: type[Info]) -> Checkpoint[Info]:
    """Read tensors with what they say of themselves, of a file whose hash was checked.

    Args:
        path: the file.
        info_type: the dataclass of what it says.

    Raises:
        IntegrityError: the file is no such one.
    """
    try:
        tensors, notes = read_tensors(path)
        metadata: Any = decode_json(notes[_METADATA_KEY].encode())
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"{path} is not an accrete checkpoint ({error})") from error
    version = metadata.get("format") if isinstance(metadata, dict) else None
    if version != FORMAT:
        raise IntegrityError(f"{path} has format {version}, this accrete reads {FORMAT}")
    try:
        info = from_json(info_type, metadata, str(path))
    except InputError as error:
        raise IntegrityError(f"{error}: it is not a checkpoint that accrete wrote") from error
    return Checkpoint(
        info=info,
        weights=_below(_MODEL, tensors),
        momentum=_below(_MOMENTUM, tensors),
    )


def load_weights(model: nn.Module, checkpoint: Checkpoint[Info]) -> None:
    """Copy a checkpoint's weights into a model of the same shape.

    Raises:
        CheckpointMismatchError: names or shapes differ.
    """
    weights = OrderedDict(checkpoint.weights)
    # MNASNet refuses a state that does not say the version of its layers; a file has none.
    weights._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise CheckpointMismatchError(
            f"the checkpoint of stage {checkpoint.info.stage[:12]}… does not fit: {detail}"
        ) from error


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


MAX_HEADER_BYTES = 32 << 20
"""Of names, shapes and metadata; a checkpoint of 100,000 classes has about 2 MB."""

MAX_TENSORS = 100_000
"""The deepest of torchvision's networks has under 2,000, momentum included."""

_LENGTH_BYTES = 8


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file, by name, and its metadata.

    Raises:
        ValueError: it is no safetensors file, or cannot be read; says why, in a line.
    """
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            if len(names) > MAX_TENSORS:
                raise ValueError(f"it has {len(names):,} tensors, over {MAX_TENSORS:,}")
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except (SafetensorError, RuntimeError, TypeError, OverflowError, KeyError) as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    kind = pickle_kind(head)
    if kind is not None:
        raise ValueError(f"it is {kind}, which is never loaded")
    if len(head) < _LENGTH_BYTES:
        raise ValueError(f"it has {len(head)} bytes" if head else "it is empty")
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header is {length:,} bytes, over {MAX_HEADER_BYTES:,}")
