"""Image folders: `<class>/<file>`, or `train/<class>/<file>` beside `test/` and `validation/`."""

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data.sources.base import Counts, Item, check_classes
from accrete.data.sources.files import open_files, tags
from accrete.data.sources.split_names import SPLIT_NAMES, normalized_splits
from accrete.errors import LabelError, SourceError

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"))


class ImageFolderSource:
    """One folder a class; its name is the class's."""

    def __init__(self, config: SourceConfig) -> None:
        """List the folder.

        Raises:
            SourceError: no such folder, or no image in class folders.
        """
        self._files = open_files(config.location or "", EXTENSIONS)
        names = [n for n in self._files.names() if PurePosixPath(n).suffix.lower() in EXTENSIONS]
        # A class may be called "train": only train/<class>/<image> makes it a split.
        self._has_splits = any(_is_training_file(PurePosixPath(name).parts) for name in names)
        self._entries = [self._entry(name) for name in names]
        if not self._entries:
            raise SourceError(
                f"--data {config.location} holds no image in class folders: "
                "it needs <class>/<image> or train/<class>/<image>"
            )
        self._entries = normalized_splits(self._entries)

    def _entry(self, name: str) -> tuple[str, str, str]:
        """Return (split, class, file name)."""
        parts = PurePosixPath(name).parts
        depth = 2 if self._has_splits else 1
        if len(parts) <= depth:
            raise SourceError(
                f"{self._files.root}/{name} lies in no class folder: move it into one"
            )
        split = SPLIT_NAMES.get(parts[0].lower(), "") if self._has_splits else "train"
        if not split:
            raise SourceError(
                f"{self._files.root}/{parts[0]} lies beside train/ but is no split: "
                "use train, test and validation"
            )
        return split, parts[depth - 1], name

    def counts(self) -> Counts:
        """Return the files of each class folder."""
        train_classes = self._train_classes()
        counts: dict[str, dict[str, int]] = {}
        for split, class_name, file_name in self._entries:
            if class_name not in train_classes:
                raise LabelError(
                    f"{self._files.root}/{file_name} is of class {class_name!r}, "
                    "which has no training image: add some or remove the class"
                )
            of_split = counts.setdefault(split, dict.fromkeys(train_classes, 0))
            of_split[class_name] += 1
        check_classes(counts.get("train", {}), self._files.root)
        return counts

    def _train_classes(self) -> list[str]:
        """Return the class folders, empty ones too."""
        paths = [PurePosixPath(folder).parts for folder in self._files.folders()]
        folders = [parts for parts in paths if not any(part.startswith(".") for part in parts)]
        if not self._has_splits:
            return [parts[0] for parts in folders if len(parts) == 1]
        trains = [parts for parts in folders if SPLIT_NAMES.get(parts[0].lower()) == "train"]
        return [parts[1] for parts in trains if len(parts) == 2]

    def fingerprint(self) -> str:
        """Return a digest of names and contents."""
        names = [name for _, _, name in self._entries]
        return sha256_of_json([names, tags(self._files, names)])

    def items(self) -> Iterator[Item]:
        """Yield the files, sorted by name."""
        for split, class_name, name in self._entries:
            yield Item(
                place=f"{self._files.root.rstrip('/')}/{name}",
                class_name=class_name,
                split=split,
                load=partial(self._files.read, name),
            )


def _is_training_file(parts: tuple[str, ...]) -> bool:
    return len(parts) >= 3 and SPLIT_NAMES.get(parts[0].lower()) == "train"
