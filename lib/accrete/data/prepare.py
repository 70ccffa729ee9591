"""Prepare a data set: decode and check every image, store one shard per class and split.

A composer: joins source, spool, shards and store. Data first, manifest last; the same input finds
its manifest again and moves nothing.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from accrete.catalog.catalog import Catalog, dataset_objects
from accrete.catalog.manifests import FORMAT, DatasetManifest
from accrete.config.image_format import Normalization
from accrete.config.plan import Plan, check_counts_match
from accrete.config.run import BaseModel, ModelConfig, SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.serialization import to_json
from accrete.core.units import format_counted, pluralize
from accrete.data._intake import Decoded, Intake, why_bad
from accrete.data._stored_images import StoredImages
from accrete.data.extension import Extension
from accrete.data.images import DecodingBudget, Pixels, decode_image, resize_crop
from accrete.data.inspection import look, understand
from accrete.data.sources.opening import Counts, Item, Source, open_source
from accrete.data.splits import Allotment, split_policy, training_counts
from accrete.errors import BadImageError, ObjectMissingError, SourceError
from accrete.store import keys
from accrete.store.cache import NodeCache

_CHUNK_ITEMS = 8
"""Images that a thread decodes at a time; a chunk always fits, so it is kept small."""

_NAMED = 3
"""Places of images in a message."""

_WINDOW_ITEMS = 256
"""Images that are handed to the threads at once."""

MakeMeter = Callable[[int], Callable[[int], None]]
"""Given the images in all, returns what is called with the images done."""


CheckSize = Callable[[int, int], None]
"""Given the height and width that images are brought to, raises where they are of no use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What preparing came to."""

    manifest: DatasetManifest
    """The data set."""
    reused: bool
    """Whether it was stored already."""
    notes: tuple[str, ...] = ()
    """What became of the images, in lines that somebody should read; none where it was reused."""


def prepare_dataset(
    config: SourceConfig,
    plan: Plan,
    catalog: Catalog,
    work_path: Path,
    meter: MakeMeter,
    *,
    extension: Extension | None = None,
    cache: NodeCache | None = None,
    model: ModelConfig | None = None,
    say: Callable[[str], None] = lambda _: None,
    check_size: CheckSize | None = None,
) -> Prepared:
    """Store a source's images as class shards, unless the same ones are stored already.

    Args:
        config: the source.
        plan: what the images must match: its classes and training counts.
        catalog: where manifests and objects go.
        work_path: folder for temporary files, about twice the size of the images.
        meter: told how far it is.
        extension: what the source's classes are added to; its shards are not touched.
        cache: where they are read, so that no image is stored twice; needed where the source may
            have more images of old classes.
        model: the network to train, whose weights may say how images are scaled; None: they are
            scaled by their own statistics.
        say: told, before anything is decoded, what the source is understood to be.
        check_size: asked before anything is decoded, about the size that the heads of some images
            tell, and before anything is published, about the true one; None: any size is of use.

    Raises:
        SourceError: of any kind, such as images that are stored already; nothing is published
            then.
        CountsMismatchError: the source holds other counts than the plan was made from.
        ConfigError: the source has classes that the model to extend knows, or the network's
            weights are for other images.
    """
    source = open_source(config)
    for line in understand(source, config).lines(extends=extension is not None):
        say(line)
    fingerprint = _compared(fingerprint_of(config, source, extension, model), extension)
    known = catalog.prepared_dataset(fingerprint)
    if known is None and model and model.weights:
        unscaled = fingerprint_of(config, source, extension, None)
        known = _scaled_anew(catalog, _compared(unscaled, extension), model)
        if known is not None:
            catalog.create_dataset(known, fingerprint)
    if known is not None:
        _normalization(known.image.channels, model)
        if check_size:
            check_size(known.image.height, known.image.width)
        return Prepared(manifest=known, reused=True)
    counts = _checked_counts(source, config, plan, extension)
    if check_size and not extension:  # whose size is its base's
        _check_likely_size(source, config, check_size)
    policy = split_policy(counts, config)
    with spool_folder(work_path) as folder:
        base = extension.base if extension else None
        intake = Intake(folder, list(counts["train"]), config, base)
        stored = _stored_images(extension, counts, cache)
        again: dict[str, list[str]] = {}
        report = meter(sum(sum(of_split.values()) for of_split in counts.values()))
        for done, (decoded, split) in enumerate(allotted(source, config, counts, base), start=1):
            if stored is not None and decoded in stored:
                again.setdefault(decoded.item.class_name, []).append(decoded.item.place)
            intake.add(decoded, split)
            report(done)
        _check_none_again(again, config)
        image = intake.image_format()
        if check_size:
            check_size(image.height, image.width)
        normalization = _normalization(image.channels, model)
        manifest = intake.publish(image, policy, catalog, normalization)
        notes = intake.notes(image)
    if extension:
        manifest = extension.merged(manifest)
    catalog.create_dataset(manifest, fingerprint)
    return Prepared(manifest=manifest, reused=False, notes=notes)


_NONE_STORED = "no image is stored already"
"""Tells a data set that grew from one by an earlier version, which stored images once more."""


def _compared(fingerprint: str, extension: Extension | None) -> str:
    """Return a fingerprint that also tells whether images were compared with stored ones."""
    if extension is None or not extension.is_compared:
        return fingerprint
    return sha256_of_json([_NONE_STORED, fingerprint])


def _stored_images(
    extension: Extension | None, counts: Counts, cache: NodeCache | None
) -> StoredImages | None:
    """Return the images of old classes that a source has more of; None: of none."""
    if extension is None or not extension.is_compared:
        return None
    assert cache is not None
    return StoredImages(extension, counts["train"], (), cache)


def _check_none_again(again: Mapping[str, list[str]], config: SourceConfig) -> None:
    """Refuse images that are stored already, which may be test images there and are not here.

    Args:
        again: where they are, by class.
        config: the source.

    Raises:
        SourceError: there are some.
    """
    if not again:
        return
    name, places = max(again.items(), key=lambda each: len(each[1]))
    shown = ", ".join(places[:_NAMED]) + (", …" if len(places) > _NAMED else "")
    others = f", and some of {len(again) - 1} other classes," if len(again) > 1 else ""
    raise SourceError(
        f"{format_counted(len(places), 'image')} of class {name!r} ({shown}){others} of "
        f"{config.location or config.kind} {pluralize(len(places), 'is', 'are')} among those that "
        "the model was trained or tested on: take them out, or use `accrete watch`, which leaves "
        "them out by itself"
    )


def _normalization(channels: int, model: ModelConfig | None) -> Normalization | None:
    """Return how a network's weights expect images to be scaled; None: it has no say.

    Raises:
        ConfigError: they are for other images.
    """
    return None if model is None else model.normalization_for(channels)


def _scaled_anew(catalog: Catalog, fingerprint: str, model: ModelConfig) -> DatasetManifest | None:
    """Return a data set of the same shards for a network's weights, None where there is none."""
    known = catalog.prepared_dataset(fingerprint)
    if known is None:
        return None
    scaling = _normalization(known.image.channels, model)
    return known if scaling is None else replace(known, normalization=scaling)


