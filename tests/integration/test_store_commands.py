"""`accrete gc` and `accrete forget` as users call them, on a real store."""

import json
import os
import time
from pathlib import Path

import pytest
from by_steps import enter_pod, run_by_steps
from click.testing import CliRunner, Result
from digits import digits_run

from accrete.catalog.catalog import Catalog
from accrete.cli.main import accrete
from accrete.errors import ConfigError, InputError
from accrete.monitoring.journal import Journal
from accrete.store import keys

CONFIG = digits_run(2, only_classes=("0", "1"), budget_epochs=1.0)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A store with a finished run, and the environment of a command that uses it."""
    enter_pod(catalog.store, tmp_path / "cache", monkeypatch)
    monkeypatch.setenv("ACCRETE_STORE", str(catalog.store.address))
    run_by_steps(catalog.store, "done", CONFIG, num_stages=1)
    return catalog


def command(*arguments: str) -> Result:
    return CliRunner().invoke(accrete, arguments)


@pytest.mark.slow
def test_a_forgotten_run_is_collected_when_it_is_old_enough(trained: Catalog) -> None:
    before = trained.store.list_keys("")
    assert "would remove" in command("forget", "done").output
    assert trained.store.list_keys("") == before
    assert command("forget", "done", "--delete").exit_code == 0
    assert trained.store.list_keys("runs/") == []
    assert "nothing to remove" in command("gc", "--delete").output
    time.sleep(1.1)
    told = json.loads(command("gc", "--keep", "0s", "--json").stdout)
    assert not told["removed"]
    removed = command("gc", "--keep", "0s", "--delete")
    assert removed.output.startswith("removed 6 objects, 1 stage manifests, 1 dataset manifests")
    assert set(told["keys"]).isdisjoint(trained.store.list_keys(""))
    assert trained.store.list_keys("") == [keys.collection_key(), keys.create_only_key()]


def test_young_things_of_a_running_run_are_not_to_be_had(trained: Catalog, tmp_path: Path) -> None:
    with Journal("live", "stage-0001", store=trained.store, folder=None) as journal:
        while trained.store.read_note(keys.step_key("live", "stage-0001")) is None:
            time.sleep(0.01)  # its thread writes it
        found = command("gc", "--keep", "10m", "--delete")
        assert isinstance(found.exception, InputError)
        assert "run 'live' wrote to the store minutes ago" in str(found.exception)
        assert isinstance(command("forget", "live", "--delete").exception, InputError)
        assert command("gc", "--keep", "1h", "--delete").exit_code == 0
        journal.succeed()
    assert command("gc", "--keep", "10m", "--delete").exit_code == 0
    assert command("forget", "live", "--delete").exit_code == 0


def test_a_cache_keeps_what_runs_name(trained: Catalog, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    named = [path for path in (cache / "objects").rglob("*") if path.is_file()]
    killed = cache / "tmp" / "snapshot-of-a-killed-step" / "snapshot.safetensors"
    killed.parent.mkdir(parents=True)
    half_pulled, unnamed = cache / "objects/ab/.pull-1", cache / "objects/ab" / ("ab" * 32)
    unnamed.parent.mkdir(exist_ok=True)
    for path in (killed, half_pulled, unnamed):
        path.write_bytes(b"left")
    for path in (*named, killed, half_pulled, unnamed):
        os.utime(path, (1, 1))
    young = cache / "objects/ab" / ("ac" * 32)
    young.write_bytes(b"just pulled")

    assert "would remove 3 files" in command("gc", "--cache").output
    assert killed.exists()
    assert "removed 3 files" in command("gc", "--cache", "--delete").output
    assert not killed.parent.exists()
    assert not half_pulled.exists()
    assert not unnamed.exists()
    assert young.exists()
    assert all(path.exists() for path in named)


@pytest.mark.parametrize("text", ["0", "-1h", "1w", "1.5h", "ten", "99999999d"])
def test_a_time_of_another_form_is_refused(text: str) -> None:
    found = command("gc", f"--keep={text}")
    assert isinstance(found.exception, ConfigError)
    assert f"--keep is {text!r}: give a time such as 30m, 24h or 7d" in str(found.exception)
