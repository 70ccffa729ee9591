"""Whole runs through the compiled pipeline on this machine, as a user starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import HANGS_S, ROOT, Cli, Desk, desk_at
from PIL import Image
from processes import processes_with
from warm import WarmProcesses

from accrete.catalog.catalog import Catalog
from accrete.store import keys
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

SHORT = ("--budget-epochs", "2")
"""Enough to see that all works; accuracy has tests of its own."""


def report_of(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "home" / "runs").glob("*/report.json")
    report: dict[str, Any] = json.loads(path.read_text())
    return report


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of digits in four stages that came to its end, as `kfp run` starts it."""

    desk: Desk
    store: ObjectStore
    done: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def first(
    store_settings: StoreSettings,
    warm_commands: WarmProcesses,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    """The run `first`, which all tests of this file look at that need one."""
    store = ObjectStore(store_settings, parse_store_uri(f"s3://accrete/{uuid4().hex}"))
    desk = desk_at(tmp_path_factory.mktemp("first"), store, warm_commands)
    file = str(ROOT / "pipelines" / "incremental.py")
    return Finished(desk, store, desk.run("run", file, "--name", "first", script="kfp"))


def test_kfp_run_trains_digits_and_reports(first: Finished) -> None:
    assert first.done.returncode == 0, first.done.stderr
    report = report_of(first.desk.folder)
    assert [stage["num_classes"] for stage in report["stages"]] == [2, 4, 8, 10]
    assert report["totals"]["top1"] >= 0.95
    assert all(stage["images_seen"] > 0 and stage["train_s"] > 0 for stage in report["stages"])
    assert "report.html" in first.done.stdout
    assert "stage 4/4: 10 classes" in first.done.stderr
    page = (first.desk.folder / "home" / "runs" / "first" / "report.html").read_text()
    assert page.count("<svg") >= 5
    assert first.store.read_note("runs/first/report.html") == page.encode()


def test_the_same_run_again_finds_everything_done(first: Finished) -> None:
    keys_before = first.store.list_keys("objects/") + first.store.list_keys("stages/")
    again = first.desk.run("run", "--name", "first")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("reused") == 4
    assert first.store.list_keys("objects/") + first.store.list_keys("stages/") == keys_before


def test_a_run_s_name_stands_for_one_configuration(first: Finished) -> None:
    other = first.desk.run("run", "--name", "first", "--alpha", "2")
    assert other.returncode == 2
    assert (
        "run 'first' exists with another configuration (alpha = 1 from 2 classes)" in other.stderr
    )


def test_a_run_writes_no_secret_on_this_machine(first: Finished) -> None:
    secret = first.store.settings.secret_key
    written = [path for path in (first.desk.folder / "home").rglob("*") if path.is_file()]
    assert written
    assert all(secret.encode() not in path.read_bytes() for path in written)


def test_a_run_s_state_and_logs_are_told_from_the_store(first: Finished) -> None:
    status = first.desk.run("status", "first")
    assert status.stdout.startswith("first: done")
    listed = json.loads(first.desk.run("status", "--json").stdout)
    assert ("first", "done") in [(run["name"], run["state"]) for run in listed]
    logs = first.desk.run("logs", "first", "--step", "stage-0003")
    assert "stage 3/4: 8 classes" in logs.stdout
    assert first.desk.run("logs", "first", "--step", "stage-0099").returncode == 2


@pytest.mark.slow
def test_another_alpha_reuses_the_prepared_images(cli: Cli, first: Finished) -> None:
    shards = first.store.list_keys("datasets/")
    done = cli("run", *SHORT, "--alpha", "2", ACCRETE_STORE=str(first.store.address))
    assert done.returncode == 0, done.stderr
    assert "of 10 classes, grey, 8x8 px, reused" in done.stderr
    assert first.store.list_keys("datasets/") == shards


def start(cli_env: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "accrete"), "run", *arguments],
        env=cli_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the run ended before it said {text!r}")


def wait_for_a_snapshot(store: ObjectStore) -> None:
    """Wait until a stage is in its middle."""

    def stages_in(folder: str) -> set[str]:
        return {key.split("/")[1] for key in store.list_keys(folder)}

    deadline = time.monotonic() + HANGS_S
    while not stages_in("snapshots/") - stages_in("stages/"):
        assert time.monotonic() < deadline, "no snapshot came"
        time.sleep(0.05)


