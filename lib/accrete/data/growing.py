"""A data set that grows by what a source has more: images that are stored already are left out.

A typical source is one folder to which images are added: it has the old ones, too. An image is
known by the bytes that a shard has of it, pixels or file, whatever its name is now.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import SPLITS, DatasetManifest
from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data._intake import Intake
from accrete.data._stored_images import StoredImages
from accrete.data.extension import Extension
from accrete.data.inspection import understand
from accrete.data.prepare import MakeMeter, allotted, fingerprint_of, spool_folder
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


class MovedImagesError(SourceError):
    """A class has images of another one: its folder has a new name, or labels were corrected."""

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
    fewer: Mapping[str, int] = MappingProxyType({}),
    say: Callable[[str], None] = lambda _: None,
) -> Grown:
    """Store the images that a source has more than a data set, as shards beside the old ones.

    Args:
        config: the source, with the classes to take.
        extension: what they are added to: it has a data set, whose shards are not touched.
        catalog: where manifests and objects go.
        cache: where the old shards are read.
        meter: told how far it is.
        fewer: old classes of which the source has fewer images than the data set, and how many:
            the others may be in the source under another class's name.
        say: told, before anything is decoded, what the source is understood to be.

    Raises:
        ChangedSourceError: it changed meanwhile; nothing is published then.
        MovedImagesError: most images that came to a class are stored as those of another one, of
            which the source has fewer; likewise.
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
    stored = StoredImages(extension, list(counts["train"]), list(fewer), cache)
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
        notes: tuple[str, ...] = _moved_notes(stored, fewer)
        manifest = old
        if intake.num_spooled:
            image = intake.image_format(may_lack=extension.given)
            grown = intake.publish(image, split_policy(counts, config), catalog, None)
            manifest = extension.merged(grown, is_whole=True)
            notes += intake.notes(image)
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


def _moved_notes(stored: StoredImages, fewer: Mapping[str, int]) -> tuple[str, ...]:
    """Return a line for each class to which a few images of another one came.

    Raises:
        MovedImagesError: more than half of those that came are another one's.
    """
    notes = []
    for name, known in stored.found.items():
        (other, num_same), num_all = known.most_common(1)[0], stored.num_seen[name]
        some = f"all {num_all:,}" if num_same == num_all else f"{num_same:,} of {num_all:,}"
        if num_same * 2 <= num_all:
            notes.append(
                f"{some} images that came to {name} are stored as class {other} too, of which the "
                "source has fewer now: they are trained on as both"
            )
        elif fewer[other]:
            raise MovedImagesError(
                f"{some} images that came to {name} are stored as class {other}, of which the "
                f"source has fewer now ({fewer[other]:,}): they would be trained on as both. If "
                "labels were corrected, begin a new run on the corrected images; until then leave "
                f"{name} out (--exclude)",
                name,
            )
        else:
            raise MovedImagesError(
                f"{some} images of {name} are stored as class {other}, which the source has no "
                f"more: if it was renamed, name it {other} again; if not, leave it out (--exclude)",
                name,
            )
    return tuple(notes)
