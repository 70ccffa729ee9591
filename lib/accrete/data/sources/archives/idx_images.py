"""Images of a file in MNIST's format: all in their order, or some by their number."""

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import numpy as np

from accrete.data.images import Pixels
from accrete.data.sources.archives.idx_file import IdxFile, check_content
from accrete.data.sources.files import Files
from accrete.data.sources.ranges import RUN_BYTES, Content, Run, content_of

Load = Callable[[], Pixels]
"""Reads an image; safe in any thread."""


class IdxImages:
    """The images of one file."""

    def __init__(self, files: Files, file: IdxFile) -> None:
        """Describe them; nothing is read yet.

        Args:
            files: where the file lies.
            file: its header, of images.
        """
        self._files, self._file = files, file

    @cached_property
    def _content(self) -> Content:
        unpacked = self._file.num_bytes if self._file.is_gzip else None
        return content_of(self._files, self._file.name, unpacked_bytes=unpacked)

    def all(self) -> Iterator[Load]:
        """Yield what reads each image; neighbours are read together.

        Raises:
            SourceError: a packed file is damaged.
        """
        file = self._file
        check_content(self._files, file)
        starts = range(file.start, file.num_bytes, file.item_bytes)
        num_at_once = max(1, RUN_BYTES // file.item_bytes)
        for first in range(0, len(starts), num_at_once):
            after = min(first + num_at_once, len(starts))
            stop = starts[after - 1] + file.item_bytes
            run = Run(self._content, starts[first], stop, after - first)
            for start in starts[first:after]:
                yield partial(_load, run, start, file)

    def one(self, number: int) -> Load:
        """Return what reads an image and no other."""
        start = self._file.start + number * self._file.item_bytes
        run = Run(self._content, start, start + self._file.item_bytes, 1)
        return partial(_load, run, start, self._file)


def _load(run: Run, start: int, file: IdxFile) -> Pixels:
    data = run.read(start, file.item_bytes)
    height, width, *channels = file.shape[1:]
    return np.frombuffer(data, np.uint8).reshape(height, width, *(channels or (1,)))
