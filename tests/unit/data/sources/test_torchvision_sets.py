"""Sets whose counts are known, and the real CIFAR-100."""

import gzip
import hashlib
import pickle
import tarfile
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_sample import named_store, put_files
from numpy.typing import NDArray

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data.images import decode_image
from accrete.data.sources.opening import Item, open_source
from accrete.data.sources.published.torchvision_classes import CLASSES, TEST_IMAGES, TRAIN_IMAGES
from accrete.errors import SourceError
from accrete.store.object_store import ObjectStore


@pytest.mark.parametrize(
    ("kind", "num_classes", "train", "test"),
    [("cifar10", 10, 5000, 1000), ("cifar100", 100, 500, 100), ("fashion-mnist", 10, 6000, 1000)],
)
def test_known_sets_are_counted_without_their_images(
    tmp_path: Path, kind: str, num_classes: int, train: int, test: int
) -> None:
    counts = open_source(SourceConfig(kind=kind, location=str(tmp_path))).counts()
    assert len(counts["train"]) == len(counts["test"]) == num_classes
    assert set(counts["train"].values()) == {train}
    assert set(counts["test"].values()) == {test}
    assert not list(tmp_path.iterdir())


def digest_of_labels(labels: Sequence[int]) -> str:
    """Return the MD5 of labels as 64-bit integers, as the data's own notes give it."""
    return hashlib.md5(np.array(labels, "<i8").tobytes(), usedforsecurity=False).hexdigest()


@pytest.mark.slow
def test_real_cifar100_has_its_counts_labels_and_pixels(cifar100: str) -> None:
    config = SourceConfig(kind="parquet", location=cifar100, label_column="fine_label")
    source = open_source(config)
    counts = source.counts()
    names = CLASSES["cifar100"]
    assert tuple(counts["train"]) == tuple(counts["test"]) == names
    assert set(counts["train"].values()) == {TRAIN_IMAGES["cifar100"]} == {500}
    assert set(counts["test"].values()) == {TEST_IMAGES["cifar100"]} == {100}
    by_split: dict[str, list[Item]] = {"train": [], "test": []}
    for item in source.items():
        by_split[item.split].append(item)
    labels = {s: [names.index(i.class_name) for i in items] for s, items in by_split.items()}
    assert digest_of_labels(labels["train"]) == "a6d83e1ba403abb4d4d51a4851d27312"
    assert digest_of_labels(labels["test"]) == "65ee271bce17e294470afef2117ae162"

    def decoded(item: Item) -> Any:
        data = item.load()
        assert isinstance(data, bytes)
        return decode_image(data, item.place)

    with ThreadPoolExecutor(2) as pool:
        pixels = np.stack(list(pool.map(decoded, by_split["test"])))
    assert pixels.shape == (10_000, 32, 32, 3)
    digest = hashlib.md5(pixels.tobytes(), usedforsecurity=False).hexdigest()
    assert digest == "f56c971f508f38ef6f45ff5a2db65ea6"


def test_real_cifar100_finds_its_columns_by_itself(cifar100: str) -> None:
    counts = open_source(SourceConfig(kind="parquet", location=cifar100)).counts()
    assert len(counts["train"]) == 100


def write_idx(path: Path, magic: int, values: NDArray[np.uint8]) -> None:
    header = np.array([magic, *values.shape], ">i4").tobytes()
    path.write_bytes(header + values.tobytes())


