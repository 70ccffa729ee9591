"""Reading class shards: any images in any order, however many files hold them."""

import itertools
import os
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shard_sample import (
    ENCODED,
    FORMATS,
    RAW,
    RNG,
    Write,
    image_batch,
    image_format,
    png,
    random_pixels,
    write_arrow,
    write_encoded,
    write_raw,
)

from accrete.data import shards
from accrete.data.shards import ShardReader, write_shard

BOTH = pytest.mark.parametrize("write", [write_raw, write_encoded])


def write_parts(
    folder: Path, pixels: NDArray[np.uint8], sizes: list[int], write: Write
) -> ShardReader:
    """Write images as shards of these sizes and open them."""
    ends = np.cumsum(sizes)
    paths = [
        write(folder / f"{number}.arrow", pixels[end - size : end])
        for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    return ShardReader(paths, FORMATS[write], num_images=len(pixels))


def indices_of(*numbers: int) -> NDArray[np.int64]:
    """Return numbers as a reader wants them."""
    return np.array(numbers, np.int64)


def read_all(reader: ShardReader) -> NDArray[np.uint8]:
    """Return all images."""
    return reader.read(np.arange(reader.num_images))


def open_files(folder: Path) -> list[str]:
    """Return the names of a folder's files that this process has open."""
    targets = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208
    names = [target.readlink() for target in targets if target.is_symlink()]
    return sorted(name.name for name in names if name.parent == folder)


@pytest.mark.parametrize("channels", [1, 3])
def test_raw_shard_comes_back(tmp_path: Path, channels: int) -> None:
    pixels = random_pixels(5, channels)
    path = write_raw(tmp_path / "shard", pixels)
    reader = ShardReader([path], image_format("raw", channels=channels), num_images=5)
    assert reader.image_bytes == 24 * channels
    assert read_all(reader).dtype == np.uint8
    np.testing.assert_array_equal(read_all(reader), pixels)


def test_encoded_shard_comes_back_decoded(tmp_path: Path) -> None:
    pixels = random_pixels(30)
    path = write_encoded(tmp_path / "shard", pixels)
    np.testing.assert_array_equal(read_all(ShardReader([path], ENCODED, num_images=30)), pixels)


def test_encoded_images_are_cropped_and_grey_ones_get_three_channels(tmp_path: Path) -> None:
    wide, grey = RNG.integers(0, 256, (4, 10, 3), np.uint8), random_pixels(1, 1)[0]
    write_shard(tmp_path / "shard", [png(wide), png(grey)], row_bytes=None)
    reader = ShardReader([tmp_path / "shard"], ENCODED, num_images=2)
    first, second = read_all(reader)
    np.testing.assert_array_equal(first, wide[:, 2:8])
    np.testing.assert_array_equal(second, np.repeat(grey, 3, axis=2))


@BOTH
def test_several_shards_come_back_in_order(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(6)
    paths = [write(tmp_path / f"{n}", pixels[a:b]) for n, (a, b) in enumerate([(0, 2), (2, 6)])]
    np.testing.assert_array_equal(
        read_all(ShardReader(paths, FORMATS[write], num_images=6)), pixels
    )
    swapped = np.concatenate([pixels[2:], pixels[:2]])
    reader = ShardReader(paths[::-1], FORMATS[write], num_images=6)
    np.testing.assert_array_equal(read_all(reader), swapped)


@BOTH
def test_shard_of_several_record_batches_comes_back(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(9)
    kind = pa.binary(72) if write is write_raw else pa.large_binary()
    rows = [image.tobytes() if write is write_raw else png(image) for image in pixels]
    batches = [image_batch(rows[a:b], kind) for a, b in [(0, 4), (4, 5), (5, 9)]]
    path = write_arrow(tmp_path / "shard", batches)
    reader = ShardReader([path, path], FORMATS[write], num_images=18)
    indices = RNG.permutation(18)
    np.testing.assert_array_equal(reader.read(indices), pixels[indices % 9])


@BOTH
@settings(max_examples=30)
@given(data=st.data())
def test_reading_any_images_gives_those_that_were_stored(write: Write, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    num_images = sum(sizes)
    some = st.integers(0, num_images - 1)
    runs = st.tuples(some, some).map(lambda ends: list(range(min(ends), max(ends) + 1)))
    pieces = data.draw(st.lists(some.map(lambda i: [i]) | runs, max_size=8))
    indices = list(itertools.chain.from_iterable(pieces))
    pixels = random_pixels(num_images)
    with TemporaryDirectory() as folder:
        reader = write_parts(Path(folder), pixels, sizes, write)
        images = reader.read(np.array(indices, np.int64))
    np.testing.assert_array_equal(images, pixels[indices])


@BOTH
def test_reading_no_image_gives_none(tmp_path: Path, write: Write) -> None:
    reader = write_parts(tmp_path, random_pixels(3), [3], write)
    assert reader.read(indices_of()).shape == (0, 4, 6, 3)
    assert open_files(tmp_path) == []


def test_no_shard_holds_no_image() -> None:
    assert read_all(ShardReader([], RAW, num_images=0)).shape == (0, 4, 6, 3)


@BOTH
def test_image_that_is_asked_for_twice_comes_twice(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(5)
    reader = write_parts(tmp_path, pixels, [2, 3], write)
    indices = indices_of(4, 4, 1, 4, 0, 0, 1, 2)
    np.testing.assert_array_equal(reader.read(indices), pixels[indices])


@BOTH
def test_reader_can_be_sent_to_another_process_while_its_files_are_open(
    tmp_path: Path, write: Write
) -> None:
    pixels = random_pixels(5)
    reader = write_parts(tmp_path, pixels, [2, 3], write)
    read_all(reader)
    sent = pickle.loads(pickle.dumps(reader))  # noqa: S301
    del reader
    assert open_files(tmp_path) == []
    np.testing.assert_array_equal(read_all(sent), pixels)


@BOTH
def test_more_shards_than_may_be_open_at_once_are_read(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "_MAX_OPEN_FILES", 2)
    pixels = random_pixels(10)
    reader = write_parts(tmp_path, pixels, [2] * 5, write)
    for indices in (np.arange(10), indices_of(9, 0, 8, 1, 4), indices_of(3, 4, 3, 5, 3)):
        np.testing.assert_array_equal(reader.read(indices), pixels[indices])
        assert len(open_files(tmp_path)) == 2
    reader.close()
    reader.read(indices_of(0, 2, 1, 4))
    assert open_files(tmp_path) == ["0.arrow", "2.arrow"]  # 1 was used longest ago


def test_closed_reader_has_no_open_file_and_opens_them_again(tmp_path: Path) -> None:
    pixels = random_pixels(4)
    reader = write_parts(tmp_path, pixels, [2, 2], write_raw)
    read_all(reader)
    assert open_files(tmp_path) == ["0.arrow", "1.arrow"]
    reader.close()
    assert open_files(tmp_path) == []
    np.testing.assert_array_equal(read_all(reader), pixels)
