"""Prepare a data set: decode and check every image, store one shard per class and split.

A composer: joins source, spool, shards and store. Data first, manifest last; the same input finds
its manifest again and moves nothing.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from accrete.catalog import Catalog
from accrete.codec import to_json
from accrete.config import SourceConfig
from accrete.digest import sha256_of_file, sha256_of_json
from accrete.errors import BadImageError, EmptyClassError
from accrete.images import Pixels, decode_image, resize_crop
from accrete.manifests import (
    FORMAT,
    ClassEntry,
    DatasetManifest,
    ImageFormat,
    ShardRef,
    Skipped,
    SplitPolicy,
)
from accrete.plan import Plan, check_counts_match
from accrete.shards import parts_of, write_shard
from accrete.sources import Item, Source, open_source
from accrete.sources.allotment import Allotment, split_policy, training_counts
from accrete.spool import ClassSpool
from accrete.statistics import PixelStatistics
from accrete.store import ObjectRef

SPLITS = ("train", "validation", "test")
MAX_DEFAULT_SIDE = 224
"""Images of several sizes are cropped to their shortest side, at most this many pixels."""

_CHUNK_ITEMS = 64
_NAMED_SKIPS = 100

Meter = Callable[[int], Callable[[int], None]]
"""Given the images in all, returns what is called with the images done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What preparing came to."""

    manifest: DatasetManifest
    """The data set."""
    reused: bool
    """Whether it was stored already."""


def prepare(
    config: SourceConfig, plan: Plan, catalog: Catalog, work_path: Path, meter: Meter
) -> Prepared:
    """Store a source's images as class shards, unless the same ones are stored already.

    Args:
        config: the source.
        plan: what the images must match: its classes and training counts.
        catalog: where manifests and objects go.
        work_path: folder for temporary files, about twice the size of the images.
        meter: told how far it is.

    Raises:
        SourceError: of any kind; nothing is published then.
        CountsMismatchError: the source holds other counts than the plan was made from.
    """
    source = open_source(config)
    fingerprint = _fingerprint(config, source)
    known = catalog.prepared_dataset(fingerprint)
    if known is not None:
        return Prepared(manifest=known, reused=True)
    counts = source.counts()
    check_counts_match(plan, training_counts(counts, config))
    policy = split_policy(counts, config)
    total = sum(sum(of_split.values()) for of_split in counts.values())
    work_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_path, prefix="prepare-") as folder:
        intake = _Intake(Path(folder), list(counts["train"]), config)
        allotment = Allotment(counts, policy)
        report = meter(total)
        for done, decoded in enumerate(_decoded(source, config), start=1):
            intake.add(decoded, allotment.split_of(decoded.item))
            report(done)
        manifest = intake.publish(policy, catalog)
    catalog.create_dataset(manifest, fingerprint)
    return Prepared(manifest=manifest, reused=False)


def _fingerprint(config: SourceConfig, source: Source) -> str:
    """Return a digest of the source's content and of every option that changes the shards."""
    options = to_json(config)
    del options["location"]  # the same images elsewhere are the same images
    return sha256_of_json({"format": FORMAT, "options": options, "content": source.fingerprint()})


@dataclass(frozen=True, slots=True)
class _Decoded:
    item: Item
    pixels: Pixels | None
    """None: a bad image that is to be skipped."""
    encoded: bytes | None


def _decoded(source: Source, config: SourceConfig) -> Iterator[_Decoded]:
    """Yield all images decoded, in order; a few chunks at a time, in threads."""
    items = source.items()
    with ThreadPoolExecutor() as pool:
        window: list[Item] = list(islice(items, _CHUNK_ITEMS * 8))
        while window:
            chunks = [window[i : i + _CHUNK_ITEMS] for i in range(0, len(window), _CHUNK_ITEMS)]
            futures = [pool.submit(_decode_chunk, chunk, config) for chunk in chunks]
            window = list(islice(items, _CHUNK_ITEMS * 8))
            for future in futures:
                yield from future.result()


def _decode_chunk(items: list[Item], config: SourceConfig) -> list[_Decoded]:
    return [_decode(item, config) for item in items]


def _decode(item: Item, config: SourceConfig) -> _Decoded:
    loaded = item.load()
    if not isinstance(loaded, bytes):
        return _Decoded(item, _sized(loaded, config), None)
    try:
        pixels = decode_image(loaded, item.place)
    except BadImageError:
        if config.on_bad_image == "skip":
            return _Decoded(item, None, None)
        raise
    return _Decoded(item, pixels, loaded)


def _sized(pixels: Pixels, config: SourceConfig) -> Pixels:
    """Return the pixels of a source without encoded files at the size that was asked for."""
    size = config.image_size
    return pixels if size is None else resize_crop(pixels, size, size)


class _Intake:
    """Images on their way from the source to the store."""

    def __init__(self, folder: Path, class_names: list[str], config: SourceConfig) -> None:
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

    def add(self, decoded: _Decoded, split: str) -> None:
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
        image = self._image_format()
        with ThreadPoolExecutor(4) as pool:
            entries = list(pool.map(lambda name: self._entry(name, image, catalog), self._names))
        return DatasetManifest(
            format=FORMAT,
            classes=tuple(entries),
            image=image,
            normalization=self._statistics.normalization(self._channels),
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
