"""The embedded store: one SeaweedFS server per state folder, shared by all who use the folder.

Every user holds a shared lock on `clients.lock`; a keeper process (`embedded_keeper`) runs the
server until it can take that lock for itself, so the server ends with its last user, however that
user ends. Ports and credentials are generated; the server listens on 127.0.0.1 alone.
"""

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from accrete.core.processes import is_running
from accrete.errors import StoreError
from accrete.store.settings import StoreSettings

START_TIMEOUT_S = 60.0
VOLUME_MIB = 256
"""Greatest size of a file of the server's."""
RESERVE_MIB = 1024
"""With less room on the disk the server takes no writes."""
_FIRST_VOLUMES = 7
"""Files that it wants room for before the first write; with less it refuses that."""


class EmbeddedPaths:
    """The files of an embedded store."""

    def __init__(self, home: Path) -> None:
        """Name the files below a state folder; makes nothing."""
        self.root = home / "store"
        self.data = self.root / "data"
        self.clients_lock = self.root / "clients.lock"
        self.start_lock = self.root / "start.lock"
        self.owner_lock = self.root / "owner.lock"
        self.server = self.root / "server.json"
        self.credentials = self.root / "credentials.json"
        self.identities = self.root / "s3.json"
        self.log = self.root / "server.log"


@contextmanager
def embedded_store(home: Path) -> Iterator[StoreSettings]:
    """Run the embedded store of a state folder while the block runs, or join the one that runs.

    Raises:
        StoreError: the folder cannot be used, or the server does not start.
    """
    paths = EmbeddedPaths(home)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_private(paths.root)
        _make_private(paths.data)
        clients = paths.clients_lock.open("a")
    except OSError as error:
        raise StoreError(
            f"the state folder {home} cannot be used ({error.strerror}): "
            "set ACCRETE_HOME to a folder that this user can write"
        ) from error
    with clients, paths.start_lock.open("a") as starting:
        fcntl.flock(clients, fcntl.LOCK_SH)  # waits for a keeper that is about to leave
        fcntl.flock(starting, fcntl.LOCK_EX)
        settings = running_server(paths) or _start_keeper(paths)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield settings


def running_server(paths: EmbeddedPaths) -> StoreSettings | None:
    """Return how to reach the running server, None where none runs."""
    try:
        state = json.loads(paths.server.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if not is_running(int(state["pid"])) or not _is_locked(paths.owner_lock):
        return None
    return StoreSettings(
        endpoint=state["endpoint"], access_key=state["access_key"], secret_key=state["secret_key"]
    )


def _is_locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _check_room(paths: EmbeddedPaths) -> None:
    """Make sure that the server will take writes, which it would else refuse without a reason.

    Raises:
        StoreError: the disk has too little room.
    """
    is_new = not any(paths.data.iterdir())
    needed_mib = RESERVE_MIB + (_FIRST_VOLUMES * VOLUME_MIB if is_new else 0)
    free_mib = shutil.disk_usage(paths.data).free >> 20
    if free_mib < needed_mib:
        raise StoreError(
            f"the disk of {paths.data} has {free_mib:,} MiB free, and the embedded store needs "
            f"{needed_mib:,}: make room there, or set ACCRETE_HOME to a folder on a larger disk"
        )


def _start_keeper(paths: EmbeddedPaths) -> StoreSettings:
    _check_room(paths)
    paths.server.unlink(missing_ok=True)
    with open_private(paths.log) as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "accrete.store.embedded_keeper", str(paths.root.parent)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        settings = running_server(paths)
        if settings:
            return settings
        if keeper.poll() is not None:
            break
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        keeper.terminate()
    raise StoreError(
        f"the embedded store did not start: {_last_line(paths.log)} (its log: {paths.log})"
    )


def _make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter, or have one that exists be such a folder.

    Raises:
        StoreError: it is somebody else's, or a link.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise StoreError(
            f"the state folder's {folder} is a link or belongs to another user: set ACCRETE_HOME "
            "to a folder of your own"
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def open_private(path: Path) -> IO[bytes]:
    """Open a file for writing that only its owner can read, emptied."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # one that was there may have been open to all
    return os.fdopen(descriptor, "wb")


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read; whole or not at all."""
    part = path.with_suffix(".part")
    with open_private(part) as file:
        file.write(data)
    part.replace(path)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    return lines[-1].strip()[:300] if lines else "it said nothing"


def stored_bytes(home: Path) -> int:
    """Return the disk space that the embedded store's data takes, in bytes."""
    files = (path for path in EmbeddedPaths(home).data.rglob("*") if path.is_file())
    return sum(path.stat().st_blocks * 512 for path in files)