def wait_until_alone(marker: str) -> None:
    deadline = time.monotonic() + HANGS_S
    while (left := set(processes_with(marker)) - {os.getpid()}) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_in_stage_three_continues_there(
    signum: signal.Signals, cli: Cli, cli_env: dict[str, str], store: ObjectStore, tmp_path: Path
) -> None:
    long_third = ("--epochs", "1,1,10,1", "--name", "broken")
    process = start(cli_env | {"ACCRETE_SNAPSHOT_INTERVAL_S": "0.1"}, *long_third)
    wait_for(process, "stage 2/4: 4 classes")
    wait_for_a_snapshot(store)
    process.send_signal(signum)
    process.wait(HANGS_S)
    assert process.returncode != 0
    wait_until_alone(str(tmp_path / "home"))
    stages = store.list_keys("stages/")
    assert len(stages) == 2
    before = {key: store.read_note(key) for key in stages}
    objects = set(store.list_keys("objects/"))

    again = cli("run", *long_third)
    assert again.returncode == 0, again.stderr
    report = report_of(tmp_path)
    assert [stage["reused"] for stage in report["stages"]] == [True, True, False, False]
    assert {key: store.read_note(key) for key in stages} == before
    # Two objects for each stage that was made anew: checkpoint and metrics.
    assert len(set(store.list_keys("objects/")) - objects) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_ended_run_says_how_to_go_on_and_leaves_no_process(
    signum: signal.Signals, code: int, cli_env: dict[str, str], tmp_path: Path
) -> None:
    process = start(cli_env, "--epochs", "60,1,1,1")
    wait_for(process, "prepare:")
    time.sleep(1)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == code
    assert "the same command continues from here" in output
    assert "Traceback" not in output
    wait_until_alone(str(tmp_path / "home"))


def pictures(folder: Path) -> None:
    """Make an image folder of two classes."""
    for number in range(6):
        path = folder / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (40 * number, 0, 0)).save(path)


def test_a_failing_first_step_is_one_line_and_nothing_is_published(
    cli: Cli, store: ObjectStore, tmp_path: Path
) -> None:
    pictures(tmp_path / "images")
    options = ("--source", "imagefolder", "--data", "images", "--gpus", "0", "--model", "vgg19")
    done = cli("run", *options, "--name", "bad")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "error" in line]
    assert "vgg19 takes at least 16x16 px: give --image-size 16 or more, since the images" in line
    assert "Traceback" not in done.stderr
    assert [store.list_keys(prefix) for prefix in ("datasets/", "objects/", "stages/")] == [[]] * 3
    status = cli("status", "bad")
    assert status.stdout.startswith("bad: failed")
    assert "vgg19 takes at least" in status.stdout


def test_a_corrupt_image_ends_a_run_in_one_line(
    cli: Cli, store: ObjectStore, tmp_path: Path
) -> None:
    pictures(tmp_path / "images")
    (tmp_path / "images" / "cat" / "3.png").write_bytes(b"\x89PNG but no more")
    done = cli("run", "--source", "imagefolder", "--data", "images", "--gpus", "0")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("accrete: error: images/cat/3.png cannot be")
    assert "--on-bad-image skip" in done.stderr
    assert store.list_keys("datasets/") == []


@pytest.mark.slow
def test_a_tampered_shard_ends_a_run_in_one_line(cli: Cli, first: Finished, tmp_path: Path) -> None:
    store = first.store
    stages = store.list_keys("stages/")
    digest = store.list_keys("datasets/")[0].split("/")[1]
    shard = Catalog(store).dataset(digest).classes[0].train[0]
    key = keys.object_key(shard.sha256)
    whole = store.read_note(key)
    assert whole is not None
    store.write_note(key, b"\x00" * shard.num_bytes)
    try:
        cold = {"ACCRETE_CACHE": str(tmp_path / "cold"), "ACCRETE_STORE": str(store.address)}
        done = cli("run", *SHORT, "--seed", "9", **cold)
    finally:
        store.write_note(key, whole)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith(f"accrete: error: {store.uri(key)} holds")
    assert set(stages) <= set(store.list_keys("stages/"))


@pytest.mark.slow
def test_a_run_on_the_embedded_store_needs_nothing(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", *SHORT, ACCRETE_S3_ENDPOINT="", ACCRETE_STORE="")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "store" / "data").is_dir()
    again = cli("run", *SHORT, ACCRETE_S3_ENDPOINT="", ACCRETE_STORE="")
    assert again.stdout.count("reused") == 4


@pytest.mark.slow
def test_the_report_opens_in_a_browser(first: Finished, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    page = first.desk.folder / "home" / "runs" / "first" / "report.html"
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'chromium'}",
    ]
    image = tmp_path / "report.png"
    subprocess.run(
        [chromium, *flags, "--window-size=1200,3000", f"--screenshot={image}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=HANGS_S,
    )
    import numpy as np
    from PIL import Image

    pixels = np.asarray(Image.open(image).convert("RGB"))
    assert pixels.shape[:2] == (3000, 1200)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # text and curves, not a blank page