def fashion_mnist(root: Path) -> SourceConfig:
    """Write files in Fashion-MNIST's own format: as many images, all of them noise."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        write_idx(raw / f"{name}-images-idx3-ubyte", 0x803, pixels)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(raw / f"{name}-labels-idx1-ubyte", 0x801, labels)
    return SourceConfig(kind="fashion-mnist", location=str(root))


@pytest.mark.slow
def test_torchvision_s_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    source = open_source(fashion_mnist(tmp_path))
    counted = Counter((item.split, item.class_name) for item in source.items())
    assert {name: counted["train", name] for name in source.counts()["train"]} == dict(
        source.counts()["train"]
    )
    assert counted["test", "T-shirt/top"] == 1000
    first = next(iter(source.items()))
    pixels = first.load()
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (28, 28, 1)
    before = source.fingerprint()
    labels = tmp_path / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x03")
    assert source.fingerprint() != before


def test_a_torchvision_set_that_is_not_there_and_cannot_be_downloaded_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In its own opener, or later tests of this process would be sent to that proxy, too.
    nowhere = dict.fromkeys(("http", "https"), "http://127.0.0.1:9")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(nowhere))
    monkeypatch.setattr(urllib.request, "_opener", opener)
    source = open_source(SourceConfig(kind="cifar10", location=str(tmp_path)))
    assert sum(source.counts()["train"].values()) == 50_000
    with pytest.raises(SourceError, match=r"cifar10 is not below .* cannot be downloaded"):
        source.fingerprint()


def test_damaged_files_of_a_published_set_are_refused_by_name(tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        for part in ("images-idx3", "labels-idx1"):
            (raw / f"{split}-{part}-ubyte").write_bytes(b"\0\0\x08\x03 cut short")
    source = open_source(SourceConfig(kind="fashion-mnist", location=str(tmp_path)))
    with pytest.raises(SourceError, match=rf"fashion-mnist below {tmp_path} cannot be read"):
        next(iter(source.items()))


def small_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write CIFAR-100 in its own format, of two images a split, as if it were the published one."""
    from torchvision.datasets import CIFAR100

    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    contents: dict[str, dict[str, Any]] = {
        name: {"data": rng.integers(0, 256, (2, 3072), np.uint8), "fine_labels": labels}
        for name, labels in (("train", [0, 99]), ("test", [1, 0]))
    }
    contents["meta"] = {"fine_label_names": list(CLASSES["cifar100"])}
    md5s = {}
    for name, content in contents.items():
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        md5s[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    archive = root.parent / "published" / "cifar-100-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-100-python")
    packed = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", md5s["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", md5s["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": md5s["meta"]})
    monkeypatch.setattr(CIFAR100, "tgz_md5", packed)
    return folder


def pixels_of(location: Path | str, kind: str = "cifar100") -> list[tuple[str, str, bytes]]:
    """Return (split, class, pixels) of each image."""
    items = open_source(SourceConfig(kind=kind, location=str(location))).items()
    return [(i.split, i.class_name, np.asarray(i.load()).tobytes()) for i in items]


@pytest.fixture
def stored(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """A store that the environment names."""
    return named_store(store, monkeypatch)


def test_a_set_is_read_alike_from_its_root_its_own_folder_and_an_object_store(
    tmp_path: Path, stored: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_cifar100(tmp_path / "root", monkeypatch)
    expected = pixels_of(tmp_path / "root")
    assert [entry[:2] for entry in expected] == [
        ("train", "apple"),
        ("train", "worm"),
        ("test", "aquarium_fish"),
        ("test", "apple"),
    ]
    locations = [
        put_files(stored, tmp_path / "root", "root"),
        put_files(stored, folder, "own"),
        put_files(stored, tmp_path / "published", "packed"),
    ]
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "kept"))
    for location in (*locations, str(folder)):
        assert pixels_of(location) == expected
    assert list((tmp_path / "kept").iterdir()) == []
    folder.rename(tmp_path / "cifar")
    assert pixels_of(tmp_path / "cifar") == expected


