"""Images on their way from the source to the store: spooled until their common format is known."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from accrete.catalog import Catalog
from accrete.config import BaseModel, SourceConfig
from accrete.digest import sha256_of_file
from accrete.errors import EmptyClassError, SourceError
from accrete.image_format import ImageFormat
from accrete.images import Pixels
from accrete.manifests import (
    FORMAT,
    SPLITS,
    ClassEntry,
    DatasetManifest,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.shards import parts_of, write_shard
from accrete.sources import Item
from accrete.spool import ClassSpool
from accrete.statistics import PixelStatistics
from accrete.store import ObjectRef

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
