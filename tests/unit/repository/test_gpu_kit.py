"""What is packed for a GPU machine without network, and what it finds there."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu_machine.sh"


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def machine(kept: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the script as on a machine whose kit lies in a folder of its own."""
    environment = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [str(SCRIPT), *arguments],
        env=environment | {"GPU_KIT_KEPT": str(kept)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_data_is_packed_into_folders_that_are_small_enough(tmp_path: Path) -> None:
    from gpu_kit import pack_data

    data, to = tmp_path / "data", tmp_path / "kit"
    data.mkdir()
    to.mkdir()
    for name, size in {"train-0": 45, "train-1": 44, "test": 18, "large": 90}.items():
        (data / f"{name}.parquet").write_bytes(b"x" * size)
    pack_data(data, to, most_bytes=63)
    packed = [sorted(file.stem for file in folder.iterdir()) for folder in sorted(to.iterdir())]
    assert packed == [["large"], ["test", "train-0"], ["train-1"]]


def test_a_command_finds_data_and_commit_of_the_folders_that_were_taken(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for number in (1, 2):
        folder = tmp_path / f"data-{number}"
        folder.mkdir()
        (folder / f"train-{number}.parquet").write_bytes(b"x")
        (folder / "commit").write_text("abc1234\n")
        taken = machine(kept, "take", str(folder))
        assert taken.returncode == 0, taken.stderr
    program = (
        "import accrete, os; print(accrete.__file__); print(os.environ['BENCHMARK_COMMIT']); "
        "print(*sorted(os.listdir(os.environ['ACCRETE_TEST_CIFAR100'])))"
    )
    done = machine(kept, "run", "python3", "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(ROOT / "lib" / "accrete" / "__init__.py"),
        "abc1234",
        "train-1.parquet train-2.parquet",
    ]


def test_a_command_without_a_kit_names_no_data(tmp_path: Path) -> None:
    program = (
        "import os; print(sorted({'ACCRETE_TEST_CIFAR100', 'BENCHMARK_COMMIT'} & set(os.environ)))"
    )
    done = machine(tmp_path, "run", "python3", "-c", program)
    assert done.stdout == "[]\n", done.stderr


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    done = machine(tmp_path, "rnu", "true")
    assert (done.returncode, done.stderr) == (2, "gpu_machine.sh: say take or run, not rnu\n")
    assert machine(tmp_path).returncode == 2
