"""No secret is in anything that a whole run writes, also one that fails, with debug logs on."""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import command_line, processes_with
from seaweed import ADMIN, SeaweedServer, identity, make_bucket, seaweed_server, store_of

from accrete.errors import StoreError
from accrete.store._ports import free_ports
from accrete.store.embedded import EmbeddedPaths, embedded_store, write_private
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

KEYS = ("AKIADISTINCTIVEKEY01", "distinctive/secret+of.this/test0123456789")
LATE = ("AKIADISTINCTIVEKEY02", "another/secret+which.fails/late987654321")
SIGNED = (b"X-Amz-Signature", b"X-Amz-Credential", b"AWS4-HMAC-SHA256", b"Signature=")
FORBIDDEN = (*(key.encode() for pair in (KEYS, LATE) for key in pair), *SIGNED)
DEBUG_LOGS = "import logging\nlogging.basicConfig(level=logging.DEBUG)\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A store with a key that may do all of it, and one that may not publish a stage."""
    early = ["objects", "runs", "datasets", "prepared", "snapshots", "doctor"]
    statements = [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"],
         "Resource": ["arn:aws:s3:::accrete", "arn:aws:s3:::accrete/*"]},
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:DeleteObject"],
         "Resource": [f"arn:aws:s3:::accrete/late/{name}/*" for name in early]},
    ]  # fmt: skip
    policy = {"Version": "2012-10-17", "Statement": statements}
    identities = (
        identity("good", KEYS, actions=["Read:accrete", "Write:accrete", "List:accrete"]),
        identity("late", LATE, policyNames=["late"]),
    )
    policies = [{"name": "late", "content": json.dumps(policy)}]
    folder = tmp_path_factory.mktemp("secrets")
    with seaweed_server(folder, identities=identities, policies=policies) as running:
        make_bucket(store_of(running, ADMIN))
        yield running


