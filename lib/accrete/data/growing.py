"""A data set that grows by what a source has more: images that are stored already are left out.

A typical source is one folder to which images are added: it has the old ones, too. An image is
known by the bytes that a shard has of it, pixels or file, whatever its name is now.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import SPLITS, DatasetManifest
from accrete.config.run import BaseModel, SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data._intake import Decoded, Intake
from accrete.data.extension import Extension
from accrete.data.images import with_channels
from accrete.data.inspection import understand
from accrete.data.prepare import MakeMeter, allotted, fingerprint_of, spool_folder
from accrete.data.shards import image_digests
from accrete.data.sources.opening import open_source
from accrete.data.splits import split_policy
from accrete.errors import SourceError
from accrete.store.cache import NodeCache

_SKIPS_STORED = "images that are stored already are left out"
"""Tells the note on a data set that grew from that on one whose images were all taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What a data set grew to."""

    manifest: DatasetManifest
    """The data set; the old one where the source has nothing more."""
    counts: Mapping[str, int]
    """Training images that a plan has more of each of the source's classes; bad ones are among
    them."""
    num_train: int
    """Training images that were stored."""
    num_stored: int
    """Images of all splits that were stored."""
    notes: tuple[str, ...] = ()
    """What became of the images, in lines that somebody should read."""


class ChangedSourceError(SourceError):
    """The source changed while it was read: what was read may be half of something."""


class RenamedClassError(SourceError):
    """A new class has the images of one that is known: its folder may have a new name."""

    def __init__(self, message: str, name: str) -> None:
        """Tell which class is not to be taken."""
        super().__init__(message)
        self.name = name


def grow_dataset(
    config: SourceConfig,
    extension: Extension,
    catalog: Catalog,
    cache: NodeCache,
    meter: MakeMeter,
    *,
    gone: Collection[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Grown:
    """Store the images that a source has more than a data set, as shards beside the old ones.

    Args:
        config: the source, with the classes to take.
        extension: what they are added to: it has a data set, whose shards are not touched.
        catalog: where manifests and objects go.
        cache: where the old shards are read.
        meter: told how far it is.
        gone: old classes that the source has no more; new ones may be these under another name.
        say: told, before anything is decoded, what the source is understood to be.

    Raises:
        ChangedSourceError: it changed meanwhile; nothing is published then.
        RenamedClassError: most images of a new class are those of one that is gone; likewise.
        SourceError: of any other kind; likewise.
        StoreError: the old shards cannot be read, or the new ones not stored.
    """
    old = extension.old
    assert old is not None
    source = open_source(config)
    for line in understand(source, config).lines(extends=True):
        say(line)
    fingerprint = fingerprint_of(config, source, extension, None)
    note = sha256_of_json([_SKIPS_STORED, fingerprint])
    content = source.content()
    counts = source.counts()
    known = catalog.prepared_dataset(note)
    if known is not None:
        return _grown(known, old, counts["train"])
    stored = _StoredImages(extension, list(counts["train"]), gone, cache)
    with spool_folder(cache.work_path) as folder:
        intake = Intake(folder, list(counts["train"]), config, extension.base)
        report = meter(sum(sum(of_split.values()) for of_split in counts.values()))
        images = allotted(source, config, counts, extension.base)
        for done, (decoded, split) in enumerate(images, start=1):
            if decoded not in stored:
                intake.add(decoded, split)
            report(done)
        if open_source(config).content() != content:
            raise ChangedSourceError(
                f"{config.location or config.kind} changed while it was read: it is looked at "
                "again later"
            )
        _check_names(stored)
        manifest = old
        notes: tuple[str, ...] = ()
        if intake.num_spooled:
            image = intake.image_format(may_lack=extension.given)
            grown = intake.publish(image, split_policy(counts, config), catalog, None)
            manifest, notes = extension.merged(grown, is_whole=True), intake.notes(image)
    catalog.create_dataset(manifest, note)
    return _grown(manifest, old, counts["train"], notes)


def _grown(
    manifest: DatasetManifest,
    old: DatasetManifest,
    names: Collection[str],
    notes: tuple[str, ...] = (),
) -> Grown:
    now, before = manifest.planned_counts, old.planned_counts

    return Grown(
        manifest=manifest,
        counts={name: now[name] - before.get(name, 0) for name in names if name in now},
        num_train=_num_images(manifest, names, "train") - _num_images(old, names, "train"),
        num_stored=_num_images(manifest, names, *SPLITS) - _num_images(old, names, *SPLITS),
        notes=notes,
    )


def _num_images(dataset: DatasetManifest, names: Collection[str], *splits: str) -> int:
    entries = [entry for entry in dataset.classes if entry.name in names]
    return sum(entry.num_images(split) for entry in entries for split in splits)


def _check_names(stored: "_StoredImages") -> None:
    """Refuse a new class that has more than half of its images from one that is gone."""
    for name, known in stored.found.items():
        (other, num_same), num_all = known.most_common(1)[0], stored.num_seen[name]
        if num_same * 2 > num_all:
            some = f"all {num_all:,}" if num_same == num_all else f"{num_same:,} of {num_all:,}"
            raise RenamedClassError(
                f"{some} images of {name} are stored as class {other}, which the source has no "
                f"more: if it was renamed, name it {other} again; if not, leave it out (--exclude)",
                name,
            )


_MOST_COMPARED_BYTES = 4 << 30
"""Of the shards of classes that are gone; with more, the source is one that never had them."""


class _StoredImages:
    """The images that a data set has of some classes, by what is stored of them."""

    def __init__(
        self, extension: Extension, names: list[str], gone: Collection[str], cache: NodeCache
    ) -> None:
        """Read the shards of those classes that it has, and of those that are gone."""
        assert extension.old is not None
        self._base: BaseModel = extension.base
        self.found: dict[str, Counter[str]] = {}
        self.num_seen: Counter[str] = Counter()
        entries = extension.old.by_name
        num_bytes = sum(shard.num_bytes for name in gone for shard in entries[name].all_shards)
        self._gone = gone if num_bytes <= _MOST_COMPARED_BYTES else ()
        known = (*names, *self._gone)
        shards = {name: entries[name].all_shards for name in known if name in extension.given}
        paths: Mapping[str, Path] = cache.fetch(
            shard for of_class in shards.values() for shard in of_class
        ).paths
        self._digests: dict[str, set[bytes]] = {
            name: set().union(*(image_digests(paths[shard.sha256]) for shard in of_class))
            for name, of_class in shards.items()
        }

    def __contains__(self, decoded: Decoded) -> bool:
        name = decoded.item.class_name
        digests = self._digests.get(name)
        if digests is None:
            self._look_elsewhere(name, decoded)
            return False
        data = self._stored_form(decoded)
        return data is not None and sha256(data).digest() in digests

    def _look_elsewhere(self, name: str, decoded: Decoded) -> None:
        """Note whether an image of a new class is stored as one of a class that is gone."""
        self.num_seen[name] += 1
        data = self._stored_form(decoded) if self._gone else None
        if data is None:
            return
        digest = sha256(data).digest()
        for other in self._gone:
            if digest in self._digests[other]:
                self.found.setdefault(name, Counter())[other] += 1

    def _stored_form(self, decoded: Decoded) -> bytes | None:
        """Return what a shard would have of an image, None where it is none for this data set."""
        if self._base.image.encoding == "encoded":
            return decoded.encoded
        pixels = decoded.pixels
        if pixels is None or pixels.shape[2] > self._base.image.channels:
            return None
        return with_channels(pixels, self._base.image.channels).tobytes()
