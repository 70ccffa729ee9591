"""Where a split's images are to lie: on the device if they fit there, else on the node's disk."""

from dataclasses import dataclass

import numpy as np
import torch

from accrete.device import free_bytes
from accrete.image_source import ImageReader, ImageSource, ResidentImages, StreamedImages

_GPU_SHARE = 0.4
"""Part of a GPU's free memory that images may take; activations need the rest."""

_MAX_PIECE_BYTES = 8 << 20
"""Read at once while a split is being made resident."""

_QUEUED_BATCHES = 4
"""Batches in flight for each worker: two ready, one in the making, one handed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataMemory:
    """What images may cost a training process."""

    num_bytes: int
    """Bytes of the host's memory, worker processes included."""
    num_workers: int
    """Processes that may decode images."""


def open_images(
    reader: ImageReader,
    memory: DataMemory,
    device: torch.device,
    *,
    encoded: bool,
    batch_size: int,
) -> ImageSource:
    """Return a split's images, resident where they fit.

    Args:
        reader: of the images.
        memory: what they may cost.
        device: that trains.
        encoded: whether they must be decoded, which worker processes do.
        batch_size: images that will be asked for at once.
    """
    free = free_bytes(device)
    limit = memory.num_bytes if free is None else int(_GPU_SHARE * free)
    held = reader.num_images + (_piece_images(reader) if reader.num_images else 0)
    if held * reader.image_bytes <= limit:
        return _resident(reader, device, memory.num_workers if encoded else 0)
    queued = _QUEUED_BATCHES * batch_size * reader.image_bytes
    most = memory.num_workers if encoded else min(memory.num_workers, 4)
    num_workers = max(1, min(most, memory.num_bytes // max(1, queued)))
    return StreamedImages(reader, num_workers=num_workers, device=device)


def _resident(reader: ImageReader, device: torch.device, num_workers: int) -> ResidentImages:
    """Read all images, in pieces, to where they stay."""
    piece = _piece_images(reader)
    pieces = [
        torch.arange(start, min(start + piece, reader.num_images))
        for start in range(0, reader.num_images, piece)
    ]
    source = StreamedImages(reader, num_workers=min(num_workers, len(pieces)), device=device)
    images: torch.Tensor | None = None
    for indices, chunk in zip(pieces, source.batches(pieces), strict=True):
        if images is None:
            shape = (reader.num_images, *chunk.shape[1:])
            images = torch.empty(shape, dtype=torch.uint8, device=device)
        images[indices[0] : indices[-1] + 1] = chunk
    if images is None:
        images = torch.from_numpy(reader.read(np.empty(0, np.int64))).to(device)
    return ResidentImages(images)


def _piece_images(reader: ImageReader) -> int:
    """Return the images that are read at once: an eighth of all, or a few megabytes."""
    most = _MAX_PIECE_BYTES // max(1, reader.image_bytes)
    return max(1, min(most, reader.num_images // 8))
