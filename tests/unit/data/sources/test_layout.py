"""How trees of images are understood: splits, classes, wrappers, and what could be two things."""

from collections import Counter

import pytest

from accrete.data.sources.folders.layout import FlatLayout, Layout, read_layout
from accrete.errors import SourceError


def folders_of(names: list[str]) -> list[str]:
    found = {
        "/".join(name.split("/")[:end]) for name in names for end in range(1, name.count("/") + 1)
    }
    return sorted(found)


def layout_of(*names: str, **options: int) -> Layout:
    listed = [f"{name}.png" if "." not in name else name for name in names]
    found = read_layout(listed, folders_of(listed), "DATA", **options)
    assert isinstance(found, Layout)
    return found


def classes_of(*names: str, **options: int) -> dict[str, dict[str, int]]:
    """Return the images of each split and class."""
    counts: dict[str, dict[str, int]] = {}
    found = Counter((s, c) for s, c, _ in layout_of(*names, **options).entries)
    for (split, name), count in sorted(found.items()):
        counts.setdefault(split, {})[name] = count
    return counts


CAT_DOG = {"cat": 1, "dog": 1}
BOTH = {"train": CAT_DOG, "test": CAT_DOG}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("train_set", "test_set"),
        ("TrainSet", "TestSet"),
        ("train_images", "val_images"),
        ("train2017", "val2017"),
        ("seg_train", "seg_test"),
        ("asl_alphabet_train", "asl_alphabet_test"),
        ("train-data", "evaluation-data"),
        ("images.training", "images.dev"),
        ("split=train", "split=test"),
        ("trainval", "test"),
        ("TRAIN", "VALID"),
        ("traindata", "testdata"),
        ("trainset", "testset"),
        ("trainImages", "testImages"),
        ("trn", "tst"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "dataset/", "ILSVRC/Data/CLS-LOC/", "train_and_test/x/"])
def test_split_folders_go_by_every_customary_name_under_any_wrapper(
    train: str, test: str, wrapper: str
) -> None:
    names = [f"{wrapper}{split}/{name}/1" for split in (train, test) for name in ("cat", "dog")]
    found = classes_of(*names)
    assert found["train"] == CAT_DOG
    is_validation = test in ("val_images", "val2017", "images.dev", "VALID")
    assert found["validation" if is_validation else "test"] == CAT_DOG


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        # Archives that wrap each split once more.
        (("seg_train/seg_train/cat/1", "seg_train/seg_train/dog/1",
          "seg_test/seg_test/cat/1", "seg_test/seg_test/dog/1"), BOTH),
        # Only one split is wrapped.
        (("train/cat/1", "train/dog/1", "test/images/cat/1", "test/images/dog/1"), BOTH),
        # The test images of one class only.
        (("train/cat/1", "train/dog/1", "test/dog/1"), {"train": CAT_DOG, "test": {"dog": 1}}),
        # The splits inside of each class.
        (("cat/train/1", "cat/test/1", "dog/train/1", "dog/test/1"), BOTH),
        (("x/cat/train/1", "x/cat/test/1", "x/dog/train/1", "x/dog/test/1"), BOTH),
        # A folder or several around the classes.
        (("photos/cat/1", "photos/dog/1"), {"train": CAT_DOG}),
        (("a/b/c/cat/1", "a/b/c/dog/1"), {"train": CAT_DOG}),
        # Training images alone.
        (("train/cat/1", "train/dog/1"), {"train": CAT_DOG}),
        (("x/train/y/cat/1", "x/train/y/dog/1"), {"train": CAT_DOG}),
        # Two folders of one split.
        (("train_1/cat/1", "train_2/dog/1", "test/cat/1"), {"train": CAT_DOG, "test": {"cat": 1}}),
        # Classes that are called like splits.
        (("car/1", "train/1", "bus/1"), {"train": {"bus": 1, "car": 1, "train": 1}}),
        (("test tube/1", "train station/1", "x/1"),
         {"train": {"test tube": 1, "train station": 1, "x": 1}}),
        # One class.
        (("otter/1", "otter/2"), {"train": {"otter": 2}}),
        (("train/otter/1", "test/otter/1"), {"train": {"otter": 1}, "test": {"otter": 1}}),
        # Folders inside of classes.
        (("cat/1", "cat/more/2", "dog/1"), {"train": {"cat": 2, "dog": 1}}),
        (("cat/images/1", "dog/images/1"), {"train": CAT_DOG}),
        (("train/cat/images/1", "train/dog/images/1", "val/images/1"), {"train": CAT_DOG}),
    ],
)  # fmt: skip
def test_trees_that_people_have(
    names: tuple[str, ...], expected: dict[str, dict[str, int]]
) -> None:
    assert classes_of(*names) == expected