@contextmanager
def spool_folder(work_path: Path) -> Iterator[Path]:
    """Give an empty folder for images on their way to the store."""
    work_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work_path, prefix="prepare-") as folder:
        yield Path(folder)


def allotted(
    source: Source, config: SourceConfig, counts: Counts, base: BaseModel | None
) -> Iterator[tuple[Decoded, str]]:
    """Yield all images of a source, decoded, each with its split.

    Args:
        source: the images.
        config: how they are split and scaled.
        counts: of the source.
        base: what they are added to; None: nothing.
    """
    allotment = Allotment(counts, split_policy(counts, config))
    for decoded in decoded_items(source.items(), config, base, DecodingBudget()):
        yield decoded, allotment.split_of(decoded.item)


def stored_dataset(digest: str, catalog: Catalog) -> Prepared:
    """Return a data set that is stored already, and was seen to be.

    Raises:
        ObjectMissingError: it, or a shard of it, is not in the store.
        IntegrityError: its manifest was changed.
    """
    manifest = catalog.dataset(digest)
    missing = catalog.missing_object(dataset_objects(manifest))
    if missing is not None:
        raise ObjectMissingError(
            f"data set {digest[:12]}… has lost a shard, "
            f"{catalog.store.uri(keys.object_key(missing.sha256))}: restore it, or forget the run "
            "and let its source be read again"
        )
    return Prepared(manifest=manifest, reused=True)


