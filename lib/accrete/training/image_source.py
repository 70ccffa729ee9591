"""Where training finds its images: resident on the device if they fit, else streamed from disk.

Both give the same images for the same indices, so where they lie changes no result.

Shape suffixes: N images, B batch, H height, W width, C channels.
"""

import math
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from accrete.errors import AccreteError, WorkerLostError
from accrete.training.device import free_bytes

_PREFETCHED = 2
"""Batches that each worker process keeps ready."""

_LOST_WORKER = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")


class ImageSource(Protocol):
    """A split's images."""

    num_images: int
    """How many."""
    image_bytes: int
    """Of one image, uint8."""
    device: torch.device
    """Where batches come to lie."""
    index_device: torch.device
    """Where indices are to lie."""

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the uint8 images (B, H, W, C), on the device, of each int64 (B,)."""
        ...


class ImageReader(Protocol):
    """Reads images by their number; picklable, for worker processes."""

    num_images: int
    """How many there are."""
    image_bytes: int
    """Of one image, decoded."""

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return images (B, H, W, C)."""
        ...


class ResidentImages:
    """Images that lie in the device's memory."""

    def __init__(self, images_NHWC: Tensor) -> None:
        """Take uint8 images that are where training happens."""
        self.num_images = len(images_NHWC)
        self.device = self.index_device = images_NHWC.device
        self.image_bytes = math.prod(images_NHWC.shape[1:])
        self._rows = images_NHWC.flatten(1)
        self._shape = images_NHWC.shape[1:]

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each index tensor."""
        for indices_B in indices:
            # Whole rows: fifteen times faster on a CPU than indexing the four axes.
            yield self._rows.index_select(0, indices_B).view(len(indices_B), *self._shape)


class StreamedImages:
    """Images that are read, and decoded, batch by batch in worker processes."""

    def __init__(self, reader: ImageReader, *, num_workers: int, device: torch.device) -> None:
        """Stream a reader's images.

        Args:
            reader: of the images.
            num_workers: processes that read ahead, two batches each; 0: this one reads.
            device: where batches go.
        """
        self.num_images, self.image_bytes = reader.num_images, reader.image_bytes
        self.device, self.index_device = device, torch.device("cpu")
        self._reader, self._num_workers = reader, num_workers

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each index tensor; the next ones are read meanwhile.

        Raises:
            WorkerLostError: a worker process was killed.
            AccreteError: what the reader raised.
        """
        loader = DataLoader(
            _ReadRows(self._reader),
            batch_size=None,
            sampler=(indices_B.numpy() for indices_B in indices),
            num_workers=self._num_workers,
            prefetch_factor=_PREFETCHED if self._num_workers else None,
            # A fresh process would import torch, 300 MB each; 3.14 would make such ones.
            multiprocessing_context="fork" if self._num_workers else None,
            pin_memory=self.device.type == "cuda",
        )
        for batch in _without_interrupts(loader):
            if isinstance(batch, AccreteError):
                raise batch
            yield batch.to(self.device, non_blocking=True)


def _without_interrupts(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield a loader's batches; a lost worker shows where its batch is waited for, only there.

    torch would tell of one by raising in a signal handler, wherever the main thread is just then.

    Raises:
        WorkerLostError: a worker process was killed.
    """
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(loader)
    if loader.num_workers and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, handler)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (ConnectionError, EOFError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not _LOST_WORKER.search(str(error)):
                raise
            raise WorkerLostError(
                "a process that reads images was killed, most likely for want of memory: "
                "give the step more memory, or less to the data with --data-memory"
            ) from error
        yield batch


class _ReadRows(Dataset[Any]):
    """A reader as DataLoader wants it; hands an error over whole, which would lose its type."""

    def __init__(self, reader: ImageReader) -> None:
        self._reader = reader

    def __getitem__(self, indices: NDArray[np.int64]) -> Tensor | AccreteError:
        try:
            return torch.from_numpy(self._reader.read(indices))
        except AccreteError as error:
            return error


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
