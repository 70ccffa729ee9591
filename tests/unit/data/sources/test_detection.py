"""Which kind of source lies at a place, where nobody says."""

import tarfile
from pathlib import Path

import pytest
from source_sample import structs, write_files, write_parquet

from accrete.data.sources.detection import detect_kind
from accrete.errors import SourceError


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def images(folder: Path) -> None:
    write_files(folder, {"cat/1.png": 1, "dog/1.png": 2})


def table(folder: Path) -> None:
    write_files(folder, {"images/1.png": 1})
    put(folder / "labels.csv", b"path,label\nimages/1.png,cat\n")


def shard(folder: Path) -> None:
    with tarfile.open(folder / "train.tar", "w"):
        pass


MAKERS = {
    "imagefolder": images,
    "csv": table,
    "parquet": lambda folder: write_parquet(
        folder / "x.parquet", {"image": structs([1]), "label": [0]}
    ),
    "arrow": lambda folder: put(folder / "train" / "data-00000-of-00001.arrow"),
    "webdataset": shard,
    "idx": lambda folder: put(folder / "train-images-idx3-ubyte.gz"),
    "cifar10": lambda folder: put(folder / "cifar-10-batches-py" / "data_batch_1"),
    "cifar100": lambda folder: put(folder / "cifar-100-python.tar.gz"),
    "fashion-mnist": lambda folder: put(
        folder / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz"
    ),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_what_lies_there_tells_the_kind(tmp_path: Path, kind: str) -> None:
    MAKERS[kind](tmp_path)
    put(tmp_path / "README.md")
    assert detect_kind(str(tmp_path)) == kind


@pytest.mark.parametrize("kind", ["parquet", "webdataset", "csv"])
def test_a_file_by_itself_tells_it_too(tmp_path: Path, kind: str) -> None:
    MAKERS[kind](tmp_path)
    name = {"parquet": "x.parquet", "webdataset": "train.tar", "csv": "labels.csv"}[kind]
    assert detect_kind(str(tmp_path / name)) == kind


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (
            ("parquet", "webdataset"),
            r"as Parquet files \(--source parquet\) or tar shards \(",
        ),
        (("cifar10", "cifar100"), r"2 ways: as torchvision's cifar10 \(--source cifar10\) or"),
    ],
)
def test_two_kinds_in_one_place_are_refused(
    tmp_path: Path, kinds: tuple[str, str], message: str
) -> None:
    for kind in kinds:
        MAKERS[kind](tmp_path)
    with pytest.raises(SourceError, match=message):
        detect_kind(str(tmp_path))


def test_class_folders_beside_a_table_that_names_them_are_refused(tmp_path: Path) -> None:
    images(tmp_path)
    put(tmp_path / "labels.csv", b"path,label\ncat/1.png,x\ndog/1.png,y\n")
    with pytest.raises(
        SourceError, match=r"as class folders \(--source image.*\) or the table lab"
    ):
        detect_kind(str(tmp_path))


def test_a_picture_beside_tables_does_not_matter(tmp_path: Path) -> None:
    MAKERS["parquet"](tmp_path)
    write_files(tmp_path, {"assets/teaser.png": 1})
    assert detect_kind(str(tmp_path)) == "parquet"


def test_what_is_excluded_is_not_looked_at(tmp_path: Path) -> None:
    MAKERS["parquet"](tmp_path)
    MAKERS["webdataset"](tmp_path)
    assert detect_kind(str(tmp_path), "*.tar") == "parquet"
