"""What users have in their stores: a bucket that an earlier version wrote still is of use.

`tests/recorded/stored.tar.xz` is such a bucket, object by object: of commit 8bf8a9e (2026-11), by

    accrete run --name before --seed 5 --stages 2,2 --budget-epochs 4 …
    accrete run --name killed --seed 6 --stages 4 --budget-epochs 100 …   (ended while it trained)

with COMMON below. Identities, keys and stored bytes are what this is about.
"""

import json
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT, Cli
from PIL import Image
from sklearn.datasets import load_digits

from accrete.catalog.records import stages_of
from accrete.store.object_store import ObjectStore

RECORDED = ROOT / "tests" / "recorded" / "stored.tar.xz"
BEFORE = ("--name", "before", "--seed", "5", "--stages", "2,2", "--budget-epochs", "4")
KILLED = ("--name", "killed", "--seed", "6", "--stages", "4", "--budget-epochs", "100")


@pytest.fixture
def stored(store: ObjectStore) -> ObjectStore:
    """A store with what the earlier version left in it."""
    with tarfile.open(RECORDED) as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member)
            assert content is not None
            store.write_note(member.name, content.read())
    return store


@pytest.fixture
def common(tmp_path: Path) -> tuple[str, ...]:
    """The rest of what both runs were made with."""
    path = tmp_path / "classes.txt"
    path.write_text("0\n1\n2\n3\n")
    return ("--deterministic", "--only-classes", str(path), "--width", "0.125")


def test_runs_are_told_shown_and_verified(cli: Cli, stored: ObjectStore) -> None:
    told = cli("status").stdout
    assert "before  done     stage 2/2: 4 classes  top-1 50.69 %" in told
    assert "killed  stopped" in told
    shown = json.loads(cli("show", "before", "--json").stdout)
    assert [stage["digest"] for stage in shown["stages"]] == list(stages_of(stored, "before"))
    assert "2 classes" in cli("logs", "before").stdout
    verified = cli("verify")
    assert verified.returncode == 0, verified.stderr
    assert "all whole" in verified.stdout


@pytest.mark.usefixtures("stored")
def test_a_model_predicts(cli: Cli, tmp_path: Path) -> None:
    digits = load_digits()
    pixels = (digits.images[digits.target == 1][0] * 15.9375).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "one.png")
    predicted = cli("predict", "before", str(tmp_path / "one.png"), "--json")
    assert predicted.returncode == 0, predicted.stderr
    assert json.loads(predicted.stdout)["predictions"][0]["class"] in "0123"


def test_the_same_command_reuses_every_stage(
    cli: Cli, stored: ObjectStore, common: tuple[str, ...]
) -> None:
    stages = stages_of(stored, "before")
    again = cli("run", *BEFORE, *common, "--name", "anew")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("reused") >= len(stages)
    assert stages_of(stored, "anew") == stages


@pytest.mark.slow
def test_a_stage_that_was_ended_goes_on_from_its_snapshot(
    cli: Cli, stored: ObjectStore, common: tuple[str, ...]
) -> None:
    (snapshot,) = stored.list_keys("snapshots/")
    position = int(snapshot.rpartition("/")[2].partition("-")[0])
    done = cli("run", *KILLED, *common)
    assert done.returncode == 0, done.stderr
    assert f"goes on from a snapshot, after step {position} of" in cli("logs", "killed").stdout
    assert stored.list_keys("snapshots/") == []


@pytest.mark.slow
@pytest.mark.usefixtures("stored")
def test_a_model_is_extended(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("4\n5\n")
    new = ("--only-classes", str(tmp_path / "new.txt"), "--budget-epochs", "1")
    done = cli("extend", "before", "--source", "digits", "--name", "six", *new)
    assert done.returncode == 0, done.stderr
    assert "1        6" in done.stdout  # one stage, of six classes
    report = json.loads((tmp_path / "home" / "runs" / "six" / "report.json").read_text())
    changes = report["class_changes"]
    assert changes["tests"] == ["Fisher's exact test"]  # which images it had right is not recorded
    assert changes["num_compared"] == changes["num_classes"] == 4
