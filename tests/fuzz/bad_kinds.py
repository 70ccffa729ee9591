"""What a kind of bad input is, and helpers that add one to the table of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bad_files import (
    make_images,
    write,
)

from accrete.catalog.catalog import Catalog
from accrete.config.plan import Plan
from accrete.config.run import SourceConfig
from accrete.data.counts import counts_of_source
from accrete.data.prepare import prepare_dataset

Read = Callable[[Path, Catalog], Any]
"""Makes the bad input in a folder, and reads it as a command does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of bad input."""

    name: str
    """What it is, for people."""
    read: Read
    """Makes it and reads it."""
    line: str
    """What is said of it: `DIR` is the folder, `…` stands for anything."""
    exit_code: int = 2
    """Of a command that meets it."""


KINDS: list[Kind] = []


def kind(name: str, line: str, exit_code: int = 2) -> Callable[[Read], Read]:
    """Add a kind of bad input to the table."""

    def add(read: Read) -> Read:
        KINDS.append(Kind(name=name, read=read, line=line, exit_code=exit_code))
        return read

    return add


def publish(config: SourceConfig, folder: Path, catalog: Catalog) -> None:
    """Prepare a source, as the pipeline's first step does."""
    counts = counts_of_source(config)
    plan = Plan(
        rule="all",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(len(counts),),
    )
    prepare_dataset(
        config, plan, catalog, folder.parent / "work", lambda _total: lambda _done: None
    )


def folder_kind(
    name: str, line: str, files: dict[str, bytes], more: Callable[[Path], object] = lambda _: None
) -> None:
    """Add an image folder: two good classes, some files, and what `more` makes."""

    def read(folder: Path, catalog: Catalog) -> None:
        make_images(folder)
        for file_name, content in files.items():
            write(folder / file_name, content)
        more(folder)
        publish(SourceConfig(kind="imagefolder", location=str(folder)), folder, catalog)

    kind(name, line)(read)


def parquet_kind(name: str, line: str, make: Callable[[Path], object], **options: Any) -> None:
    """Add a folder with Parquet files that `make` writes."""

    def read(folder: Path, catalog: Catalog) -> None:
        make(folder)
        config = SourceConfig(kind="parquet", location=str(folder), **options)
        publish(config, folder, catalog)

    kind(name, line)(read)


def reader_kind(
    name: str, line: str, content: bytes, read_file: Callable[[Path], object], exit_code: int = 2
) -> None:
    """Add a file of some content, which a reader is given."""

    def read(folder: Path, _catalog: Catalog) -> None:
        path = folder / "file"
        path.write_bytes(content)
        read_file(path)

    kind(name, line, exit_code)(read)


SKIP = "mend or remove it, or skip such images with --on-bad-image skip"
EMPTY = "add some, remove it, or name the classes to use with --only-classes"
NO_TABLE = "write or download it again"
DIGEST = "0" * 64
