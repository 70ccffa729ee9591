"""The commands about images before any run: `accrete data …`."""

import shlex
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from accrete.cli._inspect import inspect
from accrete.cli._notes import note
from accrete.core.environment import ENV_ENDPOINT
from accrete.core.units import format_bytes, format_counted, pluralize

if TYPE_CHECKING:
    from accrete.data.pushing import Found

_REDRAW_S = 0.2


@click.group(commands=[inspect])
def data() -> None:
    """Look at images before any run, and bring them to where runs can read them."""


@data.command()
@click.argument("local", type=click.Path(path_type=Path))
@click.argument("place", required=False, metavar="[s3://BUCKET/PREFIX]")
@click.option("--replace", is_flag=True, help="Replace objects of other content.")
def push(local: Path, place: str | None, *, replace: bool) -> None:
    """Send a folder or file to the object store, where a cluster's pods can read it.

    Names stay as they are. What is there already is not sent again: the same command goes on where
    it was stopped. Without a place it is data/NAME in the store of runs.

    \b
    Examples:
      accrete data push photos/
      accrete data push photos/ s3://bucket/photos
    """
    from accrete.data.pushing import check_destination, find_files, push_files
    from accrete.store import keys
    from accrete.store.local import opened_store
    from accrete.store.settings import default_store_uri, parse_store_uri, store_settings

    local = local.expanduser()
    runs = parse_store_uri(default_store_uri())
    named = local.resolve() if local.name in ("", "..") else local
    name = named.stem if local.is_file() else named.name
    address = parse_store_uri(place or f"{runs}/{keys.pushed_prefix(name)}")
    check_destination(address, runs)
    found = find_files(local)
    _tell_what_is_special(found)
    is_here = store_settings() is None
    with opened_store(str(address)) as store:
        meter = _FileMeter(len(found.files), found.num_bytes)
        try:
            pushed = push_files(found, store, meter, replace=replace)
        finally:
            meter.close()
    verb = pluralize(pushed.num_there, "was", "were")
    there = f"; {pushed.num_there:,} {verb} there already" if pushed.num_there else ""
    sent = f"{format_counted(pushed.num_sent, 'file')}, {format_bytes(pushed.sent_bytes)}"
    click.echo(f"sent {sent}{there}")
    if pushed.num_others:
        note(
            f"{address} has {format_counted(pushed.num_others, 'object')} beside these, which a "
            "run reads too"
        )
    if is_here:
        note(
            "this store is on this machine, where no cluster reaches it: name another in "
            f"{ENV_ENDPOINT}"
        )
    click.echo(f"--data {shlex.quote(str(address))}")


def _tell_what_is_special(found: "Found") -> None:
    if found.junk:
        shown = ", ".join(found.junk[:3]) + (", …" if len(found.junk) > 3 else "")
        note(f"left out as hidden or the system's: {len(found.junk):,} ({shown})")
    if found.num_links:
        out = f", {found.num_links_out:,} of them from outside" if found.num_links_out else ""
        noun = pluralize(found.num_links, "link is", "links are")
        note(f"{found.num_links:,} {noun} sent as what they lead to{out}")


class _FileMeter:
    """Shows how far a push is: a line that is drawn anew on a terminal, lines elsewhere."""

    def __init__(self, num_files: int, num_bytes: int) -> None:
        """Begin with nothing."""
        from accrete.monitoring.journal import LINE_INTERVAL_S

        self._num_files, self._num_bytes = num_files, num_bytes
        self._done = self._done_bytes = 0
        self._is_terminal = sys.stderr.isatty()
        self._interval_s = _REDRAW_S if self._is_terminal else LINE_INTERVAL_S
        self._lock = threading.Lock()
        self._started = self._shown = time.monotonic()

    def __call__(self, num_files: int, num_bytes: int) -> None:
        """Count what has come to be there; from any thread."""
        with self._lock:
            self._done, self._done_bytes = self._done + num_files, self._done_bytes + num_bytes
            if time.monotonic() - self._shown >= self._interval_s:
                self._shown = time.monotonic()
                self._show()

    def close(self) -> None:
        """Leave the terminal clean."""
        if self._is_terminal:
            click.echo("\r\033[K", err=True, nl=False)

    def _show(self) -> None:
        from accrete.catalog.step_documents import Progress
        from accrete.monitoring.journal import progress_line

        elapsed_s = self._shown - self._started
        left_bytes = self._num_bytes - self._done_bytes
        progress = Progress(
            title="push",
            done=self._done,
            total=self._num_files,
            unit="files",
            rate=self._done / elapsed_s,
            left_s=elapsed_s * left_bytes / self._done_bytes if self._done_bytes else None,
            detail=f"{format_bytes(self._done_bytes)} of {format_bytes(self._num_bytes)}",
        )
        line = progress_line(progress)
        click.echo(f"\r{line}\033[K" if self._is_terminal else line, err=True, nl=False)
        if not self._is_terminal:
            click.echo("", err=True)
