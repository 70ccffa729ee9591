"""Image folders as a source: classes, splits, what they refuse."""

from pathlib import Path

import pytest
from source_sample import entries_of, open_folder, write_files

from accrete.errors import EmptyClassError, SourceError


def test_image_folder_takes_each_folder_for_a_class(tmp_path: Path) -> None:
    write_files(tmp_path, {"dog/1.png": 3, "cat/b.PNG": 2, "cat/a.jpeg": 1, "cat/deep/c.webp": 4})
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    source = open_folder(tmp_path)
    assert source.counts() == {"train": {"cat": 3, "dog": 1}}
    assert entries_of(source) == [
        ("train", "cat", 1),
        ("train", "cat", 2),
        ("train", "cat", 4),
        ("train", "dog", 3),
    ]
    assert next(iter(source.items())).place == f"{tmp_path}/cat/a.jpeg"


@pytest.mark.parametrize("names", [("train", "test", "val"), ("Train", "Testing", "VALIDATION")])
def test_image_folder_uses_its_split_folders(tmp_path: Path, names: tuple[str, str, str]) -> None:
    train, test, validation = names
    write_files(
        tmp_path,
        {
            f"{train}/cat/1.png": 1,
            f"{train}/dog/1.png": 2,
            f"{test}/cat/1.png": 3,
            f"{validation}/dog/1.png": 4,
        },
    )
    source = open_folder(tmp_path)
    assert source.counts() == {
        "train": {"cat": 1, "dog": 1},
        "test": {"cat": 1, "dog": 0},
        "validation": {"cat": 0, "dog": 1},
    }
    assert sorted(entries_of(source)) == [
        ("test", "cat", 3),
        ("train", "cat", 1),
        ("train", "dog", 2),
        ("validation", "dog", 4),
    ]


def test_image_folder_takes_a_lone_validation_folder_for_the_test_split(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/cat/1.png": 1, "val/cat/1.png": 2})
    assert open_folder(tmp_path).counts() == {"train": {"cat": 1}, "test": {"cat": 1}}


def test_image_folder_may_have_a_class_named_train(tmp_path: Path) -> None:
    # CIFAR-100 has one.
    write_files(tmp_path, {"tractor/1.png": 1, "train/1.png": 2, "train/2.png": 3})
    assert open_folder(tmp_path).counts() == {"train": {"tractor": 1, "train": 2}}


@pytest.mark.parametrize("name", ["train", "training"])
def test_image_folder_takes_either_name_of_the_training_folder(tmp_path: Path, name: str) -> None:
    write_files(tmp_path, {f"{name}/cat/1.png": 1, "test/cat/1.png": 2})
    assert open_folder(tmp_path).counts() == {"train": {"cat": 1}, "test": {"cat": 1}}


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_image_folder_refuses_an_empty_class_folder(tmp_path: Path, prefix: str) -> None:
    write_files(tmp_path, {f"{prefix}cat/1.png": 1})
    (tmp_path / prefix / "dog").mkdir()
    with pytest.raises(EmptyClassError, match=r"class 'dog' of .* has no training image"):
        open_folder(tmp_path).counts()


@pytest.mark.parametrize(
    ("good", "bad"),
    [("cat/1.png", "2.png"), ("train/cat/1.png", "train/2.png"), ("train/cat/1.png", "2.png")],
)
def test_image_folder_refuses_a_file_outside_class_folders(
    tmp_path: Path, good: str, bad: str
) -> None:
    write_files(tmp_path, {good: 1, bad: 2})
    with pytest.raises(SourceError, match=rf"{bad} lies in no class folder"):
        open_folder(tmp_path)


def test_image_folder_refuses_an_unknown_folder_beside_train(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/cat/1.png": 1, "extra/cat/1.png": 2})
    with pytest.raises(SourceError, match="extra lies beside train/ but is no split"):
        open_folder(tmp_path)


def test_image_folder_refuses_a_test_class_without_training_images(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/cat/1.png": 1, "test/fox/1.png": 2})
    with pytest.raises(EmptyClassError, match=r"class 'fox' of .* has images to test on but"):
        open_folder(tmp_path).counts()


def test_image_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    with pytest.raises(SourceError, match=r"holds no image among its only file \(\.txt ×1\)"):
        open_folder(tmp_path)


def test_image_folder_fingerprint_changes_with_content_name_and_class(tmp_path: Path) -> None:
    variants: list[dict[str, int]] = [
        {"cat/1.png": 1, "dog/1.png": 2},
        {"cat/1.png": 1, "dog/1.png": 3},
        {"cat/1.png": 1, "dog/2.png": 2},
        {"cat/1.png": 1, "fox/1.png": 2},
        {"cat/1.png": 1, "dog/1.png": 2, "dog/2.png": 2},
        {"train/cat/1.png": 1, "train/dog/1.png": 2},
    ]
    prints = []
    for number, variant in enumerate(variants):
        write_files(tmp_path / str(number), variant)
        prints.append(open_folder(tmp_path / str(number)).fingerprint())
    assert len(set(prints)) == len(variants)
    write_files(tmp_path / "moved", dict(reversed(variants[0].items())))
    assert open_folder(tmp_path / "moved").fingerprint() == prints[0]
