"""Tensors from a safetensors file: looked at before it is opened, and never anything else."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from accrete.pickles import HEAD_BYTES, pickle_kind

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
