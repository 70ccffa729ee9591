"""Class shards: what is written comes back, the bytes are fixed, and wrong files are refused."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from accrete import shards
from accrete.errors import BadImageError, IntegrityError
from accrete.manifests import ImageFormat
from accrete.shards import parts_of, read_shards, write_shard

Write = Callable[[Path, NDArray[np.uint8]], Path]

RNG = np.random.default_rng(0)


def image_format(encoding: str, height: int = 4, width: int = 6, channels: int = 3) -> ImageFormat:
    """Return the format of a data set's images."""
    return ImageFormat(
        encoding=encoding, height=height, width=width, channels=channels, preprocessing="none"
    )


RAW = image_format("raw")
ENCODED = image_format("encoded")


def random_pixels(num_images: int, channels: int = 3) -> NDArray[np.uint8]:
    """Return images (num_images, 4, 6, channels)."""
    return RNG.integers(0, 256, (num_images, 4, 6, channels), np.uint8)


def write_raw(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write images as a raw shard."""
    write_shard(path, [image.tobytes() for image in pixels], row_bytes=pixels[0].nbytes)
    return path


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_encoded(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write images as a shard of PNG files."""
    write_shard(path, [png(image) for image in pixels], row_bytes=None)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_raw_shard_comes_back(tmp_path: Path, channels: int) -> None:
    pixels = random_pixels(5, channels)
    path = write_raw(tmp_path / "shard", pixels)
    back = read_shards([path], image_format("raw", channels=channels), num_images=5)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, pixels)


def test_encoded_shard_comes_back_decoded(tmp_path: Path) -> None:
    pixels = random_pixels(30)
    path = write_encoded(tmp_path / "shard", pixels)
    np.testing.assert_array_equal(read_shards([path], ENCODED, num_images=30), pixels)


def test_encoded_images_are_cropped_and_grey_ones_get_three_channels(tmp_path: Path) -> None:
    wide, grey = RNG.integers(0, 256, (4, 10, 3), np.uint8), random_pixels(1, 1)[0]
    write_shard(tmp_path / "shard", [png(wide), png(grey)], row_bytes=None)
    first, second = read_shards([tmp_path / "shard"], ENCODED, num_images=2)
    np.testing.assert_array_equal(first, wide[:, 2:8])
    np.testing.assert_array_equal(second, np.repeat(grey, 3, axis=2))


@pytest.mark.parametrize("write", [write_raw, write_encoded])
def test_several_shards_come_back_in_order(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(6)
    paths = [write(tmp_path / f"{n}", pixels[a:b]) for n, (a, b) in enumerate([(0, 3), (3, 6)])]
    form = RAW if write is write_raw else ENCODED
    np.testing.assert_array_equal(read_shards(paths, form, num_images=6), pixels)
    swapped = np.concatenate([pixels[3:], pixels[:3]])
    np.testing.assert_array_equal(read_shards(paths[::-1], form, num_images=6), swapped)


def test_no_shard_holds_no_image() -> None:
    assert read_shards([], RAW, num_images=0).shape == (0, 4, 6, 3)


@pytest.mark.parametrize("write", [write_raw, write_encoded])
def test_same_images_give_the_same_bytes(tmp_path: Path, write: Write) -> None:
    pixels = random_pixels(3)
    first, again = write(tmp_path / "a", pixels), write(tmp_path / "b", pixels)
    other = write(tmp_path / "c", pixels[::-1])
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("form", [RAW, ENCODED])
@pytest.mark.parametrize("content", [b"", b"no Arrow file", b"ARROW1\0\0" * 20])
def test_file_that_is_no_arrow_file_is_refused_by_name(
    tmp_path: Path, content: bytes, form: ImageFormat
) -> None:
    (tmp_path / "broken").write_bytes(content)
    with pytest.raises(IntegrityError, match="broken is not a class shard"):
        read_shards([tmp_path / "broken"], form, num_images=1)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="nowhere is not a class shard"):
        read_shards([tmp_path / "nowhere"], RAW, num_images=1)


def test_shard_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    data = write_raw(tmp_path / "whole", random_pixels(2)).read_bytes()
    for length in range(0, len(data), 7):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(IntegrityError, match="cut is not a class shard"):
            read_shards([tmp_path / "cut"], RAW, num_images=2)


def test_arrow_file_without_images_is_refused(tmp_path: Path) -> None:
    table = pa.table({"picture": [b"x"]})
    with (
        pa.OSFile(str(tmp_path / "other"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    with pytest.raises(IntegrityError, match="other is not a class shard"):
        read_shards([tmp_path / "other"], RAW, num_images=1)


def test_rows_of_another_size_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "shard", random_pixels(2))
    match = r"shard holds fixed_size_binary\[72\], its manifest names 24 bytes"
    with pytest.raises(IntegrityError, match=match):
        read_shards([path], image_format("raw", channels=1), num_images=2)


def test_encoded_shard_read_as_raw_is_refused(tmp_path: Path) -> None:
    path = write_encoded(tmp_path / "shard", random_pixels(2))
    with pytest.raises(IntegrityError, match="shard holds large_binary"):
        read_shards([path], RAW, num_images=2)


@pytest.mark.parametrize("write", [write_raw, write_encoded])
@pytest.mark.parametrize("named", [0, 2])
def test_shard_of_more_images_than_named_is_refused(
    tmp_path: Path, write: Write, named: int
) -> None:
    path = write(tmp_path / "shard", random_pixels(3))
    form = RAW if write is write_raw else ENCODED
    with pytest.raises(IntegrityError, match="shard holds more images than its manifest names"):
        read_shards([path], form, num_images=named)


def test_shards_of_fewer_images_than_named_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "shard", random_pixels(3))
    with pytest.raises(IntegrityError, match="the shards hold 3 images, their manifest names 4"):
        read_shards([path], RAW, num_images=4)


def test_bad_image_in_an_encoded_shard_is_named_by_its_row(tmp_path: Path) -> None:
    rows = [png(random_pixels(1)[0]), b"no image"]
    write_shard(tmp_path / "shard", rows, row_bytes=None)
    with pytest.raises(BadImageError, match="shard row 1 cannot be decoded"):
        read_shards([tmp_path / "shard"], ENCODED, num_images=2)


def test_class_of_many_bytes_splits_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 10)
    rows = [b"a" * 4, b"b" * 4, b"c" * 2, b"d", b"e" * 30, b"f", b"g" * 9]
    parts = list(parts_of(rows))
    assert parts == [rows[0:3], rows[3:4], rows[4:5], rows[5:7]]


def test_parts_are_taken_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 10)
    taken: list[int] = []

    def rows() -> Iterator[bytes]:
        for number in range(9):
            taken.append(number)
            yield b"abcde"

    assert next(iter(parts_of(rows()))) == [b"abcde"] * 2
    assert taken == [0, 1, 2]


def test_class_without_rows_has_no_part() -> None:
    assert list(parts_of([])) == []


def test_part_holds_at_most_256_mib() -> None:
    assert shards.MAX_SHARD_BYTES == 268_435_456
