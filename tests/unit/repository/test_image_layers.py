"""The image's layers: every locked package is in one of them, and where it changes least."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from accrete.config.placement import DEFAULT_IMAGE

ROOT = Path(__file__).parents[3]
LOCK = ROOT / "images" / "requirements.lock"
DOCKERFILE = (ROOT / "images" / "Dockerfile").read_text()


def split(folder: Path, lock: Path, *options: str) -> dict[str, str]:
    """Return the parts of a lock as the image's build makes them."""
    program = ROOT / "images" / "layers.py"
    subprocess.run([sys.executable, program, lock, folder / "parts", *options], check=True)
    return {path.stem: path.read_text() for path in (folder / "parts").iterdir()}


def names(requirements: str) -> list[str]:
    return re.findall(r"^([A-Za-z0-9._-]+)==", requirements, re.M)


def test_every_locked_package_is_in_one_layer_with_its_hashes(tmp_path: Path) -> None:
    parts = split(tmp_path, LOCK)
    assert sorted("".join(parts.values()).split()) == sorted(LOCK.read_text().split())
    found = [name for part in parts.values() for name in names(part)]
    assert sorted(found) == sorted(names(LOCK.read_text()))
    assert set(names(parts["torch"])) == {"torch", "torchvision", "triton"}
    assert {"nvidia-cudnn-cu13", "nvidia-nccl-cu13", "cuda-bindings"} <= set(names(parts["cuda"]))
    assert {"kfp", "minio", "numpy", "pyarrow", "setuptools"} <= set(names(parts["rest"]))
    assert all("--hash=sha256:" in part for part in parts.values())


def test_without_cuda_torch_comes_by_its_locked_version_and_nothing_of_cuda(tmp_path: Path) -> None:
    parts = split(tmp_path, LOCK, "--without-cuda")
    locked = dict(re.findall(r"^(torch|torchvision)==([^ ;]+)", LOCK.read_text(), re.M))
    assert parts["cuda"] == ""
    assert parts["torch"].splitlines() == [f"{name}=={locked[name]}" for name in sorted(locked)]
    (tmp_path / "with").mkdir()
    assert parts["rest"] == split(tmp_path / "with", LOCK)["rest"]


@pytest.mark.parametrize(
    ("package", "changed"), [("minio", "rest"), ("nvidia-nccl-cu13", "cuda"), ("torch", "torch")]
)
def test_a_new_version_changes_the_part_of_its_layer_alone(
    package: str, changed: str, tmp_path: Path
) -> None:
    newer = tmp_path / "newer.lock"
    newer.write_text(re.sub(rf"^{package}==\S+", f"{package}==99.9", LOCK.read_text(), flags=re.M))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    before, after = split(tmp_path / "a", LOCK), split(tmp_path / "b", newer)
    assert [name for name in before if before[name] != after[name]] == [changed]


def test_the_layers_that_change_least_come_first_and_ours_last() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^COPY --from=(\w+)", final, re.M) == [
        "cuda",
        "torch",
        "rest",
        "application",
    ]
    for stage in ("cuda", "torch", "rest"):
        (body,) = re.findall(rf"^FROM tools AS {stage}\n(.+?)\n(?=#|FROM)", DOCKERFILE, re.M | re.S)
        assert f"COPY --from=parts /parts/{stage}.txt /src/" in body
        assert "requirements.lock" not in body  # of which any line would make it anew


def test_the_images_have_the_names_that_scripts_and_manifests_use() -> None:
    makefile = (ROOT / "Makefile").read_text()
    common = (ROOT / "manifests" / "kind" / "common.sh").read_text()
    assert re.findall(r"--tag (\S+) \.$", makefile, re.M) == [DEFAULT_IMAGE, f"{DEFAULT_IMAGE}-cpu"]
    assert f'IMAGE="${{IMAGE:-{DEFAULT_IMAGE}-cpu}}"' in common


def tree(folder: Path, age_s: int) -> Path:
    """Make packages as pip leaves them, at another time."""
    package = folder / "opt" / "venv" / "lib" / "python3" / "site-packages" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def raises() -> None:\n    raise RuntimeError\n")
    (package / "old.py").write_text("print 'no Python 3'\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / f"stale-{age_s}.pyc").write_bytes(b"x")
    for path in package.rglob("*"):
        subprocess.run(["touch", "-d", f"@{1_700_000_000 + age_s}", path], check=True)
    return folder


def test_a_layer_made_at_another_time_has_the_same_bytes_and_times(tmp_path: Path) -> None:
    script = (ROOT / "images" / "settle.sh").read_text()
    assert "/opt/venv/bin/python3" in script
    seen = []
    for age_s in (0, 4711):
        folder = tree(tmp_path / f"made-{age_s}", age_s)
        subprocess.run(
            ["/bin/sh", "-c", script.replace("/opt/venv/bin/python3", sys.executable), "settle.sh",
             str(folder)],
            check=True, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        seen.append(
            {
                str(path.relative_to(folder)): (
                    path.stat().st_mtime, path.read_bytes() if path.is_file() else b"",
                )
                for path in sorted(folder.rglob("*"))
            }
        )  # fmt: skip
    assert seen[0] == seen[1]
    (compiled,) = [name for name in seen[0] if name.endswith(".pyc")]
    assert b"/opt/venv/lib/python3/site-packages/package/__init__.py" in seen[0][compiled][1]
