"""Images on their way from the source to the store, spooled on disk by class and split.

Whether a data set is of one size, and whether it is grey, shows only after its last image: until
then both forms are kept, the decoded one only as long as all sizes agree.
"""

import tempfile
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import (
    FORMAT,
    SPLITS,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.run import BaseModel, SourceConfig
from accrete.core.hashing import sha256_of_file
from accrete.data.images import Pixels, with_channels
from accrete.data.shards import parts_of, write_shard
from accrete.data.sources.opening import Item
from accrete.errors import EmptyClassError, SourceError
from accrete.store.keys import ObjectRef


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


_PIXELS_AT_ONCE = 1 << 20
"""Of an image; each takes 48 bytes as numbers."""


class PixelStatistics:
    """Running integer sums over images of one or three channels."""

    def __init__(self) -> None:
        """Start with no image."""
        self._count = 0
        self._sums = np.zeros(3, np.int64)
        self._squares = np.zeros(3, np.int64)

    def add(self, pixels: Pixels) -> None:
        """Count an image (height, width, channels)."""
        rows = max(1, _PIXELS_AT_ONCE // pixels.shape[1])
        for first in range(0, len(pixels), rows):
            self._add(with_channels(pixels[first : first + rows], 3).astype(np.int64))

    def _add(self, values: NDArray[np.int64]) -> None:
        self._count += values.shape[0] * values.shape[1]
        self._sums += values.sum(axis=(0, 1))
        self._squares += np.square(values).sum(axis=(0, 1))

    def normalization(self, channels: int) -> Normalization:
        """Return mean and standard deviation of all images, scaled to 0..1.

        A channel that never changes has deviation 0, which nothing can be divided by: it gets 1.
        """
        mean = self._sums / self._count / 255
        variance = self._squares / self._count / 255**2 - mean**2
        std = np.sqrt(np.maximum(variance, 0))
        std = np.where(std > 1e-6, std, 1.0)
        # Nine digits: beyond them numpy versions may differ, and the digest must not.
        return Normalization(
            mean=tuple(round(float(m), 9) for m in mean[:channels]),
            std=tuple(round(float(s), 9) for s in std[:channels]),
        )


MAX_DEFAULT_SIDE = 224
"""Images of several sizes are cropped to their shortest side, at most this many pixels."""

_NAMED_SKIPS = 100


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image on its way to the store."""

    item: Item
    pixels: Pixels | None
    """None: a bad image that is to be skipped."""
    encoded: bytes | None


class Intake:
    """Images on their way from the source to the store."""

    def __init__(
        self,
        folder: Path,
        class_names: list[str],
        config: SourceConfig,
        base: BaseModel | None,
    ) -> None:
        """Spool below a folder; the images of a base's extension must come in its format."""
        self._base = base
        self._folder = folder
        self._names = class_names
        self._config = config
        self._spools = {
            (name, split): ClassSpool(folder / f"{class_id:06d}-{split}")
            for class_id, name in enumerate(class_names)
            for split in SPLITS
        }
        self._statistics = PixelStatistics()
        self._sizes: set[tuple[int, int]] = set()
        self._shortest_side = MAX_DEFAULT_SIDE
        self._channels = 1
        self._skipped_places: list[str] = []
        self._skipped_train = dict.fromkeys(class_names, 0)

    @property
    def _is_uniform(self) -> bool:
        return len(self._sizes) <= 1

    def add(self, decoded: Decoded, split: str) -> None:
        """Spool one image."""
        name = decoded.item.class_name
        if decoded.pixels is None:
            self._skipped_places.append(decoded.item.place)
            self._skipped_train[name] += split == "train"
            return
        pixels = decoded.pixels
        self._note_size(pixels)
        if split == "train":
            self._statistics.add(pixels)
        self._spools[name, split].append(pixels, decoded.encoded, keep_raw=self._is_uniform)

    def _note_size(self, pixels: Pixels) -> None:
        height, width, channels = pixels.shape
        was_uniform = self._is_uniform
        if len(self._sizes) < 2:
            self._sizes.add((height, width))
        self._shortest_side = min(self._shortest_side, height, width)
        self._channels = max(self._channels, channels)
        if was_uniform and not self._is_uniform:
            for spool in self._spools.values():
                spool.drop_raw()

    def publish(self, policy: SplitPolicy, catalog: Catalog) -> DatasetManifest:
        """Store the shards; return the manifest, not yet stored."""
        base = self._base
        image = self._checked(base) if base else self._image_format()
        own_normalization = self._statistics.normalization(self._channels)
        with ThreadPoolExecutor(4) as pool:
            entries = list(pool.map(lambda name: self._entry(name, image, catalog), self._names))
        return DatasetManifest(
            format=FORMAT,
            classes=tuple(entries),
            image=image,
            normalization=base.normalization if base else own_normalization,
            split=policy,
            skipped=Skipped(
                count=len(self._skipped_places), places=tuple(self._skipped_places[:_NAMED_SKIPS])
            ),
        )

    def _image_format(self) -> ImageFormat:
        size = self._config.image_size
        first = next(iter(self._sizes), (1, 1))
        is_raw = self._is_uniform and (size is None or first == (size, size))
        side = size or self._shortest_side
        height, width = first if is_raw else (side, side)
        return ImageFormat(
            encoding="raw" if is_raw else "encoded",
            height=height,
            width=width,
            channels=self._channels,
            preprocessing="none" if is_raw else "short-side-center-crop",
        )

    def _checked(self, base: BaseModel) -> ImageFormat:
        """Return the format in which these images can be added to what a base takes.

        Raises:
            SourceError: says what they are and what is wanted.
        """
        own, wanted = self._image_format(), base.image
        if own.channels > wanted.channels:
            raise SourceError(
                f"the new images are in colour, but {base.origin} takes grey ones: convert them"
            )
        if base.dataset is None:  # no shards to agree with: the size is all that matters
            wanted = replace(wanted, encoding=own.encoding, preprocessing=own.preprocessing)
        elif wanted.encoding == "encoded":
            if not all(spool.is_encoded for spool in self._spools.values()):
                raise SourceError(
                    f"the new images come as pixels, but those that {base.origin} was trained on "
                    "are image files: give them as an image folder or in Parquet"
                )
            return wanted
        if own != replace(wanted, channels=own.channels):
            seen = " and ".join(f"{width}x{height}" for height, width in sorted(self._sizes))
            raise SourceError(
                f"the new images have {seen} px, but {base.origin} takes "
                f"{wanted.width}x{wanted.height}: scale them, with --image-size {wanted.height} "
                "if they are to be square"
            )
        return wanted

    def _entry(self, name: str, image: ImageFormat, catalog: Catalog) -> ClassEntry:
        if len(self._spools[name, "train"]) == 0:
            raise EmptyClassError(
                f"class {name!r} has no training image left: all of them were skipped as bad"
            )
        shards = {
            split: tuple(self._store_shards(self._spools[name, split], image, catalog))
            for split in SPLITS
        }
        return ClassEntry(name=name, **shards, num_skipped_train=self._skipped_train[name])

    def _store_shards(
        self, spool: ClassSpool, image: ImageFormat, catalog: Catalog
    ) -> Iterator[ShardRef]:
        if not len(spool):
            return
        if image.encoding == "raw":
            rows = spool.raw_rows(image.height, image.width, image.channels)
            row_bytes = image.height * image.width * image.channels
        else:
            rows, row_bytes = spool.encoded_rows(), None
        for part in parts_of(rows):
            with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".arrow") as file:
                path = Path(file.name)
                write_shard(path, part, row_bytes=row_bytes)
                ref = ObjectRef(sha256=sha256_of_file(path), num_bytes=path.stat().st_size)
                catalog.store.push_file(ref, path)
            yield ShardRef(sha256=ref.sha256, num_bytes=ref.num_bytes, num_images=len(part))
