"""Files in MNIST's format as a source: which are a set, what they hold, and what is refused."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from archive_sample import idx_of, named_store, open_idx, put_files, write_idx_pair
from hypothesis import given, settings
from hypothesis import strategies as st
from source_sample import read_all

from accrete.data.sources.archives.idx_names import is_idx_name
from accrete.data.sources.base import Source
from accrete.errors import AccreteError, EmptyClassError, LabelError, SourceError
from accrete.store.object_store import ObjectStore

IMAGES = idx_of(np.zeros((2, 3, 3)))
LABELS = idx_of(np.array([0, 1]))


def entries(source: Source) -> list[tuple[str, str, int]]:
    """Return (split, class, level) of each image."""
    loaded = [(item, np.asarray(item.load())) for item in source.items()]
    return [(item.split, item.class_name, int(pixels[0, 0, 0])) for item, pixels in loaded]


@pytest.mark.parametrize("packed", [False, True])
def test_images_are_paired_with_their_labels(tmp_path: Path, packed: bool) -> None:
    write_idx_pair(tmp_path, "train", [3, 10, 3], packed=packed)
    write_idx_pair(tmp_path, "t10k", [10], packed=packed)
    source = open_idx(tmp_path)
    assert source.counts() == {"train": {"3": 2, "10": 1}, "test": {"3": 0, "10": 1}}
    expected = [("train", "3", 0), ("train", "10", 1), ("train", "3", 2), ("test", "10", 0)]
    assert entries(source) == entries(source) == expected
    item = next(iter(source.items()))
    assert np.asarray(item.load()).shape == (2, 2, 1)
    suffix = ".gz" if packed else ""
    assert item.place == f"{tmp_path}/train-images-idx3-ubyte{suffix} item 0"


def test_many_images_are_read_in_several_runs(tmp_path: Path) -> None:
    labels = [number % 2 for number in range(256)]
    for packed in (False, True):
        write_idx_pair(tmp_path / str(packed), "train", labels, packed=packed, side=100)
        assert [level for _, _, level in entries(open_idx(tmp_path / str(packed)))] == [*range(256)]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_may_have_a_dimension_of_channels(tmp_path: Path, channels: int) -> None:
    images = np.arange(2 * 4 * 5 * channels).reshape(2, 4, 5, channels)
    (tmp_path / "train-images-idx4-ubyte").write_bytes(idx_of(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_of(np.array([0, 1])))
    loaded = [np.asarray(item.load()) for item in open_idx(tmp_path).items()]
    assert np.array_equal(np.stack(loaded), images)


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"), "test"),
        (
            ("emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"),
            "test",
        ),
        (("test/images-idx3-ubyte", "test/labels-idx1-ubyte"), "test"),
        (("val_images.idx3-ubyte.gz", "val_labels.idx1-ubyte"), "test"),
    ],
)
def test_splits_are_found_in_names(tmp_path: Path, names: tuple[str, str], split: str) -> None:
    for name in names:
        values = np.zeros((2, 3, 3)) if "images" in name else np.array([0, 0])
        for part, path in ((split, name), ("train", _train_name(name))):
            assert part
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(idx_of(values))
    assert open_idx(tmp_path).counts() == {"train": {"0": 2}, "test": {"0": 2}}


def _train_name(name: str) -> str:
    for word in ("t10k", "test", "val"):
        name = name.replace(word, "train")
    return name


def test_several_sets_are_refused_with_the_option_that_decides(tmp_path: Path) -> None:
    for name in ("emnist-balanced", "emnist-letters", "emnist-mnist"):
        write_idx_pair(tmp_path, f"{name}-train", [0, 1])
        write_idx_pair(tmp_path, f"{name}-test", [0, 1])
    message = (
        r"3 sets of images: emnist-balanced, .*--exclude '\*emnist-letters\*,\*emnist-mnist\*'"
    )
    with pytest.raises(SourceError, match=message):
        open_idx(tmp_path)
    source = open_idx(tmp_path, exclude="*emnist-letters*,*emnist-mnist*")
    assert set(source.counts()) == {"train", "test"}
    assert "emnist-balanced-train-images-idx3-ubyte" in source.reading().layout


def test_a_file_that_lies_there_unpacked_too_is_read_once(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [0, 1])
    write_idx_pair(tmp_path, "train", [0, 1], packed=True)
    (tmp_path / "notes.txt").write_text("MNIST")
    source = open_idx(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 1}}
    assert sorted((entry.place, entry.reason) for entry in source.reading().left_out) == [
        ("notes.txt", ".txt"),
        ("train-images-idx3-ubyte.gz", "packed twice"),
        ("train-labels-idx1-ubyte.gz", "packed twice"),
    ]


def test_numbers_are_named_by_a_file_beside(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [1, 0])
    (tmp_path / "classes.txt").write_text("shirt\nbag\n")
    assert list(open_idx(tmp_path).counts()["train"]) == ["shirt", "bag"]
    (tmp_path / "classes.txt").write_text("shirt\n")
    with pytest.raises(
        LabelError, match=r"idx1-ubyte item 0 has label 1, but classes\.txt names 1"
    ):
        open_idx(tmp_path).counts()


def test_names_of_fashion_mnist_are_not_guessed_but_pointed_to(tmp_path: Path) -> None:
    write_idx_pair(tmp_path / "fashion-mnist", "train", [0, 1])
    source = open_idx(tmp_path / "fashion-mnist")
    assert list(source.counts()["train"]) == ["0", "1"]
    assert "--source fashion-mnist" in source.reading().notes[0]


def test_a_class_of_the_test_images_alone_is_refused(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [0])
    write_idx_pair(tmp_path, "test", [1])
    with pytest.raises(EmptyClassError, match="class '1'"):
        open_idx(tmp_path).counts()


def test_the_fingerprint_follows_the_contents(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [0, 1])
    before = open_idx(tmp_path).fingerprint()
    assert open_idx(tmp_path).fingerprint() == before
    write_idx_pair(tmp_path, "train", [1, 0])
    assert open_idx(tmp_path).fingerprint() != before


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("train-labels-idx1-ubyte", "train-images-idx3-ubyte is there without its labels"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte is there without its images"),
    ],
)
def test_a_file_without_its_partner_is_refused(tmp_path: Path, removed: str, message: str) -> None:
    write_idx_pair(tmp_path, "train", [0, 1])
    (tmp_path / removed).unlink()
    with pytest.raises(SourceError, match=message):
        open_idx(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("train-images-idx3", "train-labels-idx1"),
        ("train-images.idx3.ubyte", "train-labels.idx1.ubyte"),
        ("train-images.idx3", "train-labels.idx1"),
        ("Train_Images idx3-ubyte.gz", "Train_Labels idx1-ubyte.gz"),
    ],
)
def test_names_of_mnist_s_files_vary(tmp_path: Path, names: tuple[str, str]) -> None:
    assert all(map(is_idx_name, names))
    for name, data in zip(names, (IMAGES, LABELS), strict=True):
        (tmp_path / name).write_bytes(data)
    assert open_idx(tmp_path).counts() == {"train": {"0": 1, "1": 1}}


@pytest.mark.parametrize(
    "names",
    [
        ("train_images.bin", "train_labels.bin", "test_images.bin", "test_labels.bin"),
        ("trainImages.bin", "trainLabels.bin", "testImages.bin", "testLabels.bin"),
        ("mnist_train", "mnist_train_labels", "mnist_test", "mnist_test_labels"),
        ("x_train.idx", "y_train.idx", "x_test.idx", "y_test.idx"),
        ("images.train.gz", "labels.train.gz", "images.test.gz", "labels.test.gz"),
        ("train/images.bin", "train/labels.bin", "test/images.bin", "test/labels.bin"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_files_of_other_names_are_known_by_their_first_bytes(
    tmp_path: Path, names: tuple[str, ...], packed: bool
) -> None:
    for name, data in zip(names, (IMAGES, LABELS) * 2, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    (tmp_path / "weights.bin").write_bytes(b"\x93NUMPY")
    (tmp_path / "images.tar.gz").write_bytes(b"x")
    source = open_idx(tmp_path)
    assert source.counts() == {"train": {"0": 1, "1": 1}, "test": {"0": 1, "1": 1}}
    assert "known by their first bytes: train from " in source.reading().layout
    assert {file.place for file in source.reading().left_out} == {"weights.bin", "images.tar.gz"}


def test_files_of_other_names_without_a_partner_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train_images.bin").write_bytes(IMAGES)
    with pytest.raises(SourceError, match=r"train_images\.bin is there without its labels"):
        open_idx(tmp_path)


def test_a_sample_is_read_image_by_image(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [n % 2 for n in range(100)], packed=True)
    write_idx_pair(tmp_path, "test", [1, 0])
    items = open_idx(tmp_path).sample(6)
    levels = [int(np.asarray(item.load())[0, 0, 0]) for item in items]
    assert levels == [0, 17, 34, 51, 68, 85]
    assert [item.class_name for item in items] == ["0", "1", "0", "1", "0", "1"]
    assert [item.split for item in open_idx(tmp_path).sample(999)][-2:] == ["test", "test"]


def test_a_folder_without_such_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(SourceError, match="holds no file in MNIST's format"):
        open_idx(tmp_path)


HUGE = bytes((0, 0, 8, 3)) + b"\xff" * 12


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (b"", LABELS, r"no idx file"),
        (IMAGES[:-1], LABELS, r"it must have 34: it is cut short or damaged"),
        (IMAGES + b"x", LABELS, r"it must have 34: it is cut short or damaged"),
        (b"\x01" + IMAGES[1:], LABELS, r"no idx file"),
        (pickle.dumps(1), LABELS, r"a pickle, which is never loaded"),
        (idx_of(np.zeros((2, 3, 3)), 0x0D), LABELS, "floating-point numbers: only unsigned bytes"),
        (idx_of(np.zeros((2, 3, 3)), 0x77), LABELS, "type 0x77: only unsigned bytes"),
        (bytes((0, 0, 8, 9)) + IMAGES[4:], LABELS, "9 dimensions"),
        (LABELS, LABELS, r"the sizes 2: images have"),
        (idx_of(np.zeros((2, 3, 3, 2))), LABELS, "2×3×3×2: images have"),
        (idx_of(np.zeros((0, 3, 3))), idx_of(np.zeros(0)), "has no image"),
        (HUGE, LABELS, r"it must have|over the limit"),
        (IMAGES, IMAGES, "labels have one"),
        (IMAGES, LABELS[:-1], r"it must have 10|1 bytes of labels"),
        (IMAGES, idx_of(np.array([0, 1, 1])), "3 labels for 2 images"),
        (IMAGES, bytes((0, 0, 8, 1)) + b"\xff" * 4, "labels"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path: Path, images: bytes, labels: bytes, message: str, packed: bool
) -> None:
    for name, data in (("images-idx3", images), ("labels-idx1", labels)):
        content = gzip.compress(data) if packed else data
        (tmp_path / f"train-{name}-ubyte").write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        read_all(open_idx(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gzip_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [0, 1])
    bomb = gzip.compress(IMAGES + b"\0" * (200 << 20))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(bomb)
    with pytest.raises(SourceError, match=r"has over 1,048,576 bytes unpacked"):
        read_all(open_idx(tmp_path))


def test_gzip_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    write_idx_pair(tmp_path, "train", [0, 1])
    for name in ("images-idx3", "labels-idx1"):
        path = tmp_path / f"train-{name}-ubyte"
        whole = path.read_bytes()
        path.write_bytes(gzip.compress(whole)[:-6])
        with pytest.raises(SourceError, match=r"cannot be read .* cut short"):
            read_all(open_idx(tmp_path))
        path.write_bytes(whole)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), packed=st.booleans())
def test_damage_is_refused_or_changes_nothing_but_content(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, packed: bool
) -> None:
    folder = tmp_path_factory.mktemp("idx")
    for name, content in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        whole = bytearray(gzip.compress(content) if packed else content)
        for _ in range(data.draw(st.integers(0, 3))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        del whole[data.draw(st.integers(len(whole) * 3 // 4, len(whole))) :]
        (folder / f"train-{name}-ubyte").write_bytes(whole)
    try:
        source = open_idx(folder)
        read_all(source)
        source.reading()
    except AccreteError as error:
        assert "\n" not in str(error)  # noqa: PT017  most damage is refused, not all


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_from_an_object_store(
    tmp_path: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    write_idx_pair(tmp_path, "train", [3, 1, 3], packed=packed)
    write_idx_pair(tmp_path, "t10k", [1], packed=packed)
    location = put_files(named_store(store, monkeypatch), tmp_path, "source")
    local, remote = open_idx(tmp_path), open_idx(location)
    assert remote.counts() == local.counts()
    assert entries(remote) == entries(local)
    assert remote.reading() == local.reading()
