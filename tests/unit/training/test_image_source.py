"""Images come out the same whether they are resident or streamed; a lost worker is told."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_sample import ArrayReader, make_batches
from conftest import HANGS_S
from numpy.typing import NDArray
from shard_sample import ENCODED, RAW, png, random_pixels, write_encoded, write_raw

from accrete.data.shards import ShardReader, write_shard
from accrete.errors import BadImageError, IntegrityError
from accrete.training.augmentation import Augmentation
from accrete.training.image_source import ResidentImages, StreamedImages

CPU = torch.device("cpu")
NUM_IMAGES = 13


def streamed(reader: ArrayReader | ShardReader, num_workers: int) -> StreamedImages:
    """Return a reader's images, streamed to the CPU."""
    return StreamedImages(reader, num_workers=num_workers, device=CPU)


def picks(*batches: list[int]) -> list[torch.Tensor]:
    """Return index tensors."""
    return [torch.tensor(numbers, dtype=torch.int64) for numbers in batches]


@pytest.mark.parametrize("flip", ["random", "alternating"])
@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("write", [write_raw, write_encoded])
def test_streamed_batches_are_the_resident_ones(
    tmp_path: Path, write: type, num_workers: int, flip: str
) -> None:
    pixels = random_pixels(NUM_IMAGES)
    paths = [write(tmp_path / name, part) for name, part in (("a", pixels[:5]), ("b", pixels[5:]))]
    reader = ShardReader(paths, RAW if write is write_raw else ENCODED, num_images=NUM_IMAGES)
    options = {"augmentation": Augmentation(flip=flip, crop_padding=1), "batch_size": 4}
    resident = make_batches(ResidentImages(torch.from_numpy(pixels)), **options)
    batches = make_batches(streamed(reader, num_workers), **options)
    for position in (0, 9):
        expected = resident.starting_at(position, 50 + position)
        found = batches.starting_at(position, 50 + position)
        # Four epochs of 13 images.
        for (images, labels), (other_images, other_labels) in itertools.islice(
            zip(expected, found, strict=True), 13
        ):
            assert torch.equal(images, other_images)
            assert torch.equal(labels, other_labels)


def test_resident_images_are_those_of_the_indices() -> None:
    pixels = random_pixels(NUM_IMAGES)
    images = ResidentImages(torch.from_numpy(pixels))
    asked = picks([3, 3, 0], [], [12])
    found = list(images.batches(asked))
    assert [batch.dtype for batch in found] == [torch.uint8] * 3
    for indices, batch in zip(asked, found, strict=True):
        np.testing.assert_array_equal(batch.numpy(), pixels[indices.numpy()])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_streamed_images_come_in_the_order_that_they_were_asked_for(num_workers: int) -> None:
    pixels = random_pixels(NUM_IMAGES)
    asked = picks([3, 3, 0], [12], [1, 2], [5], [0, 12, 4, 4], [], [7])
    found = list(streamed(ArrayReader(pixels), num_workers).batches(asked))
    assert len(found) == 7
    for indices, batch in zip(asked, found, strict=True):
        np.testing.assert_array_equal(batch.numpy(), pixels[indices.numpy()])


def test_only_a_few_batches_are_asked_for_ahead() -> None:
    asked = []

    def indices() -> "itertools.chain[torch.Tensor]":
        for number in itertools.count():
            asked.append(number)
            yield torch.tensor([number % NUM_IMAGES])

    batches = streamed(ArrayReader(random_pixels(NUM_IMAGES)), 2).batches(indices())
    next(batches)
    assert len(asked) <= 2 * 2 + 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_bad_image_in_a_worker_is_told_in_one_line(tmp_path: Path, num_workers: int) -> None:
    rows = [png(image) for image in random_pixels(5)]
    write_shard(tmp_path / "shard", [*rows[:3], b"no image", *rows[4:]], row_bytes=None)
    reader = ShardReader([tmp_path / "shard"], ENCODED, num_images=5)
    batches = streamed(reader, num_workers).batches(picks([0, 1], [4, 3], [2]))
    assert next(batches).shape == (2, 4, 6, 3)
    with pytest.raises(BadImageError, match=r"shard row 3 cannot be decoded") as raised:
        next(batches)
    assert "\n" not in str(raised.value)


def test_shard_that_is_gone_in_a_worker_is_told_in_one_line(tmp_path: Path) -> None:
    reader = ShardReader([write_raw(tmp_path / "s", random_pixels(5))], RAW, num_images=5)
    (tmp_path / "s").unlink()
    with pytest.raises(IntegrityError, match="s is gone") as raised:
        next(streamed(reader, 1).batches(picks([0])))
    assert "\n" not in str(raised.value)


class KilledReader(ArrayReader):
    """A reader whose process is killed when it reads the last image."""

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        if self.num_images - 1 in indices:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(indices)


def lose_worker(num_workers: int, busy_s: float) -> None:
    """Print which error a killed worker becomes for one who is busy between batches."""
    source = streamed(KilledReader(random_pixels(NUM_IMAGES)), num_workers)
    try:
        # The fifth batch is asked for after the first one was handed over.
        for _ in source.batches(picks([0], [1], [2], [3], [NUM_IMAGES - 1], [4])):
            end = time.monotonic() + busy_s
            while time.monotonic() < end:
                pass
    except Exception as error:
        sys.stdout.write(f"{type(error).__name__}: {error}\n")


@pytest.mark.slow
def test_worker_that_is_killed_is_told_in_one_line() -> None:
    calls = "; ".join(f"lose_worker({n}, {busy_s})" for n in (1, 2) for busy_s in (0, 0.3))
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", f"from test_image_source import lose_worker; {calls}"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stdout + done.stderr
    for line in lines:
        assert re.fullmatch(
            "WorkerLostError: a process that reads images was killed, .*: "
            "give the step more memory.*",
            line,
        )
    assert done.returncode == 0, done.stderr


class FailingReader(ArrayReader):
    """A reader with a bug."""

    def read(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise RuntimeError(f"a bug at {indices}")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_bug_of_a_reader_is_not_told_as_a_lost_worker(num_workers: int) -> None:
    with pytest.raises(RuntimeError, match=r"a bug at \[1\]"):
        next(streamed(FailingReader(random_pixels(2)), num_workers).batches(picks([1])))
