"""Shell scripts: shellcheck, and what those of the kind cluster would do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import HANGS_S
from yaml_sample import document_in

REPOSITORY = Path(__file__).parents[3]
KIND = REPOSITORY / "manifests" / "kind"


def scripts() -> list[Path]:
    """Return all shell scripts that are tracked or may be."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("this is no git checkout")
    paths = [REPOSITORY / name for name in done.stdout.splitlines()]
    return [p for p in paths if p.is_file() and (p.suffix == ".sh" or p.parent.name == ".ci")]


def run(name: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/bash", str(KIND / name), *arguments],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True, text=True, timeout=HANGS_S, check=False,
    )  # fmt: skip


def fake(folder: Path, name: str, body: str) -> None:
    """Put a program of this name that notes how it was called, and says what it is told to."""
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >> "{folder}/calls"\n{body}\n')
    path.chmod(0o755)


def tools(folder: Path, clusters: str, has_secret: bool) -> str:
    """Return a PATH with stand-ins for docker, kind and kubectl."""
    fake(folder, "docker", "exit 0")
    fake(folder, "kind", f'[ "$1 $2" = "get clusters" ] && echo "{clusters}"; exit 0')
    fake(folder, "kubectl", f'case "$*" in *"get secret"*) exit {0 if has_secret else 1};; esac')
    return f"{folder}:/usr/bin:/bin"


def test_ci_runs_every_part_of_make_check() -> None:
    (parts,) = re.findall(r"^check: ([a-z -]+?) *##", (REPOSITORY / "Makefile").read_text(), re.M)
    done = re.findall(r"^part make (.+)$", (REPOSITORY / ".ci" / "run").read_text(), re.M)
    assert set(parts.split()) <= {word for line in done for word in line.split()}


def test_every_script_passes_shellcheck() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.exists():
        pytest.skip(f"no shellcheck beside {sys.executable}: install the package's dev extra")
    found = scripts()
    assert {path.name for path in found} >= {
        "up.sh",
        "test.sh",
        "down.sh",
        "common.sh",
        "base.sh",
        "run",
        "containers",
    }
    done = subprocess.run(
        [shellcheck, "--external-sources", *found], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["up.sh", "test.sh", "down.sh"])
def test_scripts_stop_at_the_first_error(name: str) -> None:
    assert "\nset -euo pipefail\n" in (KIND / name).read_text()
    assert os.access(KIND / name, os.X_OK)


