"""The command that shows a model's whole life."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from accrete.core.units import MISSING, format_percent, format_seconds
from accrete.errors import InputError, printable


@click.command()
@click.argument("name")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with a picture.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]")
def life(name: str, html: Path | None, store: str | None, *, as_json: bool) -> None:
    """Show the life that run NAME is part of: the first model, and every arrival since.

    \b
    Examples:
      accrete life animals
      accrete life animals --html life.html
    """
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.newest import begun_by
    from accrete.reports.life import assemble_life, render_life
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        found = assemble_life(Catalog(objects), begun_by(name))
    if html is not None:
        try:
            html.write_text(render_life(found))
        except OSError as error:
            raise InputError(f"{html} cannot be written ({error.strerror})") from error
    click.echo(json.dumps(found, indent=1) if as_json else _text(found))
    if html is not None:
        click.echo(f"page: {html}", err=True)


def _text(found: Mapping[str, Any]) -> str:
    from accrete.cli._store_text import table_text

    head = ("", "RUN", "WHEN", "CLASSES", "IMAGES", "TOP-1", "OLD", "NEW", "SEEN", "TRAINING")
    rows = [
        (
            str(each["number"]),
            each["run"],
            each["created_at"][:16],
            f"{each['num_classes']:,} (+{each['num_new_classes']:,})",
            f"{each['num_images']:,}",
            format_percent(each["top1"]),
            f"{format_percent(each['top1_before'])} → {format_percent(each['top1_old'])}"
            if each["top1_old"] is not None
            else MISSING,
            format_percent(each["top1_new"]),
            f"{each['images_seen']:,}",
            format_seconds(each["train_s"]),
        )
        for each in found["arrivals"]
    ]
    totals = found["totals"]
    lines = [table_text(head, rows)]
    if found["origin"] is not None:
        lines.insert(0, printable(f"began with {found['origin']}"))
    lines.append(
        f"in all {totals['images_seen']:,} images seen, {format_seconds(totals['train_s'])} of "
        "training"
    )
    lines += [f"not finished: {each}" for each in found["unfinished"]]
    return "\n".join(lines)
