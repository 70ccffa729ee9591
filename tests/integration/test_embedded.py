"""The embedded store: one server per state folder, gone with its last user."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import HANGS_S
from seaweed import listening

from accrete.errors import StoreError
from accrete.store.embedded import EmbeddedPaths, embedded_store, running_server
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

HOLD = """
import sys, time
from pathlib import Path
from accrete.store.embedded import embedded_store
with embedded_store(Path(sys.argv[1])) as settings:
    print(settings.endpoint, flush=True)
    time.sleep(120)
"""


def store_of(settings: StoreSettings) -> ObjectStore:
    return ObjectStore(settings, parse_store_uri("s3://accrete"))


def wait_until_gone(home: Path) -> None:
    deadline = time.monotonic() + HANGS_S
    while running_server(EmbeddedPaths(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running_server(EmbeddedPaths(home)) is None


@pytest.mark.slow
def test_data_of_an_earlier_run_reads_at_once_and_on_other_ports(tmp_path: Path) -> None:
    endpoints = []
    for number in range(3):
        with embedded_store(tmp_path) as settings:
            endpoints.append(settings.endpoint)
            store = store_of(settings)
            store.check()
            for earlier in range(number):
                assert store.read_note(f"note/{earlier}") == b"kept"
            store.write_note(f"note/{number}", b"kept")
        wait_until_gone(tmp_path)
    assert len(set(endpoints)) > 1


def process_tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def test_keeper_and_server_listen_on_loopback_alone(tmp_path: Path) -> None:
    with embedded_store(tmp_path) as settings:
        state = json.loads(EmbeddedPaths(tmp_path).server.read_text())
        processes = process_tree(state["pid"])
        assert len(processes) == 2
        sockets = set().union(*map(listening, processes))  # it refuses IPv6
    assert len(sockets) >= 8  # master, volume server, filer and S3, each with gRPC
    assert {address for address, _ in sockets} == {"127.0.0.1"}
    assert int(settings.endpoint.rpartition(":")[2]) in {port for _, port in sockets}


@pytest.mark.parametrize("umask", [0o000, pytest.param(0o022, marks=pytest.mark.slow)])
def test_no_file_of_the_store_is_open_to_others_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    home = tmp_path / "home"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], stdout=subprocess.PIPE, text=True, umask=umask
    )
    try:
        assert holder.stdout is not None
        port = int(holder.stdout.readline().rpartition(":")[2])
        paths = EmbeddedPaths(home)
        settings = running_server(paths)
        assert settings is not None
        store_of(settings).write_note("note", b"x" * 10_000)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700
        secret = (paths.server, paths.credentials, paths.identities, paths.log)
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in secret} == {
            path.name: 0o600 for path in secret
        }
        # SeaweedFS opens its .vif to all by itself; the folder above is closed.
        stored = [p for p in paths.data.rglob("*") if p.is_file() and p.suffix != ".vif"]
        assert len(stored) > 3
        assert [path for path in stored if path.stat().st_mode & 0o077] == []
        sockets = list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))  # noqa: S108
        assert len(sockets) == 1
        assert [path for path in sockets if path.stat().st_mode & 0o077] == []
    finally:
        holder.kill()
        holder.wait()
    wait_until_gone(home)


def test_no_secret_is_in_the_log_or_on_a_command_line(tmp_path: Path) -> None:
    with embedded_store(tmp_path) as settings:
        paths = EmbeddedPaths(tmp_path)
        store_of(settings).write_note("note", b"")
        pid = json.loads(paths.server.read_text())["pid"]
        lines = [Path(f"/proc/{each}/cmdline").read_bytes() for each in process_tree(pid)]
        server_environment = Path(f"/proc/{process_tree(pid)[-1]}/environ").read_bytes()
        for text in (*lines, server_environment, paths.log.read_bytes()):
            assert len(text) > 50
            assert settings.secret_key.encode() not in text
            assert settings.access_key.encode() not in text


def test_a_store_folder_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    paths = EmbeddedPaths(tmp_path)
    paths.root.mkdir(mode=0o755)
    paths.credentials.write_text(json.dumps({"access_key": "a" * 8, "secret_key": "b" * 8}))
    paths.log.write_text("")
    paths.log.chmod(0o666)
    with embedded_store(tmp_path):
        assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700
        assert stat.S_IMODE(paths.log.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_store_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    paths = EmbeddedPaths(tmp_path)
    paths.root.mkdir()
    os.chown(paths.root, 65532, 65532)
    with pytest.raises(StoreError, match="belongs to another user"), embedded_store(tmp_path):
        pass


def test_a_store_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    paths = EmbeddedPaths(tmp_path / "home")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home").mkdir()
    paths.root.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"), embedded_store(tmp_path / "home"):
        pass


@pytest.mark.slow
def test_a_second_user_joins_and_the_server_outlives_the_first(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    endpoint = first.stdout.readline().strip()
    with embedded_store(tmp_path) as settings:
        assert settings.endpoint == endpoint
        first.send_signal(signal.SIGKILL)
        first.wait()
        time.sleep(1)
        store_of(settings).write_note("still", b"here")
    wait_until_gone(tmp_path)


def test_the_server_ends_when_its_only_user_is_killed(tmp_path: Path) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert user.stdout is not None
    assert user.stdout.readline().startswith("http://127.0.0.1:")
    user.send_signal(signal.SIGKILL)
    user.wait()
    wait_until_gone(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder that cannot be made is easy for root only")
@pytest.mark.slow
def test_a_server_that_ends_while_it_is_used_is_started_again_in_its_place(
    tmp_path: Path,
) -> None:
    with embedded_store(tmp_path) as settings:
        store = ObjectStore(settings, parse_store_uri("s3://accrete"), wait_s=60)
        told: list[str] = []
        store.told_by(told.append)
        store.write_note("note", b"kept")
        keeper = json.loads(EmbeddedPaths(tmp_path).server.read_text())["pid"]
        (server,) = [pid for pid in process_tree(keeper) if pid != keeper]
        os.kill(server, signal.SIGKILL)
        store.write_note("other", b"1")
        assert store.read_note("note") == b"kept"
        assert store.read_note("other") == b"1"
        assert running_server(EmbeddedPaths(tmp_path)) == settings
        log = EmbeddedPaths(tmp_path).log.read_text(errors="replace")
        assert log.count("SeaweedFS ended by itself (-9); it is started again") == 1
    wait_until_gone(tmp_path)


def test_a_state_folder_that_cannot_be_used_is_told() -> None:
    with (
        pytest.raises(StoreError, match="ACCRETE_HOME"),
        embedded_store(Path("/proc/nothing/here")),
    ):
        pass


@pytest.mark.slow
def test_the_server_stays_for_a_while_after_its_last_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCRETE_STORE_LINGER_S", "2")
    paths = EmbeddedPaths(tmp_path)
    with embedded_store(tmp_path) as first:
        pass
    began = time.monotonic()
    with embedded_store(tmp_path) as second:
        assert second == first  # the same server, at the same port
    ended = time.monotonic()
    while running_server(paths) is not None:
        time.sleep(0.05)
    assert time.monotonic() - began >= 2
    assert ended - began < HANGS_S
