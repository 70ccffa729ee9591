"""Which files of a folder are a set in MNIST's format: images and labels of each split."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from accrete.errors import SourceError

_KIND = re.compile(r"(images?|labels?)[-_. ]*idx[134](?:[-_. ]*ubyte)?(?:\.gz)?", re.IGNORECASE)
_KINDS = {b"\0\0\x08\3": "images", b"\0\0\x08\4": "images", b"\0\0\x08\1": "labels"}
"""What a file of bytes begins with, of three, four and one dimensions."""

_TELLING = re.compile(r"images?|labels?|mnist|idx|ubyte", re.IGNORECASE)
_BARE_ENDINGS = (".bin", ".idx", ".dat", ".ubyte")
_UNTOLD = re.compile(
    r"images?|labels?|ubyte|idx[0-9]?|(?<![a-z])(?:imgs?|lbls?|data|targets?|[xy])(?![a-z])",
    re.IGNORECASE,
)
"""Words that tell images from labels, and nothing of the set."""

_END = re.compile(r"[-_. ]*$")
_SPLIT = re.compile(
    r"(?<![a-z0-9])(?:(train(?:ing)?)|(t10k|test(?:ing)?|eval(?:uation)?)|(val(?:id(?:ation)?)?|dev))"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
_SPLITS = ("train", "test", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A split's two files."""

    images: str
    """File of images."""
    labels: str
    """File of labels."""


@dataclass(slots=True)
class _Part:
    split: str
    files: dict[str, list[str]] = field(default_factory=dict)


def is_idx_name(name: str) -> bool:
    """Return whether a file is named as images or labels in MNIST's format are."""
    return _KIND.fullmatch(_base_tail(name)) is not None


def may_be_idx(name: str) -> bool:
    """Return whether a file of another name may be in MNIST's format all the same."""
    base = name.rpartition("/")[2].lower()
    if base.startswith(".") or base.endswith((".tar.gz", ".tgz")):
        return False
    return _TELLING.search(base) is not None or base.endswith((*_BARE_ENDINGS, ".gz"))


def idx_kind_of(head: bytes) -> str | None:
    """Return what a file has by its first four bytes: images or labels, None: it is none."""
    return _KINDS.get(head[:4])


def _base_tail(name: str) -> str:
    """Return what a file's name has from `images` or `labels` on; the name where it has none."""
    base = name.rpartition("/")[2]
    found = None if base.startswith(".") else _KIND.search(base)
    return base[found.start() :] if found else base


def pairs(
    names: Iterable[str], root: str, kinds: Mapping[str, str] | None = None
) -> tuple[dict[str, Pair], list[str]]:
    """Return the files of each split, and those that are the same as others, but packed.

    Args:
        names: of files that `is_idx_name` holds for, or of other names.
        root: where they lie, for errors.
        kinds: images or labels of each, where names do not tell.

    Raises:
        SourceError: there are several sets, a file without its partner, or no training images.
    """
    sets: dict[str, dict[str, _Part]] = {}
    packed: list[str] = []
    for name in sorted(names):
        if kinds is None:
            stem = name[: len(name) - len(_base_tail(name))]
            kind = "images" if _base_tail(name).lower().startswith("image") else "labels"
        else:
            stem, kind = _stem(name), kinds[name]
        title, split = _parsed(stem)
        part = sets.setdefault(title, {}).setdefault(split, _Part(split))
        same = part.files.setdefault(kind, [])
        if same and name == f"{same[0]}.gz":
            packed.append(name)
        else:
            same.append(name)
    if len(sets) > 1:
        _refuse_several(list(sets), root)
    (parts,) = sets.values()
    found = {part.split: _pair(part, root) for part in parts.values()}
    if len(found) == 1:
        found = dict.fromkeys(("train",), *found.values())
    if "train" not in found:
        raise SourceError(
            f"{root} has files of {' and '.join(found)}, none of train: add "
            "train-images-idx3-ubyte and train-labels-idx1-ubyte"
        )
    if "validation" in found and "test" not in found:
        found["test"] = found.pop("validation")
    return {split: found[split] for split in _SPLITS if split in found}, packed


def _stem(name: str) -> str:
    """Return what is left of a name without its ending and the words for images and labels."""
    folder, stroke, base = name.rpartition("/")
    path = PurePosixPath(base.removesuffix(".gz"))
    bare = path.stem if path.suffix.lower() in _BARE_ENDINGS else path.name
    return folder + stroke + re.sub(r"[-_. ]+", "-", _UNTOLD.sub("", bare.replace("_", "-")))


def _parsed(stem: str) -> tuple[str, str]:
    """Return what a set is called, and the split, `train` where no word tells one."""
    words = list(_SPLIT.finditer(stem))
    if not words:
        return _END.sub("", stem), "train"
    word = words[-1]
    split = next(name for name, group in zip(_SPLITS, word.groups(), strict=True) if group)
    return _END.sub("", stem[: word.start()]) + "|" + _END.sub("", stem[word.end() :]), split


def _pair(part: _Part, root: str) -> Pair:
    for kind, other in (("images", "labels"), ("labels", "images")):
        same = part.files.get(kind, [])
        if len(same) > 1:
            raise SourceError(
                f"{root} has {same[0]} and {same[1]} as the {kind} of split {part.split}: "
                "leave one out with --exclude"
            )
        if not same:
            there = part.files[other][0]
            raise SourceError(
                f"{root}/{there} is there without its {kind}: add the file of that name with "
                f"{kind} for {other}, or leave this one out with --exclude"
            )
    return Pair(images=part.files["images"][0], labels=part.files["labels"][0])


def _refuse_several(titles: list[str], root: str) -> None:
    shown = [_END.sub("", title.replace("|", "").rpartition("/")[2]) or title for title in titles]
    if len(set(shown)) < len(shown):
        shown = [title.replace("|", "") for title in titles]
    others = ",".join(f"*{title}*" for title in shown[1:])
    raise SourceError(
        f"{root} has {len(titles)} sets of images: {', '.join(shown[:10])}; leave all but one out, "
        f"such as with --exclude '{others[:200]}'"
    )
