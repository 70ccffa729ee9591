"""Image files that a table names: found beside it, never outside of the source's folder."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from accrete.data.images import image_suffixes
from accrete.data.sources.files import Files
from accrete.data.sources.split_names import split_of_name
from accrete.errors import SourceError

_DRIVE = re.compile(r"[A-Za-z]:/")


class ImagesBeside:
    """Files of a source, found by what tables call them."""

    def __init__(self, root: str, around: Callable[[], Files]) -> None:
        """Search among the files of a folder or prefix, which are listed when they must be.

        Args:
            root: where the source's tables lie.
            around: lists it.
        """
        self._root = root
        self._around = around

    @cached_property
    def files(self) -> Files:
        """All files around the tables."""
        return self._around()

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.files.names())

    @cached_property
    def _by_end(self) -> dict[str, list[str]]:
        """Names of images by their last part in small letters, with and without its ending."""
        found: dict[str, list[str]] = {}
        for name in self._names:
            path = PurePosixPath(name.lower())
            if has_image_suffix(name) or not path.suffix:
                for key in {path.name, path.stem}:
                    found.setdefault(key, []).append(name)
        return found

    def find(self, path: str, table: str) -> str | None:
        """Return the file that a table's cell names, None where there is none.

        Tried in turn: the path from the table's folder, from the source's; then the only file whose
        path ends so, in letters of either case, with or without its ending; of several the one in
        the split of the table's name. Of an absolute path, as other machines have it, as much of
        its end as fits.
        """
        text = path.strip().replace("\\", "/")
        if "://" in text or not text or "\0" in text:
            return None
        is_absolute = text.startswith("/") or _DRIVE.match(text) is not None
        root = self._root if "://" in self._root else str(Path(self._root).expanduser().absolute())
        parts = [part for part in text.removeprefix(root).split("/") if part not in ("", ".")]
        while parts and parts[0] == "..":  # beside the table's folder, as lists often have it
            parts = parts[1:]
        if ".." in parts or not parts:
            return None
        for first in range(len(parts) if is_absolute else 1):
            name = self._find("/".join(parts[first:]), table)
            if name is not None:
                return name
        return None

    def _find(self, wanted: str, table: str) -> str | None:
        folder = str(PurePosixPath(table).parent)
        for name in (wanted if folder == "." else f"{folder}/{wanted}", wanted):
            if name in self._names:
                return name
        lower = f"/{wanted.lower()}"
        ends = [
            name
            for name in self._by_end.get(lower.rpartition("/")[2], ())
            if f"/{name.lower()}".endswith(lower)
            or f"/{name.lower().rpartition('.')[0]}".endswith(lower)
        ]
        stem = PurePosixPath(table).name.split(".")[0]
        split = split_of_name(stem)
        for inside in (
            ends,
            [name for name in ends if stem in name.split("/")],
            [n for n in ends if split and any(split_of_name(p) == split for p in n.split("/"))],
        ):
            if len(inside) == 1:
                return inside[0]
        return None

    def found(self, path: str, table: str, place: str) -> str:
        """Return the file that a cell names.

        Raises:
            SourceError: there is none, or more than one.
        """
        name = self.find(path, table)
        if name is None:
            kind = "an address" if "://" in path else "no file, or no single one, beside it"
            raise SourceError(
                f"{place} names image {path[:120]!r}, which is {kind} below {self._root}: put the "
                "images there, or embed them in the table"
            )
        return name

    def names_images(self, cells: Sequence[str], table: str) -> bool:
        """Return whether most of some cells name files."""
        found = sum(self.find(cell, table) is not None for cell in cells)
        return found > 0 and found * 2 >= len(cells)


def has_image_suffix(name: str) -> bool:
    """Return whether a name ends as images' do."""
    return PurePosixPath(name.strip().replace("\\", "/")).suffix.lower() in image_suffixes()
