"""Command-line options, in groups that commands share; `requests` says what they amount to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click_option_group import optgroup

from accrete.config.run import SOURCE_KINDS

F = TypeVar("F", bound=Callable[..., Any])


def _group(title: str, *options: Callable[[F], F]) -> Callable[[F], F]:
    """Return a decorator that adds options under a heading, in their order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        grouped: F = optgroup.group(title)(function)
        return grouped

    return decorate


plan_options = _group(
    "Plan (which classes each stage adds)",
    optgroup.option(
        "--alpha",
        metavar="RATIO",
        help="Growth ratio: each stage adds this many times the images seen so far; "
        "auto: the stages of least expected cost. [default: 1]",
    ),
    optgroup.option(
        "--initial",
        type=int,
        metavar="N",
        help="Classes of the first stage. [default: a tenth, at least 2]",
    ),
    optgroup.option(
        "--step",
        type=int,
        metavar="N",
        help="Add N classes in every stage instead of growing by --alpha.",
    ),
    optgroup.option(
        "--stages", metavar="LIST", help="Classes of each stage instead, e.g. 10,10,20,40,20."
    ),
)

class_options = _group(
    "Classes (their order and counts)",
    optgroup.option(
        "--class-order",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Class names in order, one a line. [default: random by --order-seed]",
    ),
    optgroup.option(
        "--order-seed", type=int, default=0, show_default=True, help="Seed of the class order."
    ),
    optgroup.option(
        "--counts",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help='Plan from a JSON file {"class": training images} instead of the source.',
    ),
    optgroup.option(
        "--dataset", metavar="DIGEST", help="Plan from a data set that is in the store already."
    ),
)

