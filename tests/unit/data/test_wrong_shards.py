"""Files that are no class shards, or not those that the manifest names, are refused in one line."""

import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from shard_sample import (
    ENCODED,
    FORMATS,
    RAW,
    Write,
    image_batch,
    image_format,
    png,
    random_pixels,
    write_arrow,
    write_encoded,
    write_raw,
)

from accrete.config.image_format import ImageFormat
from accrete.data.shards import ShardReader, write_shard
from accrete.errors import AccreteError, BadImageError, IntegrityError

BOTH = pytest.mark.parametrize("write", [write_raw, write_encoded])


def check_refused(
    path: Path, form: ImageFormat, match: str, error: type[AccreteError] = IntegrityError
) -> None:
    """Fail unless a shard of two images is refused in one line that names it."""
    with pytest.raises(error, match=match) as raised:
        ShardReader([path], form, num_images=2).read(np.arange(2))
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("form", [RAW, ENCODED])
@pytest.mark.parametrize("content", [b"", b"no Arrow file", b"ARROW1\0\0" * 20])
def test_file_that_is_no_arrow_file_is_refused_by_name(
    tmp_path: Path, content: bytes, form: ImageFormat
) -> None:
    (tmp_path / "broken").write_bytes(content)
    check_refused(tmp_path / "broken", form, "broken is not a class shard")


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    check_refused(tmp_path / "nowhere", RAW, "nowhere is not a class shard")


@BOTH
def test_shard_cut_short_anywhere_is_refused(tmp_path: Path, write: Write) -> None:
    data = write(tmp_path / "whole", random_pixels(2)).read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut").write_bytes(data[:length])
        check_refused(tmp_path / "cut", FORMATS[write], "cut is not a class shard")


def test_arrow_file_without_images_is_refused(tmp_path: Path) -> None:
    batch = pa.record_batch([pa.array([b"x"])], names=["picture"])
    path = write_arrow(tmp_path / "other", [batch])
    check_refused(path, RAW, "other is not a class shard")


@BOTH
def test_shard_with_a_row_that_is_null_is_refused(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(1)[0]
    row, kind = (
        (pixels.tobytes(), pa.binary(72))
        if write is write_raw
        else (png(pixels), pa.large_binary())
    )
    path = write_arrow(tmp_path / "shard", [image_batch([row, None], kind)])
    check_refused(path, FORMATS[write], r"shard is not a class shard \(it holds no plain rows\)")


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@BOTH
def test_shard_whose_buffers_are_compressed_is_refused(
    tmp_path: Path, write: Write, codec: str
) -> None:
    rows = [bytes(72)] * 2 if write is write_raw else [png(np.zeros((4, 6, 3), np.uint8)) * 9] * 2
    kind = pa.binary(72) if write is write_raw else pa.large_binary()
    path = write_arrow(tmp_path / "shard", [image_batch(rows, kind)], compression=codec)
    check_refused(path, FORMATS[write], r"shard is not a class shard \(it holds no plain rows\)")


def test_rows_of_another_size_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "shard", random_pixels(2))
    match = r"shard holds fixed_size_binary\[72\], its manifest names 24 bytes"
    check_refused(path, image_format("raw", channels=1), match)


def test_encoded_shard_read_as_raw_is_refused(tmp_path: Path) -> None:
    path = write_encoded(tmp_path / "shard", random_pixels(2))
    check_refused(path, RAW, "shard holds large_binary, its manifest names 72 bytes")


def test_raw_shard_read_as_encoded_is_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "shard", random_pixels(2))
    match = r"shard holds fixed_size_binary\[72\], its manifest names encoded images"
    check_refused(path, ENCODED, match)


@BOTH
@pytest.mark.parametrize("named", [0, 2, 4])
def test_shards_of_another_number_of_images_are_refused(
    tmp_path: Path, write: Write, named: int
) -> None:
    paths = [write(tmp_path / name, random_pixels(size)) for name, size in (("a", 2), ("b", 1))]
    match = f"the shards hold 3 images, their manifest names {named}"
    with pytest.raises(IntegrityError, match=match):
        ShardReader(paths, FORMATS[write], num_images=named)


def test_bad_image_in_an_encoded_shard_is_named_by_its_row(tmp_path: Path) -> None:
    rows = [png(random_pixels(1)[0]), b"no image"]
    write_shard(tmp_path / "shard", rows, row_bytes=None)
    check_refused(tmp_path / "shard", ENCODED, "shard row 1 cannot be decoded", BadImageError)


def test_empty_image_in_an_encoded_shard_is_named_by_its_row(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard", [b"", png(random_pixels(1)[0])], row_bytes=None)
    match = r"shard row 0 cannot be decoded \(it is empty\)"
    check_refused(tmp_path / "shard", ENCODED, match, BadImageError)


@BOTH
@pytest.mark.parametrize("is_open", [False, True])
def test_shard_that_became_shorter_is_refused(tmp_path: Path, write: Write, is_open: bool) -> None:
    path = write(tmp_path / "shard", random_pixels(2))
    reader = ShardReader([path], FORMATS[write], num_images=2)
    if is_open:
        reader.read(np.arange(2))
    os.truncate(path, 300)
    match = re.escape(f"{path} became shorter while it was read")
    with pytest.raises(IntegrityError, match=match):
        reader.read(np.arange(2))


def test_shard_that_is_gone_is_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "shard", random_pixels(2))
    reader = ShardReader([path], RAW, num_images=2)
    path.unlink()
    with pytest.raises(IntegrityError, match=re.escape(f"{path} is gone (No such file")):
        reader.read(np.arange(2))


@BOTH
def test_shard_without_rows_adds_no_image(tmp_path: Path, write: Write) -> None:
    kind = pa.binary(72) if write is write_raw else pa.large_binary()
    empty = write_arrow(tmp_path / "empty", [image_batch([], kind)])
    full = write(tmp_path / "full", pixels := random_pixels(2))
    reader = ShardReader([empty, full, empty], FORMATS[write], num_images=2)
    np.testing.assert_array_equal(reader.read(np.arange(2)), pixels)