def test_a_test_folder_without_class_folders_is_left_out() -> None:
    found = layout_of("train/cat/1", "train/dog/1", "test/1", "test/2")
    assert found.unlabelled == ("test/1.png", "test/2.png")
    assert {split for split, _, _ in found.entries} == {"train"}


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train/cat.0.jpg", "train/dog.0.jpg"), {"train": 2}),
        (("train/cat.0.jpg", "test1/1.jpg"), {"train": 1, "test": 1}),
        (("x/train/1.jpg", "x/test/1.jpg"), {"train": 1, "test": 1}),
        (("1.jpg", "2.jpg"), {"train": 2}),
        (("images/1.jpg", "images/2.jpg"), {"train": 2}),
    ],
)
def test_images_in_no_class_folder_are_flat(names: tuple[str, ...], splits: dict[str, int]) -> None:
    found = read_layout(list(names), folders_of(list(names)), "DATA")
    assert isinstance(found, FlatLayout)
    assert {split: len(files) for split, files in found.files.items()} == splits


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("animal/cat/1", "animal/dog/1", "thing/car/1"),
         r"two ways: 2 classes \(animal, thing\) by the first folder \(--class-level 1\), or "
         r"3 classes \(car, cat, dog\) by the deepest \(--class-level 2\)"),
        (("train/animal/cat/1", "train/thing/car/1", "test/animal/cat/1"),
         r"\(animal, thing\) by the first folder \(--class-level 2\).*\(--class-level 3\)"),
        (("cat/1", "dog/1", "2"), r"DATA/2\.png lies in no class folder.*--exclude '2\.png'"),
        (("train/cat/1", "train/2"), r"DATA/train/2\.png lies in no class folder"),
        (("train/cat/1", "test/cat/1", "test/2"), r"DATA/test/2\.png lies in no class folder"),
        (("train/cat/1", "test/cat/1", "extra/cat/1"),
         r"DATA/extra lies beside test/ and train/ but is no split: .*--exclude 'extra'"),
        (("test/cat/1", "val/cat/1"), r"DATA has test/ and val/ for splits, but none with classes"),
        (("cat/train/1", "cat/test/x/1", "dog/train/1"),
         r"two ways: cat/test/x/1\.png, in the split test/, is of class 'cat' \(--class-lev"),
        (("cat/2023/1", "cat/2024/1", "dog/2023/1"), r"two ways: 2 classes \(cat, dog\).*2023"),
        # PlantVillage: the same classes, thrice.
        (("color/a/1", "color/b/1", "gray/a/1", "gray/b/1"), r"two ways: 2 classes \(color, gray"),
        # Archives that hold themselves again.
        (("cells/a/1", "cells/b/1", "cells/cells/a/1", "cells/cells/b/1"), "two ways: 3 classes"),
        (("train/a/1", "train/b/1", "train/validation/a/1"), "two ways"),
        (("a/1", "b/1", "a/masks/1"), None),
        (("x/images/1", "x/masks/1", "y/images/1"), "two ways: 2 classes"),
        # Splits in classes, but for a file.
        (("a/train/1", "a/test/1", "b/train/1", "b/test/1", "b/readme"),
         r"b/readme\.png lies in no such split: leave it out with --exclude"),
        (("bottle/train/good/1", "bottle/test/bad/1", "bottle/truth/bad/1", "cable/train/good/1"),
         r"bottle/truth/bad/1\.png lies in no such split"),
    ],
)  # fmt: skip
def test_what_could_be_two_things_is_refused_with_what_decides(
    names: tuple[str, ...], message: str | None
) -> None:
    if message is None:
        assert "count to it: a/masks/1.png" in layout_of(*names).notes[0]
        return
    with pytest.raises(SourceError, match=message):
        layout_of(*names)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (1, {"train": {"animal": 2, "thing": 1}}),
        (2, {"train": {"car": 1, "cat": 1, "dog": 1}}),
    ],
)
def test_the_class_level_decides(level: int, expected: dict[str, dict[str, int]]) -> None:
    names = ("animal/cat/1", "animal/dog/1", "thing/car/1")
    assert classes_of(*names, class_level=level) == expected


def test_the_class_level_leaves_splits_to_be_found() -> None:
    names = ("bottle/train/good/1", "bottle/test/bad/1", "cable/train/good/1")
    assert classes_of(*names, class_level=1) == {
        "train": {"bottle": 1, "cable": 1}, "test": {"bottle": 1},
    }  # fmt: skip
    assert classes_of(*names, class_level=3) == {"train": {"good": 2}, "test": {"bad": 1}}
    with pytest.raises(SourceError, match=r"x/a/1\.png lies in no such split"):
        layout_of("train/a/1", "test/a/1", "x/a/1", class_level=2)
    with pytest.raises(SourceError, match="lies in 3 folders, but --class-level is 4"):
        layout_of(*names, class_level=4)


def test_a_folder_of_a_split_without_images_is_told() -> None:
    names = ["train/cat/1.png", "train/dog/1.png"]
    found = read_layout(names, [*folders_of(names), "test", "test/cat"], "DATA")
    assert isinstance(found, Layout)
    assert found.notes == ("test/ has no image that is read",)


def test_folders_without_images_where_classes_are_are_told() -> None:
    names = ["train/cat/1.png", "test/cat/1.png"]
    folders = [*folders_of(names), "train/dog", "test/fox", "docs", "train/cat/deep"]
    found = read_layout(names, folders, "DATA")
    assert isinstance(found, Layout)
    assert found.empty == ("train/dog",)