def test_a_dry_run_says_what_would_be_done_in_order_and_needs_no_tool(tmp_path: Path) -> None:
    done = run("up.sh", "--dry-run", PATH="/usr/bin:/bin", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("+ kind ") or line.startswith("+ kubectl ") for line in lines)
    wanted = (
        "kind create cluster --name accrete --image kindest/node:v1.34.4 ",
        "kind load docker-image accrete-trainer:0.1.0-cpu --name accrete --nodes accrete-worker",
        "nvidia.com~1gpu", "cluster-scoped-resources\\?ref=2.17.0",
        "env/platform-agnostic\\?ref=2.17.0", "base/namespace.yaml",
        "-n accrete create secret", "-n kubeflow create secret", "overlays/kind",
        "delete job accrete-cache accrete-doctor", "apply -k /",
        "rollout status statefulset/accrete-store", "job/accrete-doctor",
    )  # fmt: skip
    places = [next(n for n, line in enumerate(lines) if text in line) for text in wanted]
    assert places == sorted(places)
    assert not any("trainer" in line and "accrete-trainer" not in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_every_step_of_making_a_cluster_is_said_with_how_many_there_are(tmp_path: Path) -> None:
    for options, num_steps in (((), 5), (("--trainer",), 6)):
        done = run("up.sh", "--dry-run", *options, TMPDIR=str(tmp_path))
        said = re.findall(r"^== (\d)/(\d) \S", done.stderr, re.M)
        assert said == [(str(n), str(num_steps)) for n in range(1, num_steps + 1)]
        assert done.stderr.startswith(
            f"{num_steps} steps. On 2 cores all of them took 13.5 minutes"
        )
    done = run("up.sh", PATH=tools(tmp_path, "", has_secret=False))
    assert re.findall(r"^== (\d)/5 .+ \[0:\d\d so far\]$", done.stdout, re.M) == list("12345")
    assert re.search(r"^cluster accrete is ready after 0:\d\d: make kind-test$", done.stdout, re.M)


def test_trainer_is_installed_on_request_before_what_needs_its_kinds(tmp_path: Path) -> None:
    done = run("up.sh", "--trainer", "--dry-run", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    wanted = (
        "--server-side -k https://github.com/kubeflow/trainer.git/manifests/overlays/manager"
        "\\?ref=v2.3.0",
        "wait crd/trainjobs.trainer.kubeflow.org",
        "-n kubeflow-system wait --for=condition=available",
        "kustomize " + str(KIND.parent / "overlays" / "kind-multi-node"),
    )
    places = [next(n for n, line in enumerate(lines) if text in line) for text in wanted]
    assert places == sorted(places)


def test_the_versions_are_those_that_were_run() -> None:
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    common = (KIND / "common.sh").read_text()
    kubernetes, kfp, trainer = (
        re.findall(rf"{name}:-(?:kindest/node:)?v?([0-9.]+)\}}", common)[0]
        for name in ("NODE_IMAGE", "KFP_VERSION", "TRAINER_VERSION")
    )
    assert f"Kubernetes {kubernetes}" in page
    assert f"Kubeflow Pipelines {kfp}" in page
    assert f"Kubeflow Trainer {trainer.removesuffix('.0')}" in page


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("accrete-trainer:0.1.0", "accrete-trainer", "0.1.0"),
        ("localhost:5000/team/trainer:new", "localhost:5000/team/trainer", "new"),
    ],
)
def test_the_manifests_run_the_image_that_is_named(
    image: str, name: str, tag: str, tmp_path: Path
) -> None:
    path = tools(tmp_path, "", has_secret=False)
    keep = (
        f'case "$*" in *"apply -k"*/overlay) cp -r "${{@: -1}}" "{tmp_path}/applied";; esac; exit 0'
    )
    fake(tmp_path, "kubectl", keep)
    done = run("up.sh", PATH=path, IMAGE=image)
    assert done.returncode == 0, done.stderr
    assert f"kind load docker-image {image} --name accrete" in (tmp_path / "calls").read_text()
    overlay = document_in((tmp_path / "applied" / "kustomization.yaml").read_text())
    assert overlay["images"] == [{"name": "accrete-trainer", "newName": name, "newTag": tag}]
    assert overlay["resources"] == ["rendered.yaml"]


@pytest.mark.parametrize(
    "image", ["trainer", "host:5000/trainer", "trainer@sha256:00", "trainer:", "a trainer:1", '":1']
)
def test_an_image_that_no_node_would_find_is_one_line(image: str) -> None:
    done = run("up.sh", "--dry-run", IMAGE=image)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("IMAGE ")
    assert done.stderr.endswith(f": {image}\n")
    assert len(done.stderr.splitlines()) == 1


def test_a_check_that_does_not_pass_is_shown_with_what_it_says(tmp_path: Path) -> None:
    path = tools(tmp_path, "", has_secret=False)
    fake(
        tmp_path,
        "kubectl",
        'case "$*" in *"job/accrete-doctor"*wait*|*wait*"job/accrete-doctor"*) exit 1;;\n'
        '*logs*) echo "FAILED store: 403";; esac',
    )
    done = run("up.sh", PATH=path)
    assert done.returncode == 1
    assert "job accrete-doctor in accrete is not complete after 15m; what it says:" in done.stderr
    assert "FAILED store: 403" in done.stderr
    assert "is ready" not in done.stdout


def test_dry_runs_of_the_others_say_one_thing() -> None:
    assert run("test.sh", "--dry-run").stdout == "+ python3 -m pytest tests/kind -m kind -v\n"
    assert run("down.sh", "--dry-run").stdout == "+ kind delete cluster --name accrete\n"


