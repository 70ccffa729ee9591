"""Images on their way from the source to the store, spooled on disk by class and split.

Whether a data set is of one size, and whether it is grey, shows only after its last image: until
then both forms are kept, the decoded one only as long as all sizes agree.
"""

import re
import tempfile
from array import array
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import itemgetter
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
from accrete.core.units import format_counted, pluralize
from accrete.data.images import Pixels, with_channels
from accrete.data.shards import parts_of, write_shard
from accrete.data.sizes import Size, SizeCounts, size_notes
from accrete.data.sources.opening import Item
from accrete.errors import BadImageError, EmptyClassError, SourceError, printable
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


_NAMED_SKIPS = 100
_TOLD = 3
"""Places and reasons of bad images in a line; the manifest has more places."""

_NUM_REASONS = 1000
_REASON_CHARACTERS = 200
_OTHER = "for other reasons"


def why_bad(error: BadImageError, place: str) -> str:
    """Return why an image is bad, without its place and without what to do."""
    said = str(error).removeprefix(place).strip()
    return printable(said.rpartition(": ")[0] or said)[:_REASON_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image on its way to the store."""

    item: Item
    pixels: Pixels | None
    """None: a bad image that is to be skipped."""
    encoded: bytes | None
    reason: str = ""
    """Why it is bad."""


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
        self._sizes: set[Size] = set()
        self._train_sizes = SizeCounts()
        self._channels = 1
        self._num_images = 0
        self._num_skipped = 0
        self._skipped_places: list[str] = []
        self._skipped_reasons: dict[str, tuple[int, str]] = {}
        self._skipped_train = dict.fromkeys(class_names, 0)

    @property
    def _is_uniform(self) -> bool:
        return len(self._sizes) <= 1

    def add(self, decoded: Decoded, split: str) -> None:
        """Spool one image."""
        name = decoded.item.class_name
        self._num_images += 1
        if decoded.pixels is None:
            self._note_skip(decoded)
            self._skipped_train[name] += split == "train"
            return
        pixels = decoded.pixels
        self._note_size(pixels)
        if split == "train":
            self._statistics.add(pixels)
            self._train_sizes.add(pixels.shape[0], pixels.shape[1], decoded.item.place)
        self._spools[name, split].append(pixels, decoded.encoded, keep_raw=self._is_uniform)

    def _note_skip(self, decoded: Decoded) -> None:
        self._num_skipped += 1
        if len(self._skipped_places) < _NAMED_SKIPS:
            self._skipped_places.append(printable(decoded.item.place))
        # Those that differ in numbers only are one.
        reasons, key = self._skipped_reasons, re.sub(r"\d[\d,.]*", "…", decoded.reason)
        if key not in reasons and len(reasons) >= _NUM_REASONS:
            key = _OTHER
        number, words = reasons.get(key, (0, key if key == _OTHER else decoded.reason))
        reasons[key] = number + 1, words if words == decoded.reason else key

    def _note_size(self, pixels: Pixels) -> None:
        height, width, channels = pixels.shape
        was_uniform = self._is_uniform
        if len(self._sizes) < 2:
            self._sizes.add((height, width))
        self._channels = max(self._channels, channels)
        if was_uniform and not self._is_uniform:
            for spool in self._spools.values():
                spool.drop_raw()

    @property
    def num_spooled(self) -> int:
        """Images that are to be stored, of all classes and splits."""
        return sum(map(len, self._spools.values()))

    @property
    def _own_normalization(self) -> Normalization:
        return self._statistics.normalization(self._channels)

    def image_format(self, may_lack: Collection[str] = ()) -> ImageFormat:
        """Return the format in which the images are stored.

        Args:
            may_lack: classes that need no training image of their own.

        Raises:
            EmptyClassError: another class has none left to train on.
            SourceError: they cannot be added to the base's.
        """
        for name in self._names:
            if name not in may_lack and not len(self._spools[name, "train"]):
                raise EmptyClassError(
                    f"class {name!r} has no training image left: all of them were skipped as bad"
                )
        return self._checked(self._base) if self._base else self._own_format()

    def publish(
        self,
        image: ImageFormat,
        policy: SplitPolicy,
        catalog: Catalog,
        normalization: Normalization | None,
    ) -> DatasetManifest:
        """Store the shards in a format; return the manifest, not yet stored.

        Args:
            image: the format.
            policy: how the splits were made.
            catalog: where the shards go.
            normalization: what the network to train expects; None: the images' own statistics,
                or the base's.
        """
        if normalization is None:
            base = self._base
            normalization = base.normalization if base else self._own_normalization
        with ThreadPoolExecutor(4) as pool:
            entries = list(pool.map(lambda name: self._entry(name, image, catalog), self._names))
        return DatasetManifest(
            format=FORMAT,
            classes=tuple(entries),
            image=image,
            normalization=normalization,
            split=policy,
            skipped=Skipped(count=self._num_skipped, places=tuple(self._skipped_places)),
        )

    def notes(self, image: ImageFormat) -> tuple[str, ...]:
        """Return lines on bad images, and on what becomes of the training images in a format."""
        bad = self._skip_notes()
        if image.encoding == "raw":
            return bad
        return (*bad, *size_notes(self._train_sizes, (image.height, image.width)))

    def _skip_notes(self) -> tuple[str, ...]:
        if not self._num_skipped:
            return ()
        common = sorted(self._skipped_reasons.values(), key=itemgetter(0), reverse=True)
        reasons = [f"{number:,} {words}" for number, words in common[:_TOLD]]
        others = sum(number for number, _ in common[_TOLD:])
        if others:
            reasons.append(f"{others:,} {_OTHER}")
        places = ", ".join(self._skipped_places[:_TOLD])
        more = ", …" if self._num_skipped > _TOLD else ""
        verb = pluralize(self._num_skipped, "is bad and", "are bad and")
        return (
            f"{self._num_skipped:,} of {format_counted(self._num_images, 'image')} {verb} left "
            f"out: {'; '.join(reasons)} ({places}{more})",
        )

    def _own_format(self) -> ImageFormat:
        size = self._asked_size()
        first = next(iter(self._sizes), (1, 1))
        is_raw = self._is_uniform and size in (None, first)
        height, width = first if is_raw else size or self._train_sizes.chosen()
        return ImageFormat(
            encoding="raw" if is_raw else "encoded",
            height=height,
            width=width,
            channels=self._channels,
            preprocessing="none" if is_raw else "short-side-center-crop",
        )

    def _asked_size(self) -> Size | None:
        """Return the size that the user wants, or that a base without shards crops to."""
        base, side = self._base, self._config.image_size
        if side is not None:
            return side, side
        if base is None or base.dataset is not None or base.image.preprocessing == "none":
            return None
        return base.image.height, base.image.width

    def _checked(self, base: BaseModel) -> ImageFormat:
        """Return the format in which these images can be added to what a base takes.

        Raises:
            SourceError: says what they are and what is wanted.
        """
        own, wanted = self._own_format(), base.image
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
