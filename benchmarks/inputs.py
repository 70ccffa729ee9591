"""What benchmarks train on: CIFAR-100 or the digits, all classes in one stage."""

import argparse
import os
from pathlib import Path
from typing import Any

from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts

DATA_VARIABLE = "ACCRETE_TEST_CIFAR100"
"""Environment variable with the folder of the real CIFAR-100 in Parquet."""


def add_data_option(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, the folder of CIFAR-100."""
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get(DATA_VARIABLE),
        help=f"folder of CIFAR-100 in Parquet [default: ${DATA_VARIABLE}]",
    )


def source_of(options: argparse.Namespace, kind: str = "cifar100") -> SourceConfig:
    """Return the source `cifar100`, from the folder of `--data`, or `digits`, which ships with us.

    Raises:
        SystemExit: CIFAR-100 is asked for and no folder is named.
    """
    if kind == "digits":
        return SourceConfig(kind="digits")
    if options.data is None:
        raise SystemExit(f"CIFAR-100 is nowhere: give --data FOLDER or set {DATA_VARIABLE}")
    return SourceConfig(kind="parquet", location=str(options.data))


def one_stage(source: SourceConfig, model: str, **recipe: Any) -> RunConfig:
    """Return a run that trains all classes in a single stage.

    Args:
        source: the images.
        model: `small`, `vgg19` or `torchvision:NAME`.
        recipe: changes to the recipe `fast`.
    """
    counts = training_counts(open_source(source).counts(), source)
    plan = Plan(
        rule="all classes at once",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(len(counts),),
    )
    flip = "none" if source.kind == "digits" else "random"
    config = Recipe(**{"flip": flip} | recipe)
    return RunConfig(source=source, plan=plan, model=ModelConfig(name=model), recipe=config)
