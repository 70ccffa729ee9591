"""The rights that docs/security.md says steps need: enough, and each of them needed."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import HANGS_S
from seaweed import ADMIN, SeaweedServer, identity, make_bucket, seaweed_server, store_of

from accrete.errors import StoreAccessError

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
NEEDED = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
READER = ("s3:ListBucket", "s3:GetObject")
NAMES = {"all": None, "reader": None} | {f"no-{right[3:]}": right for right in NEEDED}


def documented_policy() -> dict[str, Any]:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    policy: dict[str, Any] = json.loads(block)
    return policy


def with_rights(keeps: Any) -> dict[str, Any]:
    policy = copy.deepcopy(documented_policy())
    for statement in policy["Statement"]:
        statement["Action"] = [right for right in statement["Action"] if keeps(right)]
    policy["Statement"] = [each for each in policy["Statement"] if each["Action"]]
    return policy


def policy_of(name: str) -> dict[str, Any]:
    if name == "reader":
        return with_rights(lambda right: right in READER)
    return with_rights(lambda right: right != NAMES[name])


def keys_of(name: str) -> tuple[str, str]:
    return f"key-of-{name}", f"secret-of-{name}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A store that knows an identity for each of NAMES, with a policy of its name."""
    identities = tuple(identity(n, keys_of(n), policyNames=[n]) for n in NAMES)
    policies = [{"name": n, "content": json.dumps(policy_of(n))} for n in NAMES]
    folder = tmp_path_factory.mktemp("rights")
    with seaweed_server(folder, identities=identities, policies=policies) as running:
        make_bucket(store_of(running, ADMIN))
        yield running


def accrete(
    server: SeaweedServer, folder: Path, name: str, *arguments: str
) -> "subprocess.CompletedProcess[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    env = store_of(server, keys_of(name)).settings.as_environment()
    env |= {"ACCRETE_HOME": str(folder / "home"), "ACCRETE_SNAPSHOT_INTERVAL_S": "0"}
    return subprocess.run(
        [str(Path(sys.executable).parent / "accrete"), *arguments],
        env=clean | env, cwd=folder, capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip


def run(
    server: SeaweedServer, folder: Path, name: str, seed: int
) -> "subprocess.CompletedProcess[str]":
    (folder / "classes.txt").write_text("0\n1\n2\n")
    return accrete(
        server, folder, name, "run", "--only-classes", "classes.txt", "--stages", "2,1",
        "--budget-epochs", "3", "--name", name.lower(), "--seed", str(seed),
    )  # fmt: skip


@pytest.mark.slow
def test_the_documented_rights_are_enough_for_a_whole_run(
    server: SeaweedServer, tmp_path: Path
) -> None:
    done = run(server, tmp_path, "all", seed=1)
    assert done.returncode == 0, done.stderr
    admin = store_of(server, ADMIN)
    assert admin.read_note("runs/all/report.html")
    assert admin.list_keys("snapshots/") == []
    assert "snapshots stay" not in (tmp_path / "home/runs/all/run.log").read_text()
    reader = accrete(server, tmp_path, "reader", "status", "all")
    assert reader.returncode == 0, reader.stderr
    assert accrete(server, tmp_path, "reader", "logs", "all").returncode == 0
    doctor = accrete(server, tmp_path, "all", "doctor", "--store")
    assert doctor.returncode == 0, doctor.stdout
    assert admin.list_keys("doctor/") == ["doctor/create-only"]


def test_steps_can_delete_nothing_but_snapshots(server: SeaweedServer) -> None:
    store = store_of(server, keys_of("all"))
    store.write_note("stages/some/manifest.json", b"{}")
    store.write_note("snapshots/some/1", b"")
    store.delete("snapshots/some/1")
    with pytest.raises(StoreAccessError, match="have the right s3:DeleteObject"):
        store.delete("stages/some/manifest.json")
    assert store.read_note("stages/some/manifest.json") == b"{}"


def test_readers_can_write_nothing(server: SeaweedServer) -> None:
    store = store_of(server, keys_of("reader"))
    for refused in (lambda: store.write_note("n", b""), lambda: store.create_note("n", b"")):
        with pytest.raises(StoreAccessError, match="have the right s3:PutObject"):
            refused()
    with pytest.raises(StoreAccessError, match="have the right s3:DeleteObject"):
        store.delete("ready")


@pytest.mark.slow
@pytest.mark.parametrize("right", ["s3:ListBucket", "s3:GetObject", "s3:PutObject"])
def test_a_run_without_one_of_the_rights_names_it(
    server: SeaweedServer, tmp_path: Path, right: str
) -> None:
    name = f"no-{right[3:]}"
    done = run(server, tmp_path, name, seed=2)
    assert done.returncode == 3
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("accrete: error")]
    assert re.search(rf"that they have the right [^:]*{right}|{right} there", line), line
    assert "access key 'key-…'" in line
    doctor = accrete(server, tmp_path, name, "doctor", "--store")
    assert doctor.returncode == 1
    assert right in doctor.stdout


@pytest.mark.slow
def test_a_run_that_may_not_delete_says_that_snapshots_stay(
    server: SeaweedServer, tmp_path: Path
) -> None:
    done = run(server, tmp_path, "no-DeleteObject", seed=3)
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "home/runs/no-deleteobject/run.log").read_text()
    assert "the stage's snapshots stay in the store: " in log
    assert "that they have the right s3:DeleteObject there" in log
    doctor = accrete(server, tmp_path, "no-DeleteObject", "doctor", "--store")
    assert doctor.returncode == 1
    assert "s3:DeleteObject" in doctor.stdout
