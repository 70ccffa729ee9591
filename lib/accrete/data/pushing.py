"""Files of this machine into the object store, where pods can read them.

Names stay as they are below the folder. What is there already, byte for byte, is not sent again, so
that a push that was stopped goes on; what is there with other bytes is not replaced unasked.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from accrete.core.units import format_counted, format_path
from accrete.data.sources.junk import junk_reason
from accrete.data.sources.tree import Tree, scan
from accrete.errors import ConfigError, InputError, SourceError, StoreError
from accrete.store import keys
from accrete.store.settings import StoreAddress

if TYPE_CHECKING:
    from accrete.store.object_store import ObjectStore

T = TypeVar("T")

Report = Callable[[int, int], None]
"""Told of files that are there now, and of bytes; from several threads."""

_AT_ONCE = 16
"""Requests at once: as many connections as the store's pool keeps."""

_PART_BYTES = 5 << 20
_LARGE_AT_ONCE = 5
"""Files above 5 MiB go in parts, three at a time (minio-py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file that is to be sent."""

    name: str
    """Below the folder, with `/` between its parts."""
    path: Path
    """Where it is; may be a link."""
    num_bytes: int
    """Its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is to be sent, and what is not."""

    files: tuple[LocalFile, ...]
    """Sorted by name."""
    junk: tuple[str, ...]
    """Files and folders of the system's, and hidden ones, which are left out."""
    num_links: int
    """Files that are links, sent as what they lead to."""
    num_links_out: int
    """Of these, those that lead out of the folder."""

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push came to."""

    num_sent: int
    """Files that were sent."""
    sent_bytes: int
    """Their size."""
    num_there: int
    """Files that were there already."""
    num_others: int
    """Objects beside them, which are read as images too."""


def find_files(path: Path) -> Found:
    """Return the files of a folder, or a file by itself.

    Raises:
        SourceError: there is none; or something there cannot be read, is neither file nor folder,
            or has a name that is no UTF-8.
    """
    mode = _mode_of(path)
    is_folder = stat.S_ISDIR(mode)
    tree = scan(path) if is_folder else Tree(sizes={path.name: 0}, folders=(), odd={})
    junk = [name for name in (*tree.sizes, *tree.odd) if is_folder and junk_reason(name.split("/"))]
    left_out = set(junk)
    for name, why in tree.odd.items():
        if name not in left_out:
            raise SourceError(f"{format_path(path / name)} {why}")
    files = [
        _local_file(name, path / name if is_folder else path)
        for name in tree.sizes
        if name not in left_out
    ]
    if not files:
        but = f" but {junk[0]}, which is left out" if junk else ""
        raise SourceError(f"{format_path(path)} holds no file{but}: give a folder of images")
    links = [file.path for file in files if file.path != path and file.path.is_symlink()]
    root = os.path.realpath(path)
    out = [link for link in links if os.path.commonpath([root, os.path.realpath(link)]) != root]
    return Found(
        files=tuple(files),
        junk=tuple(junk),
        num_links=len(links),
        num_links_out=len(out),
    )


def check_destination(place: StoreAddress, runs: StoreAddress) -> None:
    """Refuse a place where files would be among what accrete itself stores.

    Args:
        place: where files are to go.
        runs: the store of runs.

    Raises:
        ConfigError: it is that store, lies above it, or among its own keys.
    """
    if place.bucket != runs.bucket:
        return
    below = place.prefix.removeprefix(runs.prefix)
    is_above = runs.prefix.startswith(place.prefix)
    is_among = place.prefix.startswith(runs.prefix) and below.startswith(keys.own_prefixes())
    if is_above or is_among:
        raise ConfigError(
            f"{place} is where accrete keeps what it stores in {runs}: give a place of its own, "
            f"such as {runs}/{keys.pushed_prefix('images')}"
        )


def push_files(found: Found, store: "ObjectStore", report: Report, *, replace: bool) -> Pushed:
    """Send files to a store's prefix, and look whether they have come.

    Args:
        found: the files.
        store: at the prefix.
        report: told of all files and bytes that come to be there, or were.
        replace: whether objects of other content may be replaced.

    Raises:
        InputError: an object of other content has a file's name; nothing was sent.
        SourceError: a file cannot be read; what was sent stays.
        StoreError: the store fails, or what came has another size than what was sent.
    """
    there = _already_there(found.files, store, report, replace=replace)
    waiting = [file for file in found.files if file.name not in there]
    small = [file for file in waiting if file.num_bytes <= _PART_BYTES]
    large = [file for file in waiting if file.num_bytes > _PART_BYTES]
    for files, at_once in ((small, _AT_ONCE), (large, _LARGE_AT_ONCE)):
        for _ in _in_threads(partial(_send, store, report), files, at_once):
            report(1, 0)
    came = {listed.key: listed.num_bytes for listed in store.list_objects("")}
    for file in found.files:
        if came.get(file.name) != file.num_bytes:
            raise StoreError(
                f"{store.uri(file.name)} has {came.get(file.name, 0):,} bytes, but "
                f"{format_path(file.path)} had {file.num_bytes:,} when it was sent: is it being "
                "written to? Push it again"
            )
    return Pushed(
        num_sent=len(waiting),
        sent_bytes=sum(file.num_bytes for file in waiting),
        num_there=len(there),
        num_others=len(came.keys() - {file.name for file in found.files}),
    )


def _already_there(
    files: Sequence[LocalFile], store: "ObjectStore", report: Report, *, replace: bool
) -> set[str]:
    """Return the names of files that the store has byte for byte."""
    from accrete.store.content import has_content_of

    listed = {each.key: each for each in store.list_objects("")}

    def compare(file: LocalFile, _stopped: Event) -> tuple[LocalFile, bool]:
        with_content = _reading(file, lambda: has_content_of(store, listed[file.name], file.path))
        return file, with_content

    same, other = set(), []
    there = [file for file in files if file.name in listed]
    for file, is_same in _in_threads(compare, there, _AT_ONCE):
        if is_same:
            same.add(file.name)
            report(1, file.num_bytes)
        else:
            other.append(file.name)
    if other and not replace:
        more = f" and {format_counted(len(other) - 1, 'other')} have" if other[1:] else " has"
        raise InputError(
            f"{store.uri(min(other))}{more} other content than here: replace what is there with "
            "--replace, or give another place"
        )
    return same


def _in_threads(
    work: Callable[[LocalFile, Event], T], files: Sequence[LocalFile], at_once: int
) -> Iterator[T]:
    """Yield what comes of each file, as it comes; after a failure or Ctrl-C end what was begun.

    Args:
        work: what to do with a file; an event tells it to end.
        files: all of them.
        at_once: threads.
    """
    pool, stopped = ThreadPoolExecutor(at_once), Event()
    try:
        for done in as_completed([pool.submit(work, file, stopped) for file in files]):
            yield done.result()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


class _StoppedError(Exception):
    """Another file failed, or the user wants no more."""


def _send(store: "ObjectStore", report: Report, file: LocalFile, stopped: Event) -> None:
    def heard(num_bytes: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        report(0, num_bytes)

    _reading(file, lambda: store.upload(file.name, file.path, heard))


def _reading(file: LocalFile, work: Callable[[], T]) -> T:
    """Do something that reads a file."""
    try:
        return work()
    except OSError as error:
        raise _unreadable(file.path, error) from error


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError as error:
        raise SourceError(
            f"{format_path(path)} does not exist: give the folder or file of the images"
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _local_file(name: str, path: Path) -> LocalFile:
    """Return a file that can be sent."""
    try:
        facts = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(facts.st_mode):
        raise SourceError(f"{format_path(path)} is a pipe or a device: give images")
    if not os.access(path, os.R_OK):
        raise _unreadable(path, PermissionError(0, "Permission denied"))
    return LocalFile(name=name, path=path, num_bytes=facts.st_size)


def _unreadable(path: Path, error: Exception) -> SourceError:
    detail = getattr(error, "strerror", None) or error
    return SourceError(f"{format_path(path)} cannot be read ({detail}): mend or remove it")
