"""Class names at their ends and in their Unicode form, and names of splits."""

import pytest

from accrete.data.sources.junk import junk_reason
from accrete.data.sources.names import ClassNames
from accrete.data.sources.split_names import split_of_name
from accrete.errors import LabelError


def test_blanks_at_the_ends_are_left_out_and_told() -> None:
    names = ClassNames("DATA")
    assert [names.clean(name) for name in (" lead", "trail ", "a b", "\u00a0x\u3000")] == [
        "lead", "trail", "a b", "x",
    ]  # fmt: skip
    assert "' lead', 'trail ', '\\xa0x\\u3000'" in names.notes()[0]


def test_two_spellings_in_unicode_are_one_class() -> None:
    names = ClassNames("DATA")
    assert names.clean("cafe\u0301") == names.clean("caf\u00e9") == "caf\u00e9"
    assert names.notes() == ("class names are in Unicode's composed form (NFC): 'café'",)


@pytest.mark.parametrize("names", [(" cat", "cat"), ("cat", "cat "), (" cat", "cat\t")])
def test_names_that_are_equal_without_blanks_are_refused(names: tuple[str, str]) -> None:
    cleaner = ClassNames("DATA")
    cleaner.clean(names[0])
    with pytest.raises(LabelError, match=r"DATA has classes .* which differ in blanks at their"):
        cleaner.clean(names[1])


def test_the_same_name_again_is_the_same() -> None:
    names = ClassNames("DATA")
    assert [names.clean(name) for name in ("cat", " dog", "cat", " dog")] == [
        "cat", "dog", "cat", "dog",
    ]  # fmt: skip


@pytest.mark.parametrize("name", [" ", "", "\t", "a\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(LabelError):
        ClassNames("DATA").clean(name)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("TRAIN", "train"), ("TrainSet", "train"), ("train2017", "train"),
        ("my-training.data", "train"), ("trainval", "train"), ("val_images", "validation"),
        ("dev", "validation"), ("t10k-test", "test"), ("evaluation", "test"),
        ("strain", None), ("latest", None), ("valley", None), ("devon", None), ("contest", None),
        ("train_test", None), ("", None), ("extra", None),
    ],
)  # fmt: skip
def test_words_tell_splits(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("a/1.png", None), ("a/.hidden.png", "hidden"), (".git/a/1.png", "hidden"),
        ("__MACOSX/a/._1.png", "__MACOSX"), ("a/@eaDir/1.png/x.jpg", "@eaDir"),
        ("$RECYCLE.BIN/1.png", "$RECYCLE.BIN"), ("a/Thumbs.db", "Thumbs.db"),
        ("a/thumbs.DB", "thumbs.DB"), ("a/._x.png", "hidden"), ("a/desktop.ini", "desktop.ini"),
        ("System Volume Information/x", "System Volume Information"), ("recycle/1.png", None),
    ],
)  # fmt: skip
def test_what_systems_make_is_told_apart(path: str, reason: str | None) -> None:
    assert junk_reason(path.split("/")) == reason
