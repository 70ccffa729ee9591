"""What every open table offers, whatever its format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column may hold, by its type."""

    is_image: bool
    """Encoded images, pixels, or structs with images' paths."""
    is_label: bool
    """Numbers or text."""
    is_text: bool
    """Text, which may be paths."""


class Rows(Protocol):
    """An open table; use it in a `with` block."""

    place: str
    """The file, for errors."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns in their order; nested ones by `outer.inner`."""

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """Class names of the columns that say them, by label."""

    @property
    def num_rows(self) -> int:
        """How many there are."""

    def first(self, column: str, most: int) -> list[Any]:
        """Return the first cells of a column, as Python has them, whatever they are."""

    def labels(self, column: str) -> Iterator[Any]:
        """Yield the cells of a column of labels or text, as Python has them."""

    def images(self, column: str) -> Iterator[Any]:
        """Yield the cells of a column of images, as Arrow or Python has them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
