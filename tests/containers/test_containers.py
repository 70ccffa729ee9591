"""The pipeline in containers: the same bytes as in processes, and only the store within reach.

They need a Docker engine and the trainer image: `make test-containers` builds it and runs them.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import HANGS_S, Cli

from accrete.config.placement import DEFAULT_IMAGE
from accrete.runners._containers import USER, container_host
from accrete.store.settings import StoreSettings

docker = pytest.importorskip("docker", reason="the package docker is not installed")
pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

OPTIONS = ("--gpus", "0", "--budget-epochs", "3", "--initial", "5", "--name", "digits")


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """A Docker engine that has the trainer image."""
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        pytest.skip(f"no Docker engine can be reached ({type(error).__name__})")
    try:
        client.images.get(DEFAULT_IMAGE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"the image {DEFAULT_IMAGE} is not built: `make images`")
    yield client
    client.close()


def leftovers(engine: Any) -> list[str]:
    """Return the containers and networks that runs made and did not remove."""
    containers = engine.containers.list(all=True, filters={"label": "accrete.run"})
    networks = engine.networks.list(filters={"label": "accrete.run"})
    return [each.name for each in (*containers, *networks)]


def stages_of(home: Path) -> list[dict[str, Any]]:
    report = json.loads((home / "runs" / "digits" / "report.json").read_text())
    stages: list[dict[str, Any]] = report["stages"]
    return stages


def test_a_run_in_containers_has_the_same_bytes_as_one_in_processes(
    engine: Any, cli: Cli, tmp_path: Path
) -> None:
    found = []
    for runner in ("docker", "subprocess"):
        home = tmp_path / runner
        # Stores of their own, which the command starts itself: neither finds the other's stages.
        own = {"ACCRETE_HOME": str(home), "ACCRETE_S3_ENDPOINT": "", "ACCRETE_STORE": ""}
        done = cli("run", *OPTIONS, "--runner", runner, **own)
        assert done.returncode == 0, done.stderr
        assert "reused" not in done.stdout
        found.append(stages_of(home))
    names = ("digest", "checkpoint_sha256", "top1", "images_seen")
    in_containers, in_processes = ([[s[n] for n in names] for s in stages] for stages in found)
    assert in_containers == in_processes
    assert leftovers(engine) == []


def in_container(engine: Any, arguments: dict[str, Any], program: str) -> str:
    """Run a Python program as a step is run; return what it prints."""
    made = dict(arguments)
    made["mounts"] = [docker.types.Mount(**mount) for mount in arguments["mounts"]]
    command = ["python3", "-c", program]
    return str(engine.containers.run(DEFAULT_IMAGE, command, remove=True, **made).decode())


@pytest.fixture
def host(engine: Any, store_settings: StoreSettings, tmp_path: Path) -> Iterator[Any]:
    with container_host(DEFAULT_IMAGE, store_settings, tmp_path, gpus=False) as made:
        yield made
    assert leftovers(engine) == []


def test_a_step_is_a_user_without_rights_on_a_read_only_system(engine: Any, host: Any) -> None:
    program = """
import os, pathlib
def writable(folder):
    try:
        pathlib.Path(folder, "probe").write_text("x")
        return True
    except OSError:
        return False
status = pathlib.Path("/proc/self/status").read_text()
caps = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")]
print(f"{os.getuid()}:{os.getgid()}", int(caps[0], 16),
      [f for f in ("/", "/opt/venv", "/workspace", "/tmp", "/cache", "/progress") if writable(f)])
"""
    said = in_container(engine, host.arguments, program).strip()
    assert said == f"{USER} 0 ['/tmp', '/cache', '/progress']"


def test_a_step_reaches_the_store_and_nothing_beyond(engine: Any, host: Any) -> None:
    program = f"""
import socket
from urllib.parse import urlsplit
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=5).close()
        return "reached"
    except OSError as error:
        return type(error).__name__
store = urlsplit({host.settings.endpoint!r})
print(reach(store.hostname, store.port), reach("192.0.2.1", 80))
"""
    store, beyond = in_container(engine, host.arguments, program).split()
    assert store == "reached"
    assert beyond != "reached"


def test_the_image_keeps_no_compiler_no_cache_and_no_entry_point(engine: Any, host: Any) -> None:
    config = engine.images.get(DEFAULT_IMAGE).attrs["Config"]
    assert config["User"] == USER
    assert config["Entrypoint"] is None
    assert config["Healthcheck"]["Test"]
    program = """
import pathlib, shutil
print([n for n in ("cc", "gcc", "g++", "make") if shutil.which(n)],
      [str(p) for p in map(pathlib.Path, ("/root/.cache/pip", "/tmp/pip", "/src")) if p.exists()])
"""
    as_root = host.arguments | {"user": "0:0"}  # who could see all of it
    assert in_container(engine, as_root, program).strip() == "[] []"


def test_a_run_that_is_ended_leaves_no_container_behind(
    engine: Any, cli_env: dict[str, str], tmp_path: Path
) -> None:
    arguments = ("run", "--gpus", "0", "--budget-epochs", "2000", "--initial", "10")
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "accrete"), *arguments, "--runner", "docker"],
        env=cli_env,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not engine.containers.list(filters={"label": "accrete.run"}):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=HANGS_S)
    assert process.returncode == 143
    assert "the same command continues" in said
    assert leftovers(engine) == []