def test_fingerprints_of_a_stored_set_follow_its_files(
    tmp_path: Path, stored: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_cifar100(tmp_path / "root", monkeypatch)
    config = SourceConfig(kind="cifar100", location=put_files(stored, folder, "own"))
    before = open_source(config).fingerprint()
    assert open_source(config).fingerprint() == before
    stored.write_note("own/test", b"other")
    assert open_source(config).fingerprint() != before


def test_a_local_root_keeps_the_fingerprint_that_stored_data_sets_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_cifar100(tmp_path, monkeypatch)
    files = sorted(folder.iterdir())
    digests = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    source = open_source(SourceConfig(kind="cifar100", location=str(tmp_path)))
    assert source.fingerprint() == sha256_of_json(["cifar100", digests])


def test_stored_pickles_that_are_not_the_published_ones_are_never_loaded(
    tmp_path: Path, stored: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_cifar100(tmp_path / "root", monkeypatch)
    location = put_files(stored, folder, "own")
    packed = put_files(stored, tmp_path / "published", "packed")
    bomb = pickle.dumps(_Bomb(tmp_path / "loaded"))
    stored.write_note("own/train", bomb)
    stored.write_note("packed/cifar-100-python.tar.gz", bomb)
    with pytest.raises(SourceError, match=r"own/train is not the file that is published"):
        pixels_of(location)
    with pytest.raises(SourceError, match=r"packed/cifar-100-python\.tar\.gz is not the file"):
        pixels_of(packed)
    (folder / "test").write_bytes(bomb)
    with pytest.raises(SourceError, match=r"cifar-100-python/test is not the file"):
        pixels_of(folder)
    assert not (tmp_path / "loaded").exists()


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_stored_set_that_lacks_a_file_names_it(
    tmp_path: Path, stored: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_cifar100(tmp_path / "root", monkeypatch)
    (folder / "test").unlink()
    message = r"root/cifar-100-python/test is missing: .* or cifar-100-python\.tar\.gz"
    with pytest.raises(SourceError, match=message):
        pixels_of(put_files(stored, tmp_path / "root", "root"))
    with pytest.raises(SourceError, match=r"cifar-100-python/test is missing"):
        pixels_of(folder)


def small_fashion_mnist(raw: Path, *, packed: bool, label: int = 0, more_labels: int = 0) -> None:
    """Write its files with few images, one of which has a label of one's own."""
    raw.mkdir(parents=True)
    for split, count in (("train", 20), ("t10k", 10)):
        write_idx(raw / f"{split}-images-idx3-ubyte", 0x803, np.zeros((count, 28, 28), np.uint8))
        labels = (np.arange(count + more_labels) % 10).astype(np.uint8)
        labels[0] = label
        write_idx(raw / f"{split}-labels-idx1-ubyte", 0x801, labels)
    for path in raw.iterdir() if packed else ():
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()


def test_fashion_mnist_is_read_packed_as_it_is_published(
    tmp_path: Path, stored: ObjectStore
) -> None:
    raw = tmp_path / "raw"
    small_fashion_mnist(raw, packed=True)
    found = pixels_of(raw, "fashion-mnist")
    assert Counter(split for split, _, _ in found) == {"train": 20, "test": 10}
    assert found == pixels_of(tmp_path, "fashion-mnist")
    assert found == pixels_of(put_files(stored, raw, "a"), "fashion-mnist")
    assert found == pixels_of(put_files(stored, tmp_path, "b"), "fashion-mnist")
    assert sorted(path.suffix for path in raw.iterdir()) == [".gz"] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": 200}, r"train row 0 has label 200: it must be 0\.\.9"),
        ({"more_labels": 2}, "22 labels for 20 images of train"),
    ],
)
def test_labels_that_do_not_fit_fashion_mnist_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    small_fashion_mnist(tmp_path / "FashionMNIST" / "raw", packed=False, **options)
    with pytest.raises(SourceError, match=message):
        pixels_of(tmp_path, "fashion-mnist")


def test_packed_files_of_a_set_that_are_damaged_are_refused(tmp_path: Path) -> None:
    small_fashion_mnist(tmp_path / "raw", packed=True)
    path = tmp_path / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read"):
        pixels_of(tmp_path, "fashion-mnist")
