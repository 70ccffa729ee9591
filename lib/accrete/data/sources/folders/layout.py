"""Which folder of an image's path is its split and which its class: from names alone. Pure.

People keep images as `<class>/<image>`, as `train/<class>/<image>` beside `test/`, below a folder
or several that an archive made, or with the splits inside of each class. A tree that could be two
of these is refused with both readings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accrete.data.sources.split_names import split_of_name
from accrete.errors import SourceError

GENERIC = frozenset(
    (
        "images",
        "image",
        "imgs",
        "img",
        "photos",
        "pictures",
        "pics",
        "data",
        "dataset",
        "jpg",
        "png",
    )
)
"""Names that a folder of images of no class has, in lower case."""

Dirs = tuple[str, ...]
"""The folders of an image's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a tree of images is understood."""

    entries: tuple[tuple[str, str, str], ...]
    """(split, class, file) of each image, sorted by file."""
    text: str
    """It in words."""
    unlabelled: tuple[str, ...] = ()
    """Images of splits that have no class folders."""
    empty: tuple[str, ...] = ()
    """Training folders where classes are, without an image."""
    notes: tuple[str, ...] = ()
    """What else somebody should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatLayout:
    """Images that lie in no class folder."""

    files: Mapping[str, tuple[str, ...]]
    """By split; `train` where there is none."""
    heads: Mapping[str, str]
    """Of each file: the part of its name up to its split folder, with its `/`."""
    text: str
    """It in words."""


def read_layout(
    names: Sequence[str],
    folders: Sequence[str],
    root: str,
    *,
    class_level: int | None = None,
) -> Layout | FlatLayout:
    """Return how a tree of images is understood.

    Args:
        names: of all images, with `/` between their parts; at least one.
        folders: of all folders, empty ones too.
        root: what they lie below, for errors.
        class_level: which folder is the class, counted from 1; None: found.

    Raises:
        SourceError: it could be read in two ways, or some images lie in no class folder; says what
            to do.
    """
    tree = _Tree(sorted(names), folders, root)
    if class_level is not None:
        return tree.at_level(class_level)
    common = _common([dirs for _, dirs in tree.images])
    tops = {dirs[len(common)] for _, dirs in tree.images if len(dirs) > len(common)}
    splits = {top: split for top in tops if (split := split_of_name(top)) is not None}
    if "train" in splits.values() and tree.is_deeper(len(common), splits):
        return tree.with_splits(len(common), splits)
    if tops and len(splits) == len(tops):
        return tree.flat(len(common), splits)
    if tops and tree.is_split_at(len(common) + 1):
        return tree.with_splits_inside(len(common))
    tree.check_no_split_at(len(common) + 1)
    for level in reversed(range(len(common))):
        if split_of_name(common[level]) == "train":
            return tree.with_train_alone(level, has_classes=bool(tops) or level + 1 < len(common))
    return tree.of_classes(common)


def _common(paths: Sequence[Dirs]) -> Dirs:
    """Return the folders that all paths begin with."""
    first, last = min(paths), max(paths)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return first[:length]


class _Tree:
    """Images and their folders, with the errors that are about them."""

    def __init__(self, names: Sequence[str], folders: Sequence[str], root: str) -> None:
        self.images: list[tuple[str, Dirs]] = [(n, tuple(n.split("/")[:-1])) for n in names]
        self._folders = [tuple(folder.split("/")) for folder in folders]
        self._root = root

    def is_deeper(self, level: int, splits: Mapping[str, str]) -> bool:
        """Return whether a training folder at a level has folders with images in it."""
        return any(
            len(dirs) > level + 1 and splits.get(dirs[level]) == "train" for _, dirs in self.images
        )

    def is_split_at(self, level: int) -> bool:
        """Return whether the folders at a level are splits, of every image, and one is to train."""
        found = {split_of_name(d[level]) if len(d) > level else None for _, d in self.images}
        return None not in found and "train" in found

    def check_no_split_at(self, level: int) -> None:
        """Refuse a level at which some images' folders are splits, to train and others.

        Raises:
            SourceError: names an image that lies in none.
        """
        splits = {d[level]: split_of_name(d[level]) for _, d in self.images if len(d) > level}
        told = {split for split in splits.values() if split is not None}
        if "train" not in told or len(told) < 2:
            return
        stray = next(
            (name for name, d in self.images if len(d) <= level or splits[d[level]] is None), None
        )
        if stray is not None:
            shown = _list(folder for folder, split in splits.items() if split)
            raise SourceError(
                f"{self._root} has {shown} at folder {level + 1} of images' paths, but "
                f"{stray} lies in no such split: leave it out with --exclude {stray!r}, or say "
                f"with --class-level which folder is the class"
            )

    def flat(self, level: int, splits: Mapping[str, str]) -> FlatLayout:
        """Return images that lie in split folders at a level, in no class folder.

        Raises:
            SourceError: they do lie in folders there, but none are to train on.
        """
        deeper = next((name for name, dirs in self.images if len(dirs) != level + 1), None)
        if deeper is not None:
            raise SourceError(
                f"{self._root} has {_list(splits)} for splits, but none with classes to train on: "
                f"{deeper} lies in another way; name the training folder train, or say "
                "--class-level if these are classes"
            )
        files: dict[str, list[str]] = {}
        heads = {}
        for name, dirs in self.images:
            files.setdefault(splits[dirs[level]], []).append(name)
            heads[name] = "/".join(dirs[: level + 1]) + "/"
        return FlatLayout(
            files={split: tuple(names) for split, names in files.items()},
            heads=heads,
            text=f"images in {_list(splits)}{self._below(self.images[0][1][:level])}",
        )

    def with_train_alone(self, level: int, *, has_classes: bool) -> Layout | FlatLayout:
        """Return a layout of one training folder, with class folders in it or without."""
        splits = {self.images[0][1][level]: "train"}
        return self.with_splits(level, splits) if has_classes else self.flat(level, splits)

    def without_folders(self, common: Dirs) -> FlatLayout:
        """Return images of one folder that is no class."""
        head = "/".join(common) + "/" if common else ""
        return FlatLayout(
            files={"train": tuple(name for name, _ in self.images)},
            heads={name: head for name, _ in self.images},
            text=f"images in one folder{self._below(common)}",
        )

    def with_splits(self, level: int, splits: Mapping[str, str]) -> Layout:
        """Return a layout of split folders at a level, with class folders in them."""
        by_split: dict[str, list[tuple[str, Dirs]]] = {top: [] for top in splits}
        for name, dirs in self.images:
            if len(dirs) <= level:
                raise self._stray(name)
            if dirs[level] not in splits:
                beside = "/".join(dirs[: level + 1])
                raise SourceError(
                    f"{self._root}/{beside} lies beside {_list(splits)} but is no split: leave it "
                    f"out with --exclude {beside!r}, rename it, or say --class-level "
                    f"{level + 1} if all of these are classes"
                )
            by_split[dirs[level]].append((name, dirs[level + 1 :]))
        train = [
            image for top, split in splits.items() if split == "train" for image in by_split[top]
        ]
        depth = self._class_depth(train, level + 1)
        classes = {dirs[depth] for _, dirs in train if len(dirs) > depth}
        entries, unlabelled = [], []
        for top, images in by_split.items():
            split = splits[top]
            own = depth if split == "train" else _depth_of_classes(images, classes, depth)
            if split != "train" and _has_no_classes(images, own, classes):
                unlabelled += [name for name, _ in images]
                continue
            for name, dirs in images:
                if len(dirs) <= own:
                    raise self._stray(name)
                entries.append((split, dirs[own], name))
        text = f"{_list(splits)}{self._below(self.images[0][1][:level])}, a folder a class"
        return Layout(
            entries=tuple(sorted(entries, key=lambda entry: entry[2])),
            text=text,
            unlabelled=tuple(unlabelled),
            empty=self._empty_folders(level + 1 + depth, splits),
            notes=(*self._depth_notes(train, depth), *self._empty_splits(level, splits)),
        )

    def with_splits_inside(self, level: int) -> Layout:
        """Return a layout of class folders at a level, with split folders in them."""
        entries = []
        for name, dirs in self.images:
            if len(dirs) != level + 2:
                raise SourceError(
                    f"{self._root} can be read in two ways: {name}, in the split "
                    f"{dirs[level + 1]}/, is of class {dirs[level]!r} (--class-level {level + 1}) "
                    f"or of {dirs[-1]!r} (--class-level {len(dirs)}): say which"
                )
            split = split_of_name(dirs[level + 1])
            assert split is not None
            entries.append((split, dirs[level], name))
        below = self._below(self.images[0][1][:level])
        return Layout(
            entries=tuple(entries),
            text=f"a folder a class, with train and test folders in each{below}",
            empty=self._empty_folders(level),
        )

    def of_classes(self, common: Dirs) -> Layout | FlatLayout:
        """Return a layout of class folders without splits, or of no folders."""
        if all(len(dirs) == len(common) for _, dirs in self.images):  # one folder has them all
            if not common or common[-1].lower() in GENERIC:
                return self.without_folders(common)
            common = common[:-1]
        level = len(common)
        for name, dirs in self.images:
            if len(dirs) <= level:
                raise self._stray(name)
        below = [(name, dirs[level:]) for name, dirs in self.images]
        self._class_depth(below, level)
        return Layout(
            entries=tuple(("train", dirs[0], name) for name, dirs in below),
            text=f"a folder a class{self._below(common)}",
            empty=self._empty_folders(level),
            notes=self._depth_notes(below, 0),
        )

    def at_level(self, class_level: int) -> Layout:
        """Return a layout whose class folder is known; a level of splits is looked for."""
        for name, dirs in self.images:
            if len(dirs) < class_level:
                raise SourceError(
                    f"{self._root}/{name} lies in {len(dirs)} folders, but --class-level is "
                    f"{class_level}: give the level that all images have, or leave it out with "
                    f"--exclude {name!r}"
                )
        levels = [*range(class_level - 1), class_level]
        split_level = next((level for level in levels if self.is_split_at(level)), None)
        for level in levels if split_level is None else ():
            self.check_no_split_at(level)
        entries = []
        for name, dirs in self.images:
            split = None if split_level is None else split_of_name(dirs[split_level])
            entries.append((split or "train", dirs[class_level - 1], name))
        where = "" if split_level is None else f", splits by folder {split_level + 1}"
        return Layout(entries=tuple(entries), text=f"classes by folder {class_level}{where}")

    def _class_depth(self, images: Sequence[tuple[str, Dirs]], level: int) -> int:
        """Return how many folders lie above the class folder, of images of one split.

        Raises:
            SourceError: the first or the deepest folders could be the classes.
        """
        with_folders = [dirs for _, dirs in images if dirs]
        common = _common(with_folders)
        depth = min(len(common), min(map(len, with_folders)) - 1)
        rest = [dirs[depth:] for dirs in with_folders]
        deeper = {dirs[0] for dirs in rest if len(dirs) > 1}
        direct = {dirs[0] for dirs in rest if len(dirs) == 1}
        leaves = {dirs[-1] for dirs in rest}
        below = {part.lower() for dirs in rest for part in dirs[1:]}
        if deeper <= direct or below <= GENERIC:
            return depth
        tops = {dirs[0] for dirs in rest}
        first, deepest = level + depth + 1, level + depth + max(map(len, rest))
        raise SourceError(
            f"{self._root} can be read in two ways: {_classes(tops)} by the first folder "
            f"(--class-level {first}), or {_classes(leaves)} by the deepest "
            f"(--class-level {deepest}): say which"
        )

    def _depth_notes(self, images: Sequence[tuple[str, Dirs]], depth: int) -> tuple[str, ...]:
        deeper = [name for name, dirs in images if len(dirs) > depth + 1]
        if not deeper:
            return ()
        return (
            f"{len(deeper):,} images lie in folders below their class's, and count to it: "
            f"{deeper[0]}",
        )

    def _empty_splits(self, level: int, splits: Mapping[str, str]) -> tuple[str, ...]:
        """Return notes on folders beside those of splits that have a split's name and no image."""
        beside = {tuple(dirs[:level]) for _, dirs in self.images}
        found = sorted(
            dirs[level]
            for dirs in self._folders
            if len(dirs) == level + 1 and dirs[:level] in beside and dirs[level] not in splits
        )
        return tuple(f"{name}/ has no image that is read" for name in found if split_of_name(name))

    def _empty_folders(
        self, class_at: int, splits: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """Return the folders that lie where classes to train on do, without an image."""
        train = [dirs[: class_at + 1] for _, dirs in self.images if len(dirs) > class_at]
        if splits is not None:
            train = [dirs for dirs in train if any(splits.get(d) == "train" for d in dirs[:-1])]
        classes, parents = set(train), {dirs[:-1] for dirs in train}
        return tuple(
            "/".join(dirs) for dirs in self._folders if dirs[:-1] in parents and dirs not in classes
        )

    def _stray(self, name: str) -> SourceError:
        return SourceError(
            f"{self._root}/{name} lies in no class folder: move it into one, or leave it out with "
            f"--exclude {name!r}"
        )

    def _below(self, common: Sequence[str]) -> str:
        return f" below {'/'.join(common)}/" if common else ""


def _depth_of_classes(images: Sequence[tuple[str, Dirs]], classes: set[str], depth: int) -> int:
    """Return at which level a split has the training classes: another archive may wrap it."""
    longest = max((len(dirs) for _, dirs in images), default=0)
    levels = [depth, *(level for level in range(longest) if level != depth)]
    return next(
        (
            level
            for level in levels
            if any(len(dirs) > level and dirs[level] in classes for _, dirs in images)
        ),
        depth,
    )


def _has_no_classes(images: Sequence[tuple[str, Dirs]], level: int, classes: set[str]) -> bool:
    """Return whether all images of a split lie in it directly, or in one folder such as images/."""
    found = {dirs[level] if len(dirs) > level else "" for _, dirs in images}
    return len(found) == 1 and not found & classes and (found | GENERIC == GENERIC or found == {""})


def _list(names: object) -> str:
    found = sorted(f"{name}/" for name in names)  # type: ignore[attr-defined]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"


def _classes(names: object) -> str:
    found = sorted(names)  # type: ignore[call-overload]
    shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
    return f"{len(found):,} classes ({shown})"
