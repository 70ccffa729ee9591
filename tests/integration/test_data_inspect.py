"""`accrete data inspect`, and each kind of source from a folder and from a real object store."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_steps import enter_pod
from click.testing import CliRunner
from source_sample import png, structs, write_files, write_parquet

from accrete.cli.main import accrete
from accrete.config.run import SourceConfig
from accrete.data.sources.detection import detect_kind
from accrete.data.sources.opening import open_source
from accrete.store.object_store import ObjectStore


@pytest.fixture
def place(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where to send things, in a store that the environment names."""
    enter_pod(store, tmp_path / "cache", monkeypatch)
    return f"{store.address}/images"


def folders(root: Path) -> None:
    write_files(root, {f"{split}/{n}/{n}.png": n for split in ("train", "test") for n in range(2)})


def table_of_text(root: Path) -> None:
    write_files(root, {"images/0.png": 0, "images/1.png": 1})
    (root / "labels.csv").write_text("path,label\nimages/0.png,0\nimages/1.png,1\n")


def parquet(root: Path) -> None:
    for split in ("train", "test"):
        columns = {"image": structs([0, 1]), "label": [0, 1]}
        write_parquet(root / split / "0.parquet", columns)


def arrow(root: Path) -> None:
    table = pa.table({"image": structs([0, 1]), "label": [0, 1]})
    (root / "train").mkdir()
    path = str(root / "train" / "data.arrow")
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def shards(root: Path) -> None:
    with tarfile.open(root / "train-0.tar", "w") as archive:
        for number in range(2):
            for name, data in ((f"{number}.png", png(number)), (f"{number}.cls", b"%d" % number)):
                (root / name).write_bytes(data)
                archive.add(root / name, name)
                (root / name).unlink()


MAKERS: dict[str, Callable[[Path], None]] = {
    "imagefolder": folders,
    "csv": table_of_text,
    "parquet": parquet,
    "arrow": arrow,
    "webdataset": shards,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_source_is_the_same_in_a_folder_and_in_a_store(
    tmp_path: Path, place: str, kind: str
) -> None:
    root = tmp_path / "here"
    root.mkdir()
    MAKERS[kind](root)
    pushed = CliRunner().invoke(accrete, ["data", "push", str(root), place])
    assert pushed.exit_code == 0, pushed.output
    found = []
    for location in (str(root), place):
        assert detect_kind(location) == kind
        source = open_source(SourceConfig(kind=kind, location=location))
        items = [(item.split, item.class_name, item.load()) for item in source.items()]
        assert all(name == str(n % 2) for n, (_, name, _) in enumerate(items))
        found.append((items, source.counts(), source.reading().layout))
    assert found[0] == found[1]
    assert len(found[0][0]) in (2, 4)


def test_a_single_object_is_a_source_too(tmp_path: Path, place: str) -> None:
    parquet(tmp_path / "here")
    CliRunner().invoke(accrete, ["data", "push", str(tmp_path / "here"), place])
    source = open_source(SourceConfig(kind="parquet", location=f"{place}/train/0.parquet"))
    assert source.counts() == {"train": {"0": 1, "1": 1}}


def inspect(*arguments: object) -> str:
    result = CliRunner().invoke(accrete, ["data", "inspect", *map(str, arguments)])
    assert result.exception is None, result.exception
    return result.output


def test_the_command_shows_a_source_without_training(tmp_path: Path, place: str) -> None:
    folders(tmp_path / "photos")
    (tmp_path / "photos" / "notes.txt").write_text("x")
    CliRunner().invoke(accrete, ["data", "push", str(tmp_path / "photos"), place])
    for location in (tmp_path / "photos", place):
        lines = inspect(location).splitlines()
        assert [*lines[:5], *(" ".join(line.split()) for line in lines[5:])] == [
            f"imagefolder {location}: test/ and train/, a folder a class",
            "2 classes: 0 and 1, with 1 training image each",
            "2 images to train on, 2 to test on (the source's own)",
            "1 of 5 files left out: .txt ×1 (notes.txt)",
            "images looked at: all, grey; all of 4x4 px, stored as they are",
            "training validation test class",
            "1 0 1 0",
            "1 0 1 1",
        ]
    found = json.loads(inspect("--source", "imagefolder", "--data", f"{place}/", "--json"))
    assert (found["data"], found["splits"]["test"]) == (place, {"images": 2, "own": True})


def test_the_command_needs_nothing_but_a_place() -> None:
    assert inspect().startswith("digits: handwritten digits")


_MEASURE = """
import sys
from accrete.config.run import SourceConfig
from accrete.data.sources.opening import open_source
import accrete.data.sources.formats, pyarrow.parquet
def peak():  # of this program alone; getrusage's is its parent's too
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
before = peak()
source = open_source(SourceConfig(kind="parquet", location=sys.argv[1]))
source.counts()
source.sample(8)
num_bytes = sum(len(item.load()) for item in source.items())
print(num_bytes, peak() - before)
"""


@pytest.mark.slow
def test_a_file_of_one_row_group_is_read_a_piece_at_a_time(tmp_path: Path) -> None:
    """As one of 50 GB must be. What is held is a page, so there are several."""
    image = bytes(range(256)) * 4096
    table = pa.table({"image": [image] * 512, "label": [0, 1] * 256})
    pq.write_table(
        table,
        tmp_path / "x.parquet",
        row_group_size=512,
        write_batch_size=8,
        use_dictionary=False,
        compression="none",
    )
    assert pq.ParquetFile(tmp_path / "x.parquet").num_row_groups == 1
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "x.parquet")],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    num_bytes, grown = map(int, done.stdout.split())
    assert num_bytes == 512 << 20
    assert grown < 320 << 20
