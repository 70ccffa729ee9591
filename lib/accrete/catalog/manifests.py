"""Manifests: what a dataset and a stage are, as JSON with a digest for everything they name."""

from dataclasses import dataclass
from typing import Any

from accrete.config.image_format import ImageFormat, Normalization, check_scaling
from accrete.config.run import ModelConfig
from accrete.config.schedule import StageSchedule
from accrete.core.hashing import canonical_json, sha256_of_json
from accrete.core.serialization import from_json, to_json
from accrete.core.validation import (
    MAX_COUNT,
    check_choice,
    check_distinct,
    check_range,
    check_sha256,
)
from accrete.errors import IntegrityError
from accrete.store.keys import ObjectRef

SPLITS = ("train", "validation", "test")

FORMAT = 3
"""Version of all stored formats; part of every identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRef(ObjectRef):
    """One stored Arrow IPC file with images of one class and split."""

    num_images: int
    """Rows in it."""

    def __post_init__(self) -> None:
        check_sha256("a shard's SHA-256", self.sha256)
        check_range("a shard's size", self.num_bytes, 0, MAX_COUNT)
        check_range("a shard's number of images", self.num_images, 0, MAX_COUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEntry:
    """A class and its shards."""

    name: str
    """Class name, unique in the data set."""
    train: tuple[ShardRef, ...]
    """Training images, I_i."""
    validation: tuple[ShardRef, ...]
    """Images set aside to choose on; may be empty."""
    test: tuple[ShardRef, ...]
    """Test images; may be empty."""
    num_skipped_train: int = 0
    """Bad training images that were left out."""

    def num_images(self, split: str) -> int:
        """Return the images of `train`, `validation` or `test`."""
        return sum(shard.num_images for shard in self.shards(split))

    @property
    def all_shards(self) -> tuple[ShardRef, ...]:
        """The shards of all splits."""
        return (*self.train, *self.validation, *self.test)

    def shards(self, split: str) -> tuple[ShardRef, ...]:
        """Return the shards of `train`, `validation` or `test`."""
        shards: tuple[ShardRef, ...] = getattr(self, split)
        return shards


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPolicy:
    """Where the test and validation images came from."""

    test: str
    """`source`: the source's own split; `stratified`: test_fraction by seed."""
    test_fraction: float
    """Share of each class, where stratified."""
    validation_fraction: float
    """Share of each class's training images."""
    seed: int
    """Seed of the stratified splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Bad images that were left out because the user said so."""

    count: int
    """How many."""
    places: tuple[str, ...]
    """The first hundred: file or row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetManifest:
    """A prepared data set. Its digest is that of its content: same images, same digest."""

    format: int
    """FORMAT."""
    classes: tuple[ClassEntry, ...]
    """By class_id."""
    image: ImageFormat
    """How the images are stored."""
    normalization: Normalization
    """What every model trained on it subtracts and divides by."""
    split: SplitPolicy
    """How test and validation images were chosen."""
    skipped: Skipped
    """What was left out."""
    extends: str | None = None
    """Digest of the data set whose classes it took over; `split` is of the others' images."""

    def __post_init__(self) -> None:
        check_distinct("classes", [entry.name for entry in self.classes])
        check_scaling(self.image, self.normalization)
        if self.extends is not None:
            check_sha256("extends", self.extends)

    @property
    def digest(self) -> str:
        """64 hex digits."""
        return sha256_of_json(to_json(self))

    @property
    def planned_counts(self) -> dict[str, int]:
        """Training images of each class, those that were skipped as bad included."""
        return {
            entry.name: entry.num_images("train") + entry.num_skipped_train
            for entry in self.classes
        }

    @property
    def by_name(self) -> dict[str, ClassEntry]:
        """The classes by their names, in order; made anew each time, so keep it."""
        return {entry.name: entry for entry in self.classes}

    def num_images(self, split: str) -> int:
        """Return the images of a split over all classes."""
        return sum(entry.num_images(split) for entry in self.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Wall seconds of each part of a stage."""

    pull_s: float
    """Fetching and reading shards and the parent's checkpoint."""
    grow_s: float
    """Building the model and growing its head."""
    train_s: float
    """The training loop."""
    evaluate_s: float
    """Accuracy on the test (and validation) images."""
    push_s: float
    """Writing and uploading checkpoint and stage record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTraffic:
    """What a stage moved."""

    pulled_bytes: int
    """From the store."""
    prefetched_bytes: int
    """From the store while it trained, for the stage after it."""
    pushed_bytes: int
    """To the store, the manifest not counted."""
    cache_hits: int
    """Objects that the node had already."""
    num_objects: int
    """Objects that the stage needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """A stage's headline figures; the rest is in its record."""

    top1: float | None
    """Share of test images of all seen classes whose class comes first; None without any."""
    top1_old: float | None
    """The same over images of the old classes."""
    top1_new: float | None
    """The same over images of the new classes."""
    loss: float | None
    """Mean test cross-entropy."""
    validation_top1: float | None
    """top1 on the validation images."""
    images_seen: int
    """Training images processed in this stage."""
    images_per_s: float
    """images_seen over train_s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageManifest:
    """A finished stage. It exists when this does, and it is never changed."""

    format: int
    """FORMAT."""
    digest: str
    """The stage's identity (see identity.py), not a hash of this manifest."""
    index: int
    """j, from 1."""
    parent: str | None
    """Identity of stage j - 1."""
    dataset: str
    """Digest of the dataset manifest that it was trained from."""
    class_names: tuple[str, ...]
    """Seen classes, by label."""
    num_old_classes: int
    """N_{j-1}."""
    model: ModelConfig
    """The network."""
    image: ImageFormat
    """What it takes."""
    normalization: Normalization
    """How its input is scaled."""
    schedule: StageSchedule
    """How it was trained."""
    seed: int
    """Of weights, sample order and augmentation."""
    checkpoint: ObjectRef
    """safetensors: weights and momentum."""
    metrics: ObjectRef
    """The stage's record, JSON: history of loss and rate, confusion, what was decided."""
    result: StageResult
    """Headline figures."""
    times: StageTimes
    """Seconds."""
    traffic: StageTraffic
    """Bytes."""
    device: str
    """What it was trained on: `cpu`, or the GPU's name."""
    precision: str | None = None
    """`bf16` or `fp32`, what it was trained in; None: as the schedule says."""
    versions: str
    """accrete, torch and Python versions."""
    created_at: str
    """UTC, ISO 8601."""

    @property
    def trained_on(self) -> str:
        """The device, and the precision that it computed in."""
        return f"{self.device}, {self.precision or self.schedule.precision}"

    def __post_init__(self) -> None:
        if self.precision is not None:
            check_choice("precision", self.precision, ("bf16", "fp32"))
        for what, digest in (("parent", self.parent), ("dataset", self.dataset)):
            if digest is not None:
                check_sha256(what, digest)
        check_distinct("classes", self.class_names)
        check_range("number of old classes", self.num_old_classes, 0, len(self.class_names))
        check_scaling(self.image, self.normalization)


def dump_dataset(manifest: DatasetManifest) -> bytes:
    """Return a dataset manifest's stored bytes; its key is their digest."""
    return canonical_json(to_json(manifest))


def dump_stage(manifest: StageManifest) -> bytes:
    """Return a stage manifest's stored bytes, sealed with their own digest.

    A stage's key is its identity, which says nothing of the result: the seal shows damage.
    """
    content = to_json(manifest)
    return canonical_json({"manifest": content, "sha256": sha256_of_json(content)})


def load_dataset(data: Any, digest: str, place: str) -> DatasetManifest:
    """Check and build a dataset manifest from decoded JSON.

    Raises:
        ConfigError: a field is missing or of another type.
        IntegrityError: its content does not have the digest it was asked for by.
    """
    try:
        found = sha256_of_json(data)
    except ValueError:  # NaN, which no digest is of
        found = "none"
    if found != digest:  # before its fields: what is wrong with them is only that it was changed
        raise IntegrityError(
            f"{place} has digest {found[:12]}… instead of {digest[:12]}…: "
            "it was changed; delete it and prepare again"
        )
    manifest = from_json(DatasetManifest, data, place)
    check_stored_format(manifest.format, place)
    return manifest


def load_stage(data: Any, digest: str, place: str) -> StageManifest:
    """Check and build a stage manifest from decoded JSON.

    Raises:
        ConfigError: a field is missing or of another type.
        IntegrityError: it was changed, or is another stage's.
    """
    content = data.get("manifest") if isinstance(data, dict) else None
    if content is None or data.get("sha256") != sha256_of_json(content):
        raise IntegrityError(f"{place} was changed: delete it and run again")
    manifest = from_json(StageManifest, content, place)
    check_stored_format(manifest.format, place)
    if manifest.digest != digest:
        raise IntegrityError(
            f"{place} is of stage {manifest.digest[:12]}… instead of {digest[:12]}…: "
            "it was changed; delete it and run again"
        )
    return manifest


def check_stored_format(version: int, place: str) -> None:
    """Refuse what another version of accrete stored.

    Raises:
        IntegrityError: it has another format than FORMAT.
    """
    if version != FORMAT:
        raise IntegrityError(
            f"{place} has format {version}, this accrete reads {FORMAT}: use a matching version"
        )