def run(folder: Path, env: dict[str, str], *options: str) -> tuple[int, dict[str, bytes]]:
    """Run the pipeline with debug logs; return how it ended, and all that it said and wrote.

    Command lines are looked at while it runs: those of all processes that know its folder, the
    embedded store's too, and of no other that this machine may be running.
    """
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(DEBUG_LOGS)
    (folder / "classes.txt").write_text("0\n1\n2\n")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        command = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "accrete"), "run", "--name", "secrets"),
                *("--only-classes", "classes.txt", "--stages", "2,1", "--budget-epochs", "3"),
                *options,
            ],
            env=clean
            | {"ACCRETE_HOME": str(folder / "home"), "ACCRETE_SNAPSHOT_INTERVAL_S": "0"}
            | {"PYTHONPATH": str(folder / "site"), "TMPDIR": str(folder / "tmp")}
            | env,
            cwd=folder, stdout=out, stderr=err,
        )  # fmt: skip
        (folder / "tmp").mkdir()
        lines: dict[int, bytes] = {}
        while command.poll() is None:
            lines |= {pid: command_line(pid) for pid in processes_with(str(folder / "home"))}
            time.sleep(0.05)
    assert b"secrets" in lines[command.pid]
    assert len(lines) > 3  # the runner's and the steps', too
    written = {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return command.returncode, written | {"command lines": b"\n".join(lines.values())}


def objects_of(store: ObjectStore) -> dict[str, bytes]:
    return {store.uri(key): store.read_note(key) or b"" for key in store.list_keys("")}


def leaks(texts: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(name, word) for name, text in texts.items() for word in FORBIDDEN if word in text]


def ends_with(texts: dict[str, bytes], name: str) -> bytes:
    (found,) = [text for path, text in texts.items() if path.endswith(name)]
    return found


@pytest.mark.slow
def test_a_run_that_succeeds_writes_no_secret(server: SeaweedServer, tmp_path: Path) -> None:
    store = store_of(server, KEYS)
    code, written = run(tmp_path, store.settings.as_environment(), "--store", "s3://accrete/good")
    assert code == 0, ends_with(written, "/stderr").decode()
    log = ends_with(written, "/run.log")
    assert b"DEBUG" in log  # the libraries do tell their requests
    assert b"urllib3" in log
    assert b"PUT /accrete/good/stages/" in log
    assert b"pipelineInfo" in ends_with(written, "/pipeline.yaml")
    stored = objects_of(ObjectStore(store.settings, parse_store_uri("s3://accrete/good")))
    assert any("/logs/" in name for name in stored)
    assert any(name.endswith("report.html") for name in stored)
    assert leaks(written | stored) == []


@pytest.mark.slow
def test_a_run_whose_keys_come_from_files_writes_no_secret(
    server: SeaweedServer, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    env = {"ACCRETE_S3_ENDPOINT": f"http://127.0.0.1:{server.port}"}
    for name, value in zip(("ACCESS_KEY", "SECRET_KEY"), KEYS, strict=True):
        write_private(tmp_path / name, f"{value}\n".encode())
        env[f"ACCRETE_S3_{name}_FILE"] = str(tmp_path / name)
    code, written = run(folder, env, "--store", "s3://accrete/files")
    assert code == 0, ends_with(written, "/stderr").decode()
    assert leaks(written) == []


@pytest.mark.slow
def test_a_run_that_the_store_refuses_in_the_end_writes_no_secret(
    server: SeaweedServer, tmp_path: Path
) -> None:
    """Publishing the stage is the request that is signed by us, and answered by 403."""
    store = store_of(server, LATE)
    code, written = run(tmp_path, store.settings.as_environment(), "--store", "s3://accrete/late")
    assert code == 3
    said = ends_with(written, "/stderr").decode()
    assert "accrete: error: the object store" in said
    assert "late/stages/" in said
    assert "have the right s3:PutObject there" in said
    assert "access key 'AKIA…'" in said
    stored = objects_of(ObjectStore(store.settings, parse_store_uri("s3://accrete/late")))
    assert any(b"have the right s3:PutObject" in text for text in stored.values())  # its journal
    assert leaks(written | stored) == []


@pytest.mark.slow
def test_a_run_on_the_embedded_store_writes_no_secret_but_in_its_own_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    paths = EmbeddedPaths(home)
    paths.root.mkdir(parents=True, mode=0o700)
    made = {"access_key": KEYS[0], "secret_key": KEYS[1]}
    write_private(paths.credentials, json.dumps(made).encode())
    code, written = run(tmp_path, {})
    assert code == 0, ends_with(written, "/stderr").decode()
    assert b"weed\0" in written["command lines"]
    own = {str(path) for path in (paths.credentials, paths.identities, paths.server)}
    assert {name for name, _ in leaks(written)} <= own
    assert (str(paths.credentials), KEYS[1].encode()) in leaks(written)  # the search finds things
    with embedded_store(home) as settings:
        assert leaks(objects_of(ObjectStore(settings, parse_store_uri("s3://accrete")))) == []


@pytest.mark.slow
def test_no_traceback_has_a_signature(caplog: pytest.LogCaptureFixture) -> None:
    """What urllib3 raises and logs has the address of the request, and all causes are printed."""
    caplog.set_level("DEBUG")
    settings = StoreSettings(
        endpoint=f"http://127.0.0.1:{free_ports(1)[0]}", access_key=KEYS[0], secret_key=KEYS[1]
    )
    store = ObjectStore(settings, parse_store_uri("s3://accrete"))
    at_once = ObjectStore(settings, store.address, patient=False)
    for ask in (
        lambda: store.create_note("key", b"x"),
        lambda: store.read_note("key"),
        lambda: at_once.write_note("key", b"x"),
        at_once.check,
    ):
        try:
            ask()
        except StoreError:
            text = traceback.format_exc() + repr(settings) + repr(store)
        assert "Max retries exceeded with url: /accrete" in text
        assert leaks({"traceback": text.encode(), "log": caplog.text.encode()}) == []
    assert "/accrete/key" in caplog.text
