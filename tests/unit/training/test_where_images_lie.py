"""Where images lie: resident within the budget, streamed above it, the same either way."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from shard_sample import ENCODED, FORMATS, RAW, Write, png, random_pixels, write_encoded, write_raw

from accrete.data.shards import ShardReader, write_shard
from accrete.errors import BadImageError
from accrete.training import image_source
from accrete.training.image_source import (
    DataMemory,
    ImageSource,
    ResidentImages,
    StreamedImages,
    open_images,
)

CPU = torch.device("cpu")
IMAGE_BYTES = 4 * 6 * 3


def opened(
    reader: ShardReader,
    num_bytes: int,
    *,
    encoded: bool = False,
    num_workers: int = 2,
    batch_size: int = 4,
) -> ImageSource:
    """Open a reader's images within a budget."""
    memory = DataMemory(num_bytes=num_bytes, num_workers=num_workers)
    return open_images(reader, memory, CPU, encoded=encoded, batch_size=batch_size)


def raw_reader(path: Path, num_images: int = 5) -> ShardReader:
    """Return a reader of random images."""
    return ShardReader([write_raw(path, random_pixels(num_images))], RAW, num_images=num_images)


def test_images_are_resident_where_they_fit_with_the_piece_that_is_being_read(
    tmp_path: Path,
) -> None:
    reader = raw_reader(tmp_path / "shard")
    assert isinstance(opened(reader, 6 * IMAGE_BYTES), ResidentImages)
    assert isinstance(opened(reader, 6 * IMAGE_BYTES - 1), StreamedImages)


@pytest.mark.parametrize("write", [write_raw, write_encoded])
@pytest.mark.parametrize("num_bytes", [0, 1 << 20])
@pytest.mark.parametrize("num_workers", [1, 3])
def test_images_are_the_same_wherever_they_lie(
    tmp_path: Path,
    write: Write,
    num_bytes: int,
    num_workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_source, "_MAX_PIECE_BYTES", IMAGE_BYTES)  # an image at a time
    pixels = random_pixels(5)
    reader = ShardReader([write(tmp_path / "shard", pixels)], FORMATS[write], num_images=5)
    source = opened(reader, num_bytes, encoded=write is write_encoded, num_workers=num_workers)
    assert (source.num_images, source.device) == (5, CPU)
    (images,) = source.batches([torch.tensor([4, 0, 2, 1, 3, 3])])
    np.testing.assert_array_equal(images.numpy(), pixels[[4, 0, 2, 1, 3, 3]])


def test_no_image_is_resident() -> None:
    source = opened(ShardReader([], RAW, num_images=0), 0)
    assert isinstance(source, ResidentImages)
    (images,) = source.batches([torch.empty(0, dtype=torch.int64)])
    assert images.shape == (0, 4, 6, 3)


@pytest.mark.parametrize(
    ("encoded", "num_workers", "num_batches", "expected"),
    [
        (True, 1, 100, 1),
        (True, 5, 100, 5),
        (True, 5, 8, 2),
        (True, 5, 0, 1),
        (False, 5, 100, 4),
        (False, 2, 100, 2),
        (True, 0, 100, 1),
    ],
)
def test_workers_are_as_many_as_cpus_and_memory_allow(
    tmp_path: Path, encoded: bool, num_workers: int, num_batches: int, expected: int
) -> None:
    write = write_encoded if encoded else write_raw
    paths = [write(tmp_path / "shard", random_pixels(5))] * 201
    reader = ShardReader(paths, FORMATS[write], num_images=5 * 201)
    # Batches of 10: a worker has four of them in flight.
    num_bytes = num_batches * 10 * IMAGE_BYTES
    source = opened(reader, num_bytes, encoded=encoded, num_workers=num_workers, batch_size=10)
    before = set(multiprocessing.active_children())
    batches = source.batches(torch.zeros(50, 10, dtype=torch.int64))
    next(batches)
    assert len(set(multiprocessing.active_children()) - before) == expected


def test_bad_image_shows_when_images_become_resident(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard", [png(random_pixels(1)[0]), b"no image"], row_bytes=None)
    reader = ShardReader([tmp_path / "shard"], ENCODED, num_images=2)
    with pytest.raises(BadImageError, match="shard row 1 cannot be decoded"):
        opened(reader, 1 << 20, encoded=True)