def _checked_counts(
    source: Source, config: SourceConfig, plan: Plan, extension: Extension | None
) -> Counts:
    """Return a source's counts, which are those that the plan was made from."""
    counts = source.counts()
    planned = training_counts(counts, config)
    check_counts_match(plan, extension.planned_counts(planned) if extension else planned)
    return counts


def _check_likely_size(source: Source, config: SourceConfig, check_size: CheckSize) -> None:
    size = look(source).size(config.image_size)
    if size is not None:
        check_size(*size)


RULES = 2
"""Version of the rules by which a source's files become pixels, sizes and classes.

Where it is raised, every user's data sets are decoded once more; one that comes out as before has
the same digest and is the same data set.
"""

_WITHOUT_RULES = ("digits", "cifar10", "cifar100", "fashion-mnist")
"""Kinds of sources that give pixels and classes as they were published: no rule is for them."""


def fingerprint_of(
    config: SourceConfig, source: Source, extension: Extension | None, model: ModelConfig | None
) -> str:
    """Return a digest of the source's content and of all that changes its shards or scaling."""
    options = to_json(config)
    del options["location"]  # the same images elsewhere are the same images
    parts: dict[str, Any] = {
        "format": FORMAT,
        "options": options,
        "content": source.fingerprint(),
        "extends": extension and extension.fingerprint,
    }
    if config.kind not in _WITHOUT_RULES:
        parts["rules"] = RULES
    if model is not None and model.weights is not None:
        parts["normalization"] = to_json(model.weights.normalization)
    return sha256_of_json(parts)


def decoded_items(
    items: Iterator[Item], config: SourceConfig, base: BaseModel | None, budget: DecodingBudget
) -> Iterator[Decoded]:
    """Yield all images decoded, in order; as many at a time as their memory allows, in threads."""
    turns = count()
    pool = ThreadPoolExecutor()
    try:
        while window := list(islice(items, _WINDOW_ITEMS)):
            chunks = [window[i : i + _CHUNK_ITEMS] for i in range(0, len(window), _CHUNK_ITEMS)]
            decode = partial(_decode_chunk, config=config, base=base, budget=budget)
            pairs = zip(chunks, turns, strict=False)
            futures = [(turn, pool.submit(decode, turn, chunk)) for chunk, turn in pairs]
            while futures:
                turn, future = futures.pop(0)
                yield from future.result()
                del future  # or it would keep the pixels of its chunk
                budget.release(turn)
    finally:
        budget.lift()
        pool.shutdown(cancel_futures=True)


def _decode_chunk(
    turn: int,
    items: list[Item],
    config: SourceConfig,
    base: BaseModel | None,
    budget: DecodingBudget,
) -> list[Decoded]:
    return [_decode(item, config, base, partial(budget.admit, turn)) for item in items]


def _decode(
    item: Item, config: SourceConfig, base: BaseModel | None, admit: Callable[[int], None]
) -> Decoded:
    try:
        loaded = item.load()
        if not isinstance(loaded, bytes):
            return Decoded(item, _sized(loaded, config), None)
        pixels = decode_image(loaded, item.place, admit)
    except BadImageError as error:
        if config.on_bad_image == "skip":
            return Decoded(item, None, None, why_bad(error, item.place))
        raise
    if base is not None and base.image.encoding == "raw":
        return Decoded(item, _sized(pixels, config), None)
    return Decoded(item, pixels, loaded)


def _sized(pixels: Pixels, config: SourceConfig) -> Pixels:
    """Return pixels that are stored as they are at the size that was asked for."""
    size = config.image_size
    return pixels if size is None else resize_crop(pixels, size, size)
