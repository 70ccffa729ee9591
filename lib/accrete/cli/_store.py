"""The commands that look after a store: ls, show, verify, gc, forget.

No option of theirs comes from the environment, as others' do: one that deletes must be typed.
"""

import json
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from accrete.cli._notes import note
from accrete.core.settings import cache_path
from accrete.core.units import parse_duration

if TYPE_CHECKING:
    from accrete.catalog.inventory import Inventory, References
    from accrete.catalog.verification import Verification


_STORE = click.option(
    "--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]"
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
_DAMAGED = 4


@click.command()
@click.argument("what", type=click.Choice(["runs", "stages", "datasets"]), default="runs")
@_STORE
@_JSON
def ls(what: str, store: str | None, *, as_json: bool) -> None:
    """List the runs of a store, its finished stages, or its data sets."""
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.inventory import read_inventory
    from accrete.catalog.lineage import dataset_facts, run_facts, stage_facts
    from accrete.cli._store_text import datasets_text, runs_text, stages_text
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        inventory = read_inventory(Catalog(objects))
    runs = [run_facts(inventory, record) for record in inventory.runs.values()]
    stages = [stage_facts(inventory, manifest) for manifest in inventory.stages.values()]
    stages.sort(key=lambda stage: stage["created_at"])
    datasets = [dataset_facts(inventory, digest) for digest in sorted(inventory.datasets)]
    found = {"runs": runs, "stages": stages, "datasets": datasets}[what]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif what == "runs":
        click.echo(runs_text(runs, inventory.unprepared))
    else:
        click.echo(stages_text(stages) if what == "stages" else datasets_text(datasets))
    _tell_damaged(inventory)


def _tell_damaged(inventory: "Inventory") -> None:
    for key, reason in inventory.damaged.items():
        note(f"{key} is left out: {reason}")


@click.command()
@click.argument("name")
@_STORE
@_JSON
def show(name: str, store: str | None, *, as_json: bool) -> None:
    """Show a run, a stage or a data set, and what it came from: down to shards and config.

    NAME is a run's, or 8 or more digits of the digest of a stage, a checkpoint or a data set, or
    RUN@latest, the newest model of the life that RUN began.

    \b
    Examples:
      accrete show digits-4-stages
      accrete show 1b2c3d4e5f60 --json
    """
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.inventory import read_inventory
    from accrete.catalog.lineage import lineage_of
    from accrete.catalog.lookup import find_named
    from accrete.cli._store_text import lineage_text
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        inventory = read_inventory(Catalog(objects))
    facts = lineage_of(inventory, find_named(inventory, name, note))
    click.echo(json.dumps(facts, indent=1) if as_json else lineage_text(facts))
    _tell_damaged(inventory)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--sizes-only", is_flag=True, help="Compare sizes and read nothing: quick.")
@click.option(
    "--delete-damaged",
    is_flag=True,
    help="Delete what is damaged where running the pipeline again makes it anew.",
)
@_STORE
@_JSON
def verify(
    names: tuple[str, ...],
    store: str | None,
    *,
    sizes_only: bool,
    delete_damaged: bool,
    as_json: bool,
) -> None:
    """Read back and hash everything that runs, stages or data sets name; without NAME, all.

    NAME is as for `accrete show`. The exit code is 4 where something is damaged.
    """
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.inventory import read_inventory
    from accrete.catalog.verification import verify_store
    from accrete.cli._store_text import verification_text
    from accrete.core.serialization import to_json
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        catalog = Catalog(objects)
        inventory = read_inventory(catalog)
        named = _named(inventory, names)
        report = _meter("verify") if sys.stderr.isatty() else _mute
        found = verify_store(catalog, inventory, named, sizes_only=sizes_only, report=report)
        if as_json:
            click.echo(json.dumps(to_json(found), indent=1))
        else:
            click.echo(verification_text(found, sizes_only=sizes_only))
        if delete_damaged:
            for key in _deletable(found):
                objects.at_once().delete(key)  # later it may be whole again
                click.echo(f"deleted {key}", err=True)
    if found.damages:
        sys.exit(_DAMAGED)


def _named(inventory: "Inventory", names: tuple[str, ...]) -> "References":
    """Return what some names stand for, together; without names everything that exists."""
    from accrete.catalog.inventory import References, follow
    from accrete.catalog.lookup import find_named

    if not names:
        return follow(
            inventory.runs.values(),
            inventory.stages,
            inventory.datasets,
            more_stages=inventory.stages,
            more_datasets=inventory.datasets,
        )
    named = References()
    for name in names:
        found = find_named(inventory, name, note).references(inventory)
        named.stages |= found.stages
        named.datasets |= found.datasets
        named.objects |= found.objects
    return named


def _deletable(found: "Verification") -> list[str]:
    return list(dict.fromkeys(key for damage in found.damages for key in damage.delete))


@click.command()
@click.option(
    "--keep",
    default="24h",
    show_default=True,
    metavar="TIME",
    help="Never remove what was written within this time: 30m, 24h, 7d.",
)
@click.option("--delete", is_flag=True, help="Remove it; without this, only tell.")
@click.option("--cache", is_flag=True, help="This node's cache instead of the store.")
@_STORE
@_JSON
def gc(keep: str, store: str | None, *, delete: bool, cache: bool, as_json: bool) -> None:
    """Remove what no run names, and snapshots of no more use; tells only, unless --delete.

    Runs may begin and go on meanwhile. `accrete forget` removes a run, so that what it alone named
    can go.
    """
    kept_time = parse_duration(keep, "--keep")
    if cache:
        _collect_cache(kept_time, store, delete=delete, as_json=as_json)
        return
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.gc import check_keep, collect, find_collection
    from accrete.cli._store_text import collection_text
    from accrete.core.serialization import to_json
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        catalog = Catalog(objects)
        if delete:
            check_keep(objects, kept_time)
        found = collect(catalog, kept_time) if delete else find_collection(catalog, kept_time)
        keeping = objects.bucket.keeping()
    if as_json:
        facts: dict[str, Any] = {"removed": delete, "num_bytes": found.num_bytes}
        facts |= {"kept_as_versions": keeping.is_versioned if keeping else None}
        keys_found = [listed.key for listed in found.all]
        click.echo(json.dumps(to_json(facts | {"keys": keys_found}), indent=1))
    else:
        click.echo(collection_text(found, keeping, removed=delete))


def _collect_cache(keep: timedelta, store: str | None, *, delete: bool, as_json: bool) -> None:
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.gc import remove_files, unneeded_files
    from accrete.catalog.inventory import read_inventory
    from accrete.core.units import format_bytes
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        named = read_inventory(Catalog(objects)).references().objects
    files = unneeded_files(cache_path(), named, keep)
    num_bytes = sum(file.num_bytes for file in files)
    if delete:
        remove_files(files)
    if as_json:
        facts: dict[str, Any] = {"removed": delete, "num_bytes": num_bytes}
        click.echo(json.dumps(facts | {"paths": [str(file.path) for file in files]}, indent=1))
        return
    verb = "removed" if delete else "would remove"
    click.echo(f"{verb} {len(files):,} files of {cache_path()}, {format_bytes(num_bytes)}")
    if files and not delete:
        click.echo("nothing was removed: --delete does it")


@click.command()
@click.argument("name")
@click.option("--delete", is_flag=True, help="Remove it; without this, only tell.")
@_STORE
def forget(name: str, store: str | None, *, delete: bool) -> None:
    """Remove a run: its record, its steps' journals and logs, its report.

    Its data set and stages stay until `accrete gc` finds that no other run names them.
    """
    from accrete.catalog.gc import forget_run, keys_of_run
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        found = keys_of_run(objects, name)
        if delete:
            forget_run(objects, name, found)
    if delete:
        click.echo(f"run {name} is forgotten: {len(found)} notes removed")
    else:
        click.echo(f"would remove {len(found)} notes of run {name}: record, journals, logs, report")
        click.echo("nothing was removed: --delete does it")


def _meter(title: str) -> Any:
    """Return what shows on a terminal how far something is."""
    from accrete.core.units import format_bytes

    def report(done: int, total: int) -> None:
        click.echo(f"\r{title}: {format_bytes(done)} of {format_bytes(total)} ", err=True, nl=False)
        if done == total:
            click.echo("\r" + " " * 60 + "\r", err=True, nl=False)

    return report


def _mute(_done: int, _total: int) -> None:
    """Show nothing."""
