"""Reading everything back: each kind of damage is found, told, and healed by running again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from by_steps import enter_pod, run_by_steps
from click.testing import CliRunner, Result
from digits import digits_run

from accrete.catalog.catalog import Catalog
from accrete.catalog.inventory import read_inventory
from accrete.cli.main import accrete
from accrete.store import keys
from accrete.store.object_store import ObjectStore

CONFIG = digits_run(2, 1, only_classes=("0", "1", "2"), budget_epochs=1.0)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """A store with a run of two stages, the first finished."""
    enter_pod(catalog.store, tmp_path / "cache", monkeypatch)
    monkeypatch.setenv("ACCRETE_STORE", str(catalog.store.address))
    run_by_steps(catalog.store, "sound", CONFIG, num_stages=1)
    return catalog


def command(*arguments: str) -> Result:
    return CliRunner().invoke(accrete, arguments)


def the_stage(catalog: Catalog) -> str:
    return next(iter(read_inventory(catalog).stages))


def key_of(kind: str, catalog: Catalog) -> str:
    """Return where something of each kind lies."""
    inventory = read_inventory(catalog)
    (stage,) = inventory.stages.values()
    (dataset,) = inventory.datasets.values()
    return {
        "shard": keys.object_key(dataset.classes[0].train[0].sha256),
        "checkpoint": keys.object_key(stage.checkpoint.sha256),
        "metrics": keys.object_key(stage.metrics.sha256),
        "stage": keys.stage_key(stage.digest),
        "data set": keys.dataset_key(dataset.digest),
    }[kind]


def flip(store: ObjectStore, key: str) -> None:
    data = bytearray(store.read_note(key) or b"")
    data[len(data) // 2] ^= 1
    store.write_note(key, bytes(data))


def cut(store: ObjectStore, key: str) -> None:
    store.write_note(key, (store.read_note(key) or b"")[:-1])


def lose(store: ObjectStore, key: str) -> None:
    store.delete(key)


def test_a_sound_store_is_told_so(trained: Catalog) -> None:
    for arguments in ((), ("sound",), (the_stage(trained)[:12],), ("--sizes-only",)):
        result = command("verify", *arguments)
        assert result.exit_code == 0, result.output
        assert "all whole" in result.output
    assert "1 stages not finished" in command("verify").output


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        pytest.param(kind, harm, marks=() if harm is quick else pytest.mark.slow)
        for kind, quick in (
            *(("shard", lose), ("checkpoint", flip), ("metrics", cut)),
            *(("stage", flip), ("data set", cut)),
        )
        for harm in (flip, cut, lose)
    ],
)
def test_damage_is_found_told_and_healed_by_running_again(
    trained: Catalog, kind: str, harm: Callable[[ObjectStore, str], None]
) -> None:
    key = key_of(kind, trained)
    harm(trained.store, key)
    if kind == "stage" and harm is lose:
        assert "2 stages not finished: all whole" in command("verify").output
        return
    result = command("verify", "--json")
    assert result.exit_code == 4
    (damage,) = json.loads(result.stdout)["damages"]
    assert damage["key"] == key
    owner = {"shard": "data set ", "checkpoint": "stage ", "metrics": "stage "}.get(kind)
    assert owner is None or damage["named_by"][0].startswith(owner)
    line = command("verify").output.splitlines()[0]
    assert line.startswith(key)
    assert "again" in line

    assert command("verify", "--delete-damaged").exit_code == 4
    run_by_steps(trained.store, "sound", CONFIG, num_stages=1)
    healed = command("verify")
    assert healed.exit_code == 0, healed.output


def test_sizes_alone_show_what_was_cut_and_not_what_was_flipped(trained: Catalog) -> None:
    flip(trained.store, key_of("shard", trained))
    assert command("verify", "--sizes-only").exit_code == 0
    cut(trained.store, key_of("shard", trained))
    assert command("verify", "--sizes-only").exit_code == 4


def test_a_damaged_snapshot_costs_nothing(trained: Catalog) -> None:
    unfinished = next(iter(read_inventory(trained).runs.values())).stages[1]  # type: ignore[union-attr]
    key = keys.snapshot_key(unfinished, 10, "0" * 64, 4)
    trained.store.write_note(key, b"snap")
    result = command("verify", "--delete-damaged")
    assert result.exit_code == 4
    assert f"{key} has SHA-256" in result.output
    assert "nothing is lost but the time" in result.output
    assert command("verify").exit_code == 0


def test_a_damaged_record_is_never_deleted(trained: Catalog) -> None:
    trained.store.write_note(keys.run_key("sound"), b"{}")
    result = command("verify", "--delete-damaged")
    assert result.exit_code == 4
    assert "runs/sound/run.json cannot be read" in result.output
    assert "deleted" not in result.output
    assert trained.store.read_note(keys.run_key("sound")) == b"{}"


def test_what_there_is_is_listed_and_shown(trained: Catalog) -> None:
    stage = the_stage(trained)
    (run,) = json.loads(command("ls", "--json").stdout)
    assert (run["name"], run["num_finished"], run["num_stages"]) == ("sound", 1, 2)
    assert "sound" in command("ls").output
    assert stage[:12] in command("ls", "stages").output
    (dataset,) = json.loads(command("ls", "datasets", "--json").stdout)
    assert dataset["runs"] == ["sound"]
    assert dataset["digest"][:12] in command("ls", "datasets").output

    facts = json.loads(command("show", stage[:10], "--json").stdout)
    assert facts["parents"] == []
    assert {shard["class"] for shard in facts["shards"]} == set(facts["manifest"]["class_names"])
    assert command("show", facts["checkpoint_sha256"]).output == command("show", stage).output
    for shard in facts["shards"]:
        assert trained.store.size_of(keys.object_key(shard["sha256"])) == shard["num_bytes"]
    assert "not finished" in command("show", "sound").output
    assert json.loads(command("show", "sound", "--json").stdout)["config"]["seed"] == 0
    assert "TRAINING" in command("show", dataset["digest"][:8]).output


def test_bad_names_are_one_line(trained: Catalog, cli_env: dict[str, str]) -> None:
    for name in ("never", "0" * 12, "ab"):
        result = command("show", name)
        assert type(result.exception).__name__ == "RunNotFoundError"
        assert f"no run is called '{name}'" in str(result.exception)
