"""The embedded store: one server per state folder, gone with its last user."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accrete.embedded import EmbeddedPaths, embedded_store, running_server
from accrete.errors import StoreError
from accrete.settings import StoreSettings, parse_store_uri
from accrete.store import ObjectStore

HOLD = """
import sys, time
from pathlib import Path
from accrete.embedded import embedded_store
with embedded_store(Path(sys.argv[1])) as settings:
    print(settings.endpoint, flush=True)
    time.sleep(120)
"""


def store_of(settings: StoreSettings) -> ObjectStore:
    return ObjectStore(settings, parse_store_uri("s3://accrete"))


def wait_until_gone(home: Path) -> None:
    deadline = time.monotonic() + 30
    while running_server(EmbeddedPaths(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running_server(EmbeddedPaths(home)) is None


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


def test_it_listens_on_loopback_and_its_secrets_are_private(tmp_path: Path) -> None:
    with embedded_store(tmp_path) as settings:
        assert settings.endpoint.startswith("http://127.0.0.1:")
        paths = EmbeddedPaths(tmp_path)
        for path in (paths.server, paths.credentials, paths.identities):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(paths.root.stat().st_mode) == 0o700
        assert settings.secret_key not in paths.log.read_text(errors="replace")


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
def test_a_state_folder_that_cannot_be_used_is_told() -> None:
    with (
        pytest.raises(StoreError, match="ACCRETE_HOME"),
        embedded_store(Path("/proc/nothing/here")),
    ):
        pass
