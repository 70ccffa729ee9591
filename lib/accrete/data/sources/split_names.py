"""Names that data sets give their splits, in folders and in files. Pure."""

import re
from collections.abc import Collection

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "trn": "train",
    "tst": "test",
    "vld": "validation",
}
"""Those of the Hugging Face Hub, short ones, and `trainval` of PASCAL VOC's descendants."""

_TAIL = re.compile("sets?|data|imgs?|images?|pics|photos|samples?|split|folder|dir")
"""What is written in one with a split's word: `trainset`, `testdata`."""

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[a-z]+")


def words(text: str) -> list[str]:
    """Return the words of a name in lower case: `TrainSet_2017` has `train` and `set`."""
    return _WORD.findall(_CAMEL.sub("_", text).lower())


def split_of_name(text: str) -> str | None:
    """Return the split that a folder's or file's name tells: None where it tells none, or two.

    A keyword counts where it is a word of its own, as on the Hugging Face Hub: delimited by
    anything but letters, or written in capitals after small letters.
    """
    found = splits_in(text)
    return found.pop() if len(found) == 1 else None


def split_of_folders(path: str) -> str | None:
    """Return the split that the nearest of a path's folders tells, None where none does."""
    folders = reversed(path.split("/")[:-1])
    return next((split for part in folders if (split := split_of_name(part))), None)


def splits_in(text: str) -> set[str]:
    """Return all splits that words of a name tell."""
    return {
        split
        for word in words(text)
        for key, split in SPLIT_WORDS.items()
        if word == key or (word.startswith(key) and _TAIL.fullmatch(word.removeprefix(key)))
    }


def sole_splits(found: Collection[str]) -> dict[str, str]:
    """Return what each split that a source has is used as; a lone validation split is for testing.

    Several public sets, ImageNet among them, publish labels for `validation` only and are reported
    on it.
    """
    if "validation" in found and "test" not in found:
        return {split: "test" if split == "validation" else split for split in found}
    return {split: split for split in found}