cost_options = _group(
    "Cost (for --alpha auto and the comparison)",
    optgroup.option(
        "--costs",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Measured stages, as `accrete study` writes them. [default: the paper's Table I]",
    ),
    optgroup.option(
        "--stage-seconds",
        type=float,
        default=0.0,
        show_default=True,
        metavar="S",
        help="What a stage costs beside training: pod start, pull, compile, push.",
    ),
    optgroup.option(
        "--images-per-second",
        type=float,
        default=10_000.0,
        show_default=True,
        metavar="R",
        help="Training speed, to set --stage-seconds against images.",
    ),
    optgroup.option("--max-stages", type=int, metavar="N", help="Most stages of --alpha auto."),
    optgroup.option(
        "--min-classes",
        type=int,
        default=1,
        show_default=True,
        metavar="N",
        help="Least classes that a stage of --alpha auto adds.",
    ),
)

source_options = _group(
    "Source (the images)",
    optgroup.option(
        "--source",
        type=click.Choice(SOURCE_KINDS),
        default="digits",
        show_default=True,
        help="Kind of source; digits needs no download.",
    ),
    optgroup.option(
        "--data",
        metavar="PATH",
        help="Folder or s3://bucket/prefix of the images; root folder of torchvision's sets.",
    ),
    optgroup.option(
        "--image-column", metavar="NAME", help="Parquet: the image column. [default: found]"
    ),
    optgroup.option(
        "--label-column", metavar="NAME", help="Parquet: the label column. [default: found]"
    ),
    optgroup.option(
        "--only-classes",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Use these classes of the source alone: names, one a line. [default: all]",
    ),
    optgroup.option(
        "--image-size",
        type=int,
        metavar="PX",
        help="Scale and centre-crop to this side. [default: as they are]",
    ),
    optgroup.option(
        "--test-fraction",
        type=float,
        default=0.2,
        show_default=True,
        help="Set aside for testing where the source has no test split.",
    ),
    optgroup.option(
        "--validation-fraction",
        type=float,
        default=0.0,
        show_default=True,
        help="Of the training images, set aside to choose on.",
    ),
    optgroup.option(
        "--split-seed", type=int, default=0, show_default=True, help="Seed of both splits."
    ),
    optgroup.option(
        "--on-bad-image",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="Stop at an image that cannot be decoded, or leave it out and count it.",
    ),
)

model_options = _group(
    "Model",
    optgroup.option(
        "--model",
        metavar="NAME",
        help="small, vgg19 (the paper's) or torchvision:NAME. "
        "[default: small for digits and on CPUs, else vgg19]",
    ),
    optgroup.option(
        "--width",
        type=float,
        default=1.0,
        show_default=True,
        help="Factor on the channels of small and vgg19.",
    ),
    optgroup.option(
        "--bn-after-relu", is_flag=True, help="vgg19: conv, ReLU, batch norm in this order."
    ),
)

recipe_options = _group(
    "Recipe (how it is trained)",
    optgroup.option(
        "--recipe",
        type=click.Choice(["fast", "paper"]),
        default="fast",
        show_default=True,
        help="fast: one lr shape over the whole plan. paper: as published.",
    ),
    optgroup.option(
        "--epochs", metavar="LIST", help="Epochs of each stage over its own images, e.g. 3,2,1,1,5."
    ),
    optgroup.option(
        "--budget-epochs",
        type=float,
        metavar="E",
        help="Images seen in all, in epochs over the whole data set. "
        "[default: fast 7, at least 400 steps; paper 300]",
    ),
    optgroup.option("--batch-size", type=int, help="Images per step. [default: 128]"),
    optgroup.option("--lr", type=float, help="Peak learning rate. [default: fast 0.2, paper 0.1]"),
    optgroup.option("--weight-decay", type=float, help="[default: 0.0005]"),
    optgroup.option("--label-smoothing", type=float, help="[default: fast 0.1, paper 0]"),
    optgroup.option(
        "--flip",
        type=click.Choice(["random", "alternating", "none"]),
        help="Mirror training images, by chance or every other epoch. "
        "[default: random; none for digits]",
    ),
    optgroup.option(
        "--crop-padding",
        type=int,
        metavar="PX",
        help="Pad before random crops. [default: an eighth of the side]",
    ),
    optgroup.option(
        "--image-sides",
        metavar="LIST",
        help="Scale each stage's training images down to so many px, e.g. 16,16,20,24,32.",
    ),
    optgroup.option(
        "--carry-momentum/--reset-momentum",
        default=None,
        help="Momentum from stage to stage. [default: fast carries, paper resets]",
    ),
    optgroup.option(
        "--precision",
        type=click.Choice(["auto", "bf16", "fp32"]),
        help="auto: the quicker one where a stage is trained. [default: fast auto, paper fp32]",
    ),
    optgroup.option(
        "--compile",
        type=click.Choice(["auto", "always", "never"]),
        help="torch.compile of the trunk. [default: auto: on a GPU, for long stages]",
    ),
    optgroup.option(
        "--deterministic",
        is_flag=True,
        default=None,
        help="Repeat a run to the bit on a GPU too, more slowly.",
    ),
    optgroup.option(
        "--stop-gradient",
        type=float,
        metavar="NORM",
        help="End a stage where the gradient is smaller than this. [default: run the budget]",
    ),
    optgroup.option(
        "--stop-patience",
        type=int,
        metavar="E",
        help="End a stage after E epochs in which the loss fell by under 1 %. "
        "[default: run the budget]",
    ),
    optgroup.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Seed of weights, sample order and augmentation.",
    ),
)

where_options = _group(
    "Where",
    optgroup.option(
        "--endpoint",
        metavar="URL",
        help="Submit to this Kubeflow Pipelines API. [default: $KFP_ENDPOINT, else run here]",
    ),
    optgroup.option(
        "--runner",
        type=click.Choice(["subprocess", "docker"]),
        default="subprocess",
        show_default=True,
        help="Here: run each step as a process, or in a container of --image.",
    ),
    optgroup.option("--experiment", default="accrete", show_default=True, help="KFP experiment."),
    optgroup.option("--watch", is_flag=True, help="With --endpoint: follow the run to its end."),
)

run_options = _group(
    "Run",
    optgroup.option(
        "--name",
        metavar="NAME",
        help="Name of the run. [default: from source, plan and configuration]",
    ),
    optgroup.option(
        "--store",
        metavar="URI",
        help="s3://bucket[/prefix] of shards and checkpoints. [default: s3://accrete]",
    ),
)
