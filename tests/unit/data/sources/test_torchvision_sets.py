"""Sets whose counts are known, and the real CIFAR-100."""

import hashlib
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from accrete.config.run import SourceConfig
from accrete.data.images import decode_image
from accrete.data.sources.opening import Item, open_source
from accrete.data.sources.torchvision_classes import CLASSES, TEST_IMAGES, TRAIN_IMAGES
from accrete.errors import SourceError


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
