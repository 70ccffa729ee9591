"""`accrete data inspect`: what a source is understood to be, without training."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from accrete.cli._adapter import ENV_PREFIX, takes
from accrete.cli._options import Source
from accrete.cli._request import source_of
from accrete.config.run import SourceConfig
from accrete.core.options import Given


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectOptions:
    """What is looked at."""

    source: Source


@click.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
@click.argument("data_place", required=False, metavar="[DATA]")
@takes(InspectOptions, place="data")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def inspect(options: InspectOptions, data_place: str | None, *, as_json: bool) -> None:  # noqa: ARG001  options have it
    """Show what a source is understood to be: splits, classes, columns, what is left out, sizes.

    Nothing is trained or stored; some images' heads are read, no pixel is decoded.

    \b
    Examples:
      accrete data inspect photos/
      accrete data inspect s3://bucket/cifar100 --source parquet --json
    """
    with store_to_read(options.source.values.get("location")):
        _inspect(options.source, as_json=as_json)


def _inspect(given: Given[SourceConfig], *, as_json: bool) -> None:
    from accrete.data.inspection import inspect_source, inspection_json

    config = source_of(given)
    understood, looked = inspect_source(config)
    if as_json:
        click.echo(json.dumps(inspection_json(understood, looked), indent=1))
        return
    total = sum(understood.total(split) for split in ("train", "validation", "test"))
    for line in [*understood.lines(), *looked.lines(config.image_size, total)]:
        click.echo(line)
    click.echo(f"{'training':>10} {'validation':>10} {'test':>8}  class")
    for name, sizes in understood.sizes.items():
        click.echo(f"{sizes.train:>10,} {sizes.validation:>10,} {sizes.test:>8,}  {name}")


@contextmanager
def store_to_read(location: object) -> Iterator[None]:
    """Have a store at hand where a location is in one."""
    if not str(location).startswith("s3://"):
        yield
        return
    from accrete.store.local import local_store

    with local_store():
        yield
