"""Decoded and encoded images on local disk, by class and split, until their format is known.

Whether a data set is of one size, and whether it is grey, shows only after its last image: until
then both forms are kept, the decoded one only as long as all sizes agree.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from accrete.images import Pixels, with_channels


class ClassSpool:
    """Images of one class and split, in the order they came."""

    def __init__(self, folder: Path) -> None:
        """Use an empty folder for two files."""
        folder.mkdir(parents=True)
        self._raw_path = folder / "raw"
        self._encoded_path = folder / "encoded"
        self._channels = array("b")
        self._encoded_sizes = array("q")

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def is_encoded(self) -> bool:
        """Whether every image came as an encoded file."""
        return all(self._encoded_sizes)

    def append(self, pixels: Pixels, encoded: bytes | None, *, keep_raw: bool) -> None:
        """Add an image; `encoded` is None where the source gives pixels."""
        self._channels.append(pixels.shape[2])
        if keep_raw:
            with self._raw_path.open("ab") as file:
                file.write(np.ascontiguousarray(pixels).data)
        data = encoded if encoded is not None else b""
        self._encoded_sizes.append(len(data))
        if data:
            with self._encoded_path.open("ab") as file:
                file.write(data)

    def drop_raw(self) -> None:
        """Forget the decoded form."""
        self._raw_path.unlink(missing_ok=True)

    def raw_rows(self, height: int, width: int, channels: int) -> Iterator[bytes]:
        """Yield raw pixels (height, width, channels); grey images are widened to RGB if asked."""
        with self._raw_path.open("rb") as file:
            for own_channels in self._channels:
                data = file.read(height * width * own_channels)
                if own_channels == channels:
                    yield data
                else:
                    pixels = np.frombuffer(data, np.uint8).reshape(height, width, own_channels)
                    yield with_channels(pixels, channels).tobytes()

    def encoded_rows(self) -> Iterator[bytes]:
        """Yield the encoded files."""
        with self._encoded_path.open("rb") as file:
            for size in self._encoded_sizes:
                yield file.read(size)
