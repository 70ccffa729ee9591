"""What a run is: source, plan, model, recipe and seed, checked once and stored with its results.

Pure. Where and on what a run executes (image, GPUs, retries) is placement, not configuration: it
does not change a result, so it is no part of any identity.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated

from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.core.hashing import sha256_of_json
from accrete.core.options import Option
from accrete.core.serialization import to_json
from accrete.core.validation import check_choice, check_range
from accrete.errors import ConfigError

SOURCE_KINDS = ("digits", "parquet", "imagefolder", "cifar10", "cifar100", "fashion-mnist")

_RUN_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """Where the images come from and how they are split."""

    kind: Annotated[
        str,
        Option(
            "Kind of source; digits needs no download.",
            flag="source",
            choices=SOURCE_KINDS,
            default="digits",
        ),
    ]
    location: Annotated[
        str | None,
        Option(
            "Folder or s3://bucket/prefix of the images; root folder of torchvision's sets.",
            flag="data",
            metavar="PATH",
            needs=(("source", SOURCE_KINDS[1:]),),
        ),
    ] = None
    image_column: Annotated[
        str | None,
        Option("Parquet: the image column.", default="found", needs=(("source", ("parquet",)),)),
    ] = None
    label_column: Annotated[
        str | None,
        Option("Parquet: the label column.", default="found", needs=(("source", ("parquet",)),)),
    ] = None
    test_fraction: Annotated[
        float,
        Option(
            "Share of each class's images set aside for testing, where the source has no test "
            "split.",
            metavar="SHARE",
            needs=(("source", ("digits", "parquet", "imagefolder")),),
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
            needs=(("source", ("parquet", "imagefolder")),),
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
        check_seed(self.split_seed, "split seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which network to train."""

    name: Annotated[
        str,
        Option(
            "small, vgg19 (the paper's) or torchvision:NAME.",
            flag="model",
            default="small for digits and on CPUs, else vgg19",
        ),
    ]
    width: Annotated[
        float, Option("Factor on the channels of small and vgg19.", metavar="FACTOR")
    ] = 1.0
    bn_after_relu: Annotated[
        bool, Option("vgg19: conv, ReLU, batch norm in this order; the paper's wording allows it.")
    ] = False

    def __post_init__(self) -> None:
        if self.name not in ("small", "vgg19") and not self.name.startswith("torchvision:"):
            raise ConfigError(f"model is {self.name!r}: choose small, vgg19 or torchvision:<name>")
        check_range("model width", self.width, 0.05, 8)


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
    """What the first stage grows; None: it begins from random weights."""
    more_images: bool = False
    """Whether the source may have more images of the base's classes."""

    def __post_init__(self) -> None:
        check_seed(self.seed, "seed")
        if (self.base is None) != (self.plan.num_given == 0):
            raise ConfigError(
                f"the plan has {self.plan.num_given} given classes, but the run has "
                f"{'no' if self.base is None else 'a'} base model: give both or neither"
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return sha256_of_json(to_json(self))


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
