"""What a run is: source, plan, model, recipe and seed, checked once and stored with its results.

Pure. Where and on what a run executes (image, GPUs, retries) is placement, not configuration: it
does not change a result, so it is no part of any identity.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.known_networks import TORCHVISION, known_as
from accrete.config.plan import Plan
from accrete.config.pretrained_weights import PretrainedWeights
from accrete.config.recipe import Recipe
from accrete.core.hashing import sha256_of_json
from accrete.core.options import Option
from accrete.core.serialization import to_json
from accrete.core.validation import check_choice, check_range, check_sha256
from accrete.errors import ConfigError

SOURCE_KINDS = (
    *("digits", "imagefolder", "csv", "parquet", "arrow", "webdataset", "idx"),
    *("cifar10", "cifar100", "fashion-mnist"),
)

_FILES = ("imagefolder", "csv", "parquet", "arrow", "webdataset")
"""Kinds whose images are encoded files, which may be damaged."""

_COLUMNS = (("source", _FILES), ("data", ()))

MAX_RUN_NAME = 63
"""Characters of a run's name, as of a Kubernetes label."""
_RUN_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Where the images come from and how they are split."""

    kind: Annotated[
        str,
        Option(
            "Kind of source; where --data alone is given, what lies there tells it.",
            flag="source",
            choices=SOURCE_KINDS,
            default="digits",
        ),
    ]
    location: Annotated[
        str | None,
        Option(
            "Folder, file or s3://bucket/prefix of the images; root folder of torchvision's sets.",
            flag="data",
            metavar="PATH",
        ),
    ] = None
    image_column: Annotated[
        str | None,
        Option(
            "Tables: the column of images, or of their paths; tar shards: a member.",
            default="found",
            needs=_COLUMNS,
        ),
    ] = None
    label_column: Annotated[
        str | None,
        Option(
            "Tables: the column of labels; tar shards: a member or a key of JSON.",
            default="found",
            needs=_COLUMNS,
        ),
    ] = None
    test_fraction: Annotated[
        float,
        Option(
            "Share of each class's images set aside for testing, where the source has no test "
            "split.",
            metavar="SHARE",
            needs=(("source", ("digits", *_FILES, "idx")), ("data", ())),
        ),
    ] = 0.2
    validation_fraction: Annotated[
        float,
        Option(
            "Share of each class's training images set aside to choose on.",
            metavar="SHARE",
            default="0",
        ),
    ] = 0.0
    split_seed: Annotated[int, Option("Seed of both splits.")] = 0
    image_size: Annotated[
        int | None,
        Option("Scale and centre-crop to this side.", metavar="PX", default="as they are"),
    ] = None
    on_bad_image: Annotated[
        str,
        Option(
            "Stop at an image that cannot be decoded, or leave it out and count it.",
            choices=("fail", "skip"),
            needs=_COLUMNS,
        ),
    ] = "fail"
    only_classes: Annotated[
        tuple[str, ...] | None,
        Option(
            "Use these classes of the source alone: names, one a line.",
            reads="names",
            default="all",
        ),
    ] = None
    exclude: Annotated[
        str | None,
        Option(
            "Leave these files and folders out: patterns such as test/* or *.gif, with commas "
            "between them.",
            metavar="PATTERNS",
            needs=_COLUMNS,
        ),
    ] = None
    class_level: Annotated[
        int | None,
        Option(
            "Image folders: which folder of an image's path names its class; 1 is the first below "
            "--data.",
            default="found",
            needs=(("source", ("imagefolder",)), ("data", ())),
            excludes=("label-pattern",),
        ),
    ] = None
    label_pattern: Annotated[
        str | None,
        Option(
            "Image folders: a regular expression that finds the class in a file's name, as its "
            "group, such as '([a-z]+)[.]'.",
            metavar="REGEX",
            needs=(("source", ("imagefolder",)), ("data", ())),
        ),
    ] = None
    subset: Annotated[
        str | None,
        Option(
            "Tables: which configuration of a data set that has several; all: every file.",
            flag="config",
            metavar="NAME",
            default="the only one, or default",
            needs=(("source", ("csv", "parquet", "arrow", "webdataset")), ("data", ())),
        ),
    ] = None

    ADDED_FIELDS: ClassVar[frozenset[str]] = frozenset(
        ("exclude", "class_level", "label_pattern", "subset")
    )

    def __post_init__(self) -> None:
        check_choice("source", self.kind, SOURCE_KINDS)
        if self.kind != "digits" and not self.location:
            raise ConfigError(f"source {self.kind} needs --data: the folder or s3:// prefix")
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"test fraction is {self.test_fraction}: it must be above 0, below 1")
        if not 0 <= self.validation_fraction < 1:
            raise ConfigError(
                f"validation fraction is {self.validation_fraction}: it must be from 0 to below 1"
            )
        if self.image_size is not None:
            check_range("image size", self.image_size, 4, 4096)
        check_choice("on-bad-image", self.on_bad_image, ("fail", "skip"))
        if self.only_classes == ():
            raise ConfigError("only-classes is an empty list: name at least one class")
        if self.class_level is not None:
            check_range("class level", self.class_level, 1, 100)
        if self.label_pattern is not None:
            _check_pattern(self.label_pattern)
        check_seed(self.split_seed, "split seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network to train."""

    name: Annotated[
        str,
        Option(
            "small, vgg19 (the paper's) or torchvision:NAME.",
            flag="model",
            default="that of exported --weights; small for digits and on CPUs, else vgg19",
        ),
    ]
    width: Annotated[
        float, Option("Factor on the channels of small and vgg19.", metavar="FACTOR")
    ] = 1.0
    bn_after_relu: Annotated[
        bool, Option("vgg19: conv, ReLU, batch norm in this order; the paper's wording allows it.")
    ] = False
    weights: PretrainedWeights | None = None
    """What the first stage's trunk begins from; None: random weights."""

    ADDED_FIELDS: ClassVar[frozenset[str]] = frozenset(("weights",))

    def __post_init__(self) -> None:
        if self.name not in ("small", "vgg19") and not self.name.startswith(TORCHVISION):
            known = known_as(self.name)
            such = f", such as {known}" if known else ""
            raise ConfigError(
                f"model is {self.name!r}: choose small, vgg19 or torchvision:<name>{such}"
            )
        check_range("model width", self.width, 0.05, 8)

    @property
    def architecture(self) -> "ModelConfig":
        """The same network, whatever it begins from."""
        return replace(self, weights=None)

    def normalization_for(self, channels: int) -> Normalization | None:
        """Return how its weights expect images to be scaled, None where it has random ones.

        Args:
            channels: of the images, 1 or 3.

        Raises:
            ConfigError: the weights are for another number of channels.
        """
        if self.weights is None:
            return None
        takes_any = self.name.startswith(TORCHVISION)
        return self.weights.normalization_for(channels, takes_any=takes_any)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The trained network that a run adds classes to; its classes lead the class order."""

    origin: str
    """Where it came from, for people: `stage 4 of run digits`."""
    identity: str
    """Digest of the stage that made it, or of the weights where another program did."""
    checkpoint_sha256: str
    """Its checkpoint in the store, 64 hex digits."""
    checkpoint_bytes: int
    """Size of that."""
    dataset: str | None = None
    """Digest of the stored data set that has its classes' shards; None: the source has them."""
    image: ImageFormat
    """What it takes."""
    normalization: Normalization
    """How its input is scaled."""
    top1: float | None = None
    """Its accuracy on the test images of its own classes, where that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's result."""

    source: SourceConfig
    """The images."""
    plan: Plan
    """Class order, the class counts it was made from, and the stages."""
    model: ModelConfig
    """The network."""
    recipe: Recipe = field(default_factory=Recipe)
    """How it is trained."""
    seed: int = 0
    """Seed of weights, sample order and augmentation."""
    base: BaseModel | None = None
    """What the first stage grows; None: it begins from the model's weights."""
    more_images: bool = False
    """Whether the source may have more images of the base's classes."""
    arrival: Recipe | None = None
    """How each stage after the first is trained, as an extension of its own (`config/life.py`);
    None: one recipe over the whole plan."""
    dataset: str | None = None
    """Digest of the stored data set that it trains on; None: what the source becomes."""

    ADDED_FIELDS: ClassVar[frozenset[str]] = frozenset(("arrival", "dataset"))

    def __post_init__(self) -> None:
        check_seed(self.seed, "seed")
        if self.dataset is not None:
            check_sha256("the data set", self.dataset)
        if self.recipe.trained == "head" and self.base is None and self.model.weights is None:
            raise ConfigError(
                "only the head is to be trained, but on a trunk of random weights: begin from "
                "trained ones (--weights), extend a model, or leave --trained out"
            )
        if (self.base is None) != (self.plan.num_given == 0):
            raise ConfigError(
                f"the plan has {self.plan.num_given} given classes, but the run has "
                f"{'no' if self.base is None else 'a'} base model: give both or neither"
            )
        if self.base is not None and self.model.weights is not None:
            raise ConfigError(
                f"the run grows {self.base.origin}, so that weights {self.model.weights.origin} "
                "would have no effect: leave one of them out"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return sha256_of_json(to_json(self))


def _check_pattern(pattern: str) -> None:
    try:
        num_groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(
            f"label pattern is {pattern!r}: it is no regular expression ({error})"
        ) from error
    if num_groups != 1:
        raise ConfigError(
            f"label pattern is {pattern!r}, with {num_groups} groups: put the class, and nothing "
            "else, into a group, such as '([a-z]+)[.]'"
        )


def check_seed(seed: int, what: str) -> None:
    """Refuse a seed that KFP's numbers (doubles) would not carry exactly.

    Raises:
        ConfigError: outside 0..2**31-1.
    """
    check_range(what, seed, 0, 2**31 - 1)


def is_run_name(name: str) -> bool:
    """Return whether a text can name a run."""
    return _RUN_NAME.fullmatch(name) is not None


def check_run_name(name: str) -> str:
    """Return a run name if it can name a Kubernetes object and an object key.

    Raises:
        ConfigError: other characters than a-z, 0-9 and inner dashes, or over 63 of them.
    """
    if not is_run_name(name):
        raise ConfigError(
            f"run name is {name[:80]!r}: use at most 63 of a-z, 0-9 and -, with no - at an end"
        )
    return name
