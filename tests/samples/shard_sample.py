"""Small class shards of random images, raw and encoded."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from accrete.config.image_format import ImageFormat
from accrete.data.shards import write_shard

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


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_raw(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write images as a raw shard."""
    write_shard(path, [image.tobytes() for image in pixels], row_bytes=pixels[0].nbytes)
    return path


def write_encoded(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write images as a shard of PNG files."""
    write_shard(path, [png(image) for image in pixels], row_bytes=None)
    return path


FORMATS = {write_raw: RAW, write_encoded: ENCODED}
"""How images are stored, by what writes them."""


def write_arrow(path: Path, batches: Sequence[pa.RecordBatch], **options: Any) -> Path:
    """Write any Arrow IPC file."""
    write_options = pa.ipc.IpcWriteOptions(**options)
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, batches[0].schema, options=write_options) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    return path


def image_batch(rows: Sequence[bytes | None], kind: pa.DataType) -> pa.RecordBatch:
    """Return a record batch of an image column."""
    return pa.record_batch([pa.array(rows, kind)], names=["image"])