def test_what_the_tests_submit_is_the_image_that_the_cluster_has(tmp_path: Path) -> None:
    path = tools(tmp_path, "accrete", has_secret=True)
    fake(tmp_path, "python", f'echo "$CLUSTER $IMAGE" >> "{tmp_path}/named"')
    python = str(tmp_path / "python")
    assert run("test.sh", PATH=path, PYTHON=python).returncode == 0
    assert run("test.sh", PATH=path, PYTHON=python, IMAGE="mine:1").returncode == 0
    assert (tmp_path / "named").read_text().splitlines() == [
        "accrete accrete-trainer:0.1.0-cpu", "accrete mine:1",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["up.sh", "test.sh", "down.sh"])
def test_another_argument_is_refused(name: str) -> None:
    done = run(name, "--force")
    options = "[--dry-run] [--trainer]" if name == "up.sh" else "[--dry-run]"
    assert (done.returncode, done.stderr) == (2, f"usage: {name} {options}\n")


@pytest.mark.parametrize("name", ["test.sh", "down.sh"])
def test_what_only_one_script_takes_is_refused_by_the_others(name: str) -> None:
    done = run(name, "--trainer", "--dry-run")
    assert (done.returncode, done.stderr) == (2, f"usage: {name} [--dry-run]\n")


@pytest.mark.parametrize("missing", ["docker", "kind", "kubectl"])
def test_a_missing_tool_is_one_line(missing: str, tmp_path: Path) -> None:
    tools(tmp_path, "", has_secret=False)
    for program in ("bash", "dirname", "basename"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    (tmp_path / missing).unlink()
    done = run("up.sh", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"{missing} is missing: install ")
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_image_and_a_silent_engine_are_one_line(tmp_path: Path) -> None:
    path = tools(tmp_path, "", has_secret=False)
    fake(tmp_path, "docker", '[ "$1" = info ]')
    done = run("up.sh", PATH=path)
    assert done.stderr == (
        "there is no image accrete-trainer:0.1.0-cpu: build it with `make images-cpu`, "
        "or name another by IMAGE\n"
    )
    fake(tmp_path, "docker", "exit 1")
    done = run("up.sh", PATH=path)
    assert done.stderr.startswith("the Docker engine does not answer: ")
    assert done.returncode == 1


def test_a_cluster_is_made_once_and_keeps_its_keys(tmp_path: Path) -> None:
    path = tools(tmp_path, "", has_secret=False)
    assert run("up.sh", PATH=path).returncode == 0
    first = (tmp_path / "calls").read_text()
    assert first.count("kind create cluster") == 1
    assert first.count("create secret") == 2
    (tmp_path / "calls").unlink()
    path = tools(tmp_path, "accrete", has_secret=True)
    done = run("up.sh", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "cluster accrete exists" in done.stdout
    again = (tmp_path / "calls").read_text()
    assert "create cluster" not in again
    (copied,) = [line for line in again.splitlines() if "create secret" in line]
    assert " -n kubeflow " in copied  # the steps' copy of the store's keys, which stay
    assert "overlays/kind" in again


def test_a_failing_command_ends_the_script(tmp_path: Path) -> None:
    path = tools(tmp_path, "", has_secret=False)
    fake(tmp_path, "kind", '[ "$1" = get ] || exit 7')
    done = run("up.sh", PATH=path)
    assert done.returncode == 7
    assert "kubectl" not in (tmp_path / "calls").read_text()


def test_removing_a_cluster_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    done = run("down.sh", PATH=tools(tmp_path, "other", has_secret=False))
    assert (done.returncode, done.stdout) == (0, "there is no cluster accrete\n")
    done = run("down.sh", PATH=tools(tmp_path, "accrete", has_secret=False))
    assert "kind delete cluster --name accrete" in (tmp_path / "calls").read_text()


def test_the_tests_are_not_run_without_a_cluster(tmp_path: Path) -> None:
    done = run("test.sh", PATH=tools(tmp_path, "", has_secret=False))
    assert (done.returncode, done.stderr) == (1, "there is no cluster accrete: make kind-up\n")


def test_the_cluster_has_a_worker_of_the_name_that_gets_the_gpus() -> None:
    config = document_in((KIND / "cluster.yaml").read_text())
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker"]
    assert 'worker="$CLUSTER-worker"' in (KIND / "up.sh").read_text()
