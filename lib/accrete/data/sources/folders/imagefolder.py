"""Image folders: a folder a class, with or without splits; see layout.py for how they may lie."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data.images import image_suffixes, looks_like_image
from accrete.data.sources.base import Counts, Item, LeftOut, Reading, evenly, reasons
from accrete.data.sources.files import Files, tags
from accrete.data.sources.folders.layout import FlatLayout, Layout, read_layout
from accrete.data.sources.names import ClassNames
from accrete.data.sources.split_names import sole_splits
from accrete.errors import SourceError

_HEAD_BYTES = 32

_ARCHIVES = frozenset((".zip", ".rar", ".7z", ".gz", ".tgz", ".tar", ".bz2", ".xz"))

_NUMBERED = "^(.+?)[-_. ]*[0-9]+[.]"
"""Names such as cat.0.jpg and american_bulldog_12.jpg."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """The images among some files, and why the others are none."""

    names: tuple[str, ...]
    """Sorted."""
    left_out: tuple[LeftOut, ...]
    """The others."""


def images_among(files: Files) -> ImageFiles:
    """Return the image files of a location, by their names' endings; without one, by content.

    What a file is inside shows when it is decoded; empty files are left out.
    """
    suffixes = image_suffixes()
    names, left_out = [], list(files.left_out())
    for name in files.names():
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in suffixes or not suffix:
            reason = None if files.size(name) else "empty"
            if reason is None and not suffix and not _has_image_head(files, name):
                reason = "no ending"
        else:
            reason = suffix
        if reason is None:
            names.append(name)
        else:
            left_out.append(LeftOut(place=name, reason=reason))
    return ImageFiles(names=tuple(names), left_out=tuple(left_out))


def _has_image_head(files: Files, name: str) -> bool:
    with files.open(name) as file:
        return looks_like_image(file.read(_HEAD_BYTES))


class ImageFolderSource:
    """Image files whose class and split their folders tell, or a pattern of their names."""

    def __init__(
        self,
        config: SourceConfig,
        files: Files,
        found: ImageFiles,
        layout: Layout | FlatLayout,
    ) -> None:
        """Take the classes from a tree of images.

        Args:
            config: the source.
            files: what lies there.
            found: the images among it.
            layout: how they lie.

        Raises:
            SourceError: they lie in no class folders, and no pattern tells their classes.
        """
        self._files = files
        self._names = ClassNames(files.root)
        self._left_out = list(found.left_out)
        self._layout = _with_classes(layout, config.label_pattern, files.root)
        self._left_out += [
            LeftOut(place=name, reason="no label") for name in self._layout.unlabelled
        ]
        splits = sole_splits({split for split, _, _ in self._layout.entries})
        self._entries = [
            (splits[split], self._names.clean(class_name), name)
            for split, class_name, name in self._layout.entries
        ]

    def counts(self) -> Counts:
        """Return the files of each class, and zero of classes whose folder has no image."""
        empty = [self._names.clean(PurePosixPath(folder).name) for folder in self._layout.empty]
        found = {class_name for _, class_name, _ in self._entries}
        classes = sorted(found | set(empty))
        splits = ["train", *sorted({split for split, _, _ in self._entries} - {"train"})]
        counts = {split: dict.fromkeys(classes, 0) for split in splits}
        for split, class_name, _ in self._entries:
            counts[split][class_name] += 1
        return counts

    def reading(self) -> Reading:
        """Return how the tree was understood."""
        notes = [*self._layout.notes, *self._names.notes()]
        if self._layout.unlabelled:
            first = self._layout.unlabelled[0]
            notes.append(
                f"{len(self._layout.unlabelled):,} images lie in no class folder of their split, "
                f"so they have no label and are left out: {first}"
            )
        return Reading(
            layout=self._layout.text,
            num_files=len(self._entries) + len(self._left_out),
            left_out=tuple(self._left_out),
            notes=tuple(notes),
        )

    def fingerprint(self) -> str:
        """Return a digest of names, classes and contents."""
        names = [name for _, _, name in self._entries]
        return sha256_of_json([self._entries, tags(self._files, names)])

    def fingerprint_of(self, class_names: Collection[str]) -> str:
        """Return a digest of names and contents of some classes alone."""
        entries = [entry for entry in self._entries if entry[1] in class_names]
        return sha256_of_json([entries, tags(self._files, [name for _, _, name in entries])])

    def items(self) -> Iterator[Item]:
        """Yield the files, sorted by name."""
        for split, class_name, name in self._entries:
            yield Item(
                place=f"{self._files.root.rstrip('/')}/{name}",
                class_name=class_name,
                split=split,
                load=partial(self._files.read, name),
                peek=partial(self._files.head, name),
            )

    def sample(self, most: int) -> Sequence[Item]:
        """Return some images from all over."""
        return evenly(list(self.items()), most)


def layout_of(files: Files, found: ImageFiles, class_level: int | None) -> Layout | FlatLayout:
    """Return how the images of a location lie.

    Raises:
        SourceError: there are none, or they lie in a way that can be read in two.
    """
    if not found.names:
        raise SourceError(f"--data {files.root} holds no image{_what_else(found.left_out)}")
    return read_layout(found.names, files.folders(), files.root, class_level=class_level)


def _with_classes(layout: Layout | FlatLayout, pattern: str | None, root: str) -> Layout:
    """Return a layout with classes: of folders, or those that a pattern finds.

    Raises:
        SourceError: there are neither, or both.
    """
    if isinstance(layout, Layout):
        if pattern is not None:
            raise SourceError(
                f"--label-pattern has no effect on {root}, whose images lie in class folders "
                f"({layout.text}): leave it out"
            )
        return layout
    if pattern is None:
        raise SourceError(_flat_text(layout, root))
    return _by_pattern(layout, pattern, root)


def _what_else(left_out: Sequence[LeftOut]) -> str:
    """Return what files there are instead of images, for an error."""
    if not left_out:
        return ": it is empty; it needs <class>/<image> or train/<class>/<image>"
    files = f"{len(left_out):,} files" if len(left_out) > 1 else "only file"
    found = {file.reason for file in left_out}
    advice = "give the folder of the images"
    if found & {".heic", ".heif", ".hif"}:
        advice = "pip install 'accrete[heif]' reads HEIC images"
    elif found & _ARCHIVES:
        advice = "unpack the archive, and give its folder"
    return f" among its {files} ({reasons(left_out)}): {advice}"


def _flat_text(layout: FlatLayout, root: str) -> str:
    """Return what is wrong with images in no class folder, and what to do."""
    names = [PurePosixPath(name).name for name in layout.files.get("train", ())]
    first = names[0] if names else "its images"
    hint = ""
    found = [re.search(_NUMBERED, name) for name in names]
    classes = {match[1] for match in found if match}
    if all(found) and 1 < len(classes) <= len(names) / 2:
        hint = f" --label-pattern '{_NUMBERED}' if the class is in the name, as in {first};"
    return (
        f"{root} has {layout.text}, in no class folders ({first}): move each into a folder named "
        f"as its class, or give{hint} --source csv with a table of their names and labels beside"
    )


def _by_pattern(layout: FlatLayout, pattern: str, root: str) -> Layout:
    """Return the classes that a pattern finds in files' names, below their split's folder.

    Raises:
        SourceError: it finds none in a training image's name, or in some test image's only.
    """
    compiled = re.compile(pattern)
    entries: list[tuple[str, str, str]] = []
    unlabelled: list[str] = []
    for split, names in layout.files.items():
        found = {name: compiled.search(name.removeprefix(layout.heads[name])) for name in names}
        missing = [name for name, match in found.items() if match is None or not match[1]]
        if missing and (split == "train" or len(missing) < len(names)):
            raise SourceError(
                f"--label-pattern {pattern!r} finds no class in {root}/{missing[0]}, nor in "
                f"{len(missing) - 1:,} others of {len(names):,}: change it, or leave files out "
                "with --exclude"
            )
        unlabelled += missing
        entries += [(split, match[1], name) for name, match in found.items() if match and match[1]]
    return Layout(
        entries=tuple(sorted(entries, key=lambda entry: entry[2])),
        text=f"{layout.text}, classes by the pattern {pattern!r} in their names",
        unlabelled=tuple(unlabelled),
    )
