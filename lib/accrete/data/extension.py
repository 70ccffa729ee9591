"""A data set that grows: classes that arrive later beside those that a trained model knows.

The old classes' shards are taken over as they are; the new images must come in the same format, and
are scaled by the same statistics, or the model's old answers would change before it learned any.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import SPLITS, ClassEntry, DatasetManifest
from accrete.config.classes import seeded_order
from accrete.config.plan import Plan, check_stage_sizes, parse_sizes
from accrete.config.run import BaseModel, RunConfig, SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.serialization import to_json
from accrete.data.sources.opening import open_source
from accrete.errors import ConfigError, ObjectMissingError, SourceError
from accrete.store import keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What new images are added to."""

    base: BaseModel
    """The model that will be grown: image format and normalization are its own."""
    given: tuple[str, ...]
    """Its classes, by label."""
    old: DatasetManifest | None
    """The data set with their shards; None: the source has their images too."""
    more_images: bool
    """Whether the source may have more images of these classes."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that changes what a source becomes."""
        return sha256_of_json(
            {
                "old": self.old and self.old.digest,
                "given": list(self.given),
                "image": to_json(self.base.image),
                "normalization": to_json(self.base.normalization),
            }
        )

    @property
    def is_compared(self) -> bool:
        """Whether images that come may be stored already: the old ones are, and more are wanted."""
        return self.old is not None and self.more_images

    def planned_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Return the training images of each class when a source's are added.

        Args:
            counts: training images of each class of the source.

        Raises:
            ConfigError: the source has classes that the model knows, or lacks those it should have.
        """
        if self.old is None:
            return self._complete(counts)
        known = [name for name in counts if name in self.given]
        if known and not self.more_images:
            others = f" (and {len(known) - 1} others)" if len(known) > 1 else ""
            raise ConfigError(
                f"class {known[0]!r} of the source{others} exists in {self.base.origin} already: "
                "leave it out (--only-classes), rename it, or say --more-images if these are more "
                "images of the same class"
            )
        before = self.old.planned_counts
        merged = {name: before[name] for name in self.given}
        for name, count in counts.items():
            merged[name] = merged.get(name, 0) + count
        return merged

    def _complete(self, counts: Mapping[str, int]) -> dict[str, int]:
        missing = [name for name in self.given if name not in counts]
        if missing:
            raise ConfigError(
                f"class {missing[0]!r} of {self.base.origin} is not in the source, nor are "
                f"{len(missing) - 1} others: training needs the old classes' images too; give "
                "a source that has them, or the data set that is in the store (--old-dataset)"
            )
        return dict(counts)

    def merged(self, new: DatasetManifest, *, is_whole: bool = False) -> DatasetManifest:
        """Return the data set of old and new classes, the old ones first.

        Args:
            new: what the source became.
            is_whole: whether all images of its old classes were read, those that are stored too.
        """
        if self.old is None:
            return new
        old, added = self.old.by_name, new.by_name
        entries = [_joined(old[name], added.pop(name, None), is_whole) for name in self.given]
        return replace(new, classes=(*entries, *added.values()), extends=self.old.digest)


def _joined(old: ClassEntry, more: ClassEntry | None, is_whole: bool) -> ClassEntry:
    """Return a class with more images; its first shards stay the same ones."""
    if more is None:
        return old
    shards = {split: (*old.shards(split), *more.shards(split)) for split in SPLITS}
    before = 0 if is_whole else old.num_skipped_train  # else they would be counted once more
    skipped = before + more.num_skipped_train
    return ClassEntry(name=old.name, num_skipped_train=skipped, **shards)


def extension_of(config: RunConfig, catalog: Catalog) -> Extension | None:
    """Return what a run extends, None for a run without a base.

    Raises:
        ObjectMissingError: the old classes' data set, or a shard of it, is not in the store.
        ConfigError: it lacks a class that the model knows.
    """
    base = config.base
    if base is None:
        return None
    given = config.plan.class_order[: config.plan.num_given]
    return open_extension(base, given, catalog, more_images=config.more_images)


def open_extension(
    base: BaseModel, given: tuple[str, ...], catalog: Catalog, *, more_images: bool
) -> Extension:
    """Return an extension whose old shards were seen to be stored.

    Raises:
        ObjectMissingError: the old classes' data set, or a shard of it, is not in the store.
        ConfigError: it lacks a class that the model knows.
    """
    old = None if base.dataset is None else catalog.dataset(base.dataset)
    if old is not None:
        _check_old(old, base, given, catalog)
    return Extension(base=base, given=given, old=old, more_images=more_images)


def _check_old(
    old: DatasetManifest, base: BaseModel, given: tuple[str, ...], catalog: Catalog
) -> None:
    by_name = old.by_name
    for name in given:
        if name not in by_name:
            raise ConfigError(
                f"class {name!r} of {base.origin} is not in data set {old.digest[:12]}…: "
                "give the data set that has the old classes"
            )
    if old.image != base.image:
        raise SourceError(
            f"data set {old.digest[:12]}… has images of another format than {base.origin} takes: "
            "give the data set that it was trained on"
        )
    owners = {shard.sha256: name for name in given for shard in by_name[name].all_shards}
    refs = [shard for name in given for shard in by_name[name].all_shards]
    missing = catalog.missing_object(refs)
    if missing is not None:
        raise ObjectMissingError(
            f"class {owners[missing.sha256]!r} of {base.origin} has lost a shard, "
            f"{catalog.store.uri(keys.object_key(missing.sha256))}: restore it, or run the old "
            "source again, which stores it anew"
        )


def plan_extension(stages: str | None, extension: Extension, counts: Mapping[str, int]) -> Plan:
    """Return the plan of an extension: the given classes first, then the new ones.

    Args:
        stages: new classes of each stage, such as `2,3`; None: one stage.
        extension: what is extended.
        counts: training images of each class of the source.

    Raises:
        ConfigError: there is nothing to add, or the stages do not add up.
    """
    merged = extension.planned_counts(counts)
    new = seeded_order((name for name in counts if name not in extension.given), 0)
    order = (*extension.given, *new)
    if not new and not extension.more_images:
        raise ConfigError(
            f"the source has no class that {extension.base.origin} does not have: nothing to add"
        )
    sizes: tuple[int, ...] = (len(new),)
    if stages is not None:
        sizes = parse_sizes(stages)
        check_stage_sizes(sizes)
        if sum(sizes) != len(new):
            raise ConfigError(
                f"--stages {stages} adds {sum(sizes)} classes, but the source has "
                f"{len(new)} new ones: make the list add up"
            )
    return Plan(
        rule=f"{extension.base.origin}, {len(extension.given)} classes, and {len(new)} more",
        class_order=order,
        class_images=tuple(merged[name] for name in order),
        stage_sizes=sizes,
        num_given=len(extension.given),
    )


def with_validation_split(
    source: SourceConfig,
    extension: Extension,
    catalog: Catalog,
    *,
    until: str | None,
    is_asked: bool,
) -> SourceConfig:
    """Return a source that sets as many images aside as the data set that it is added to.

    Args:
        source: of the new classes.
        extension: what is extended.
        catalog: where that data set and those before it are.
        until: as `Recipe` has it.
        is_asked: whether the source's own share was asked for, be it none.

    Raises:
        ConfigError: validation images are to end the extension, and old or new classes have none.
        SourceError: the source cannot be read.
    """
    if not is_asked and extension.old is not None:
        share = _validation_share(extension.old, catalog)
        source = replace(source, validation_fraction=share)
    if until is not None:
        _check_validation(source, extension)
    return source


def _validation_share(dataset: DatasetManifest, catalog: Catalog) -> float:
    """Return the last share that was set aside, of a data set or those that it grew from."""
    while not dataset.split.validation_fraction and dataset.extends is not None:
        try:
            dataset = catalog.dataset(dataset.extends)
        except ObjectMissingError:
            break
    return dataset.split.validation_fraction


def _check_validation(source: SourceConfig, extension: Extension) -> None:
    """Refuse to end an extension by the validation accuracy of some classes alone."""
    old = extension.old
    if old is not None and not any(
        old.by_name[name].num_images("validation") for name in extension.given
    ):
        raise ConfigError(
            f"--until ends an extension by its validation accuracy, but {extension.base.origin} "
            "was trained with no image set aside: leave --until out, or begin anew with "
            "--validation-fraction 0.1, which every extension then has too"
        )
    if source.validation_fraction or "validation" in open_source(source).counts_as_they_are():
        return
    raise ConfigError(
        "--until ends an extension by its validation accuracy, but the source has no validation "
        "images: say which share of its images to set aside, such as --validation-fraction 0.1"
    )
