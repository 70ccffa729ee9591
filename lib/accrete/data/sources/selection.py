"""Some classes of a source: the others' images are passed over unread."""

from collections.abc import Iterator, Sequence

from accrete.data.sources.base import Counts, Item, Source
from accrete.errors import SourceError


class SelectedClasses:
    """A source with some of another's classes, in that one's order."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        """Choose classes of a source by name.

        Raises:
            SourceError: a name is given twice, or the source has no such class.
        """
        self._source = source
        self._names = frozenset(names)
        if len(self._names) != len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise SourceError(f"--only-classes names class {twice!r} twice: name each class once")
        known = source.counts()["train"]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise SourceError(
                f"--only-classes names class {unknown[0]!r}, which the source does not have: "
                f"it has {len(known)}, the first is {next(iter(known))!r}"
            )

    def counts(self) -> Counts:
        """Return the images of the chosen classes, per split."""
        return {
            split: {name: count for name, count in of_split.items() if name in self._names}
            for split, of_split in self._source.counts().items()
        }

    def fingerprint(self) -> str:
        """Return the whole source's digest; which classes are chosen is configuration."""
        return self._source.fingerprint()

    def items(self) -> Iterator[Item]:
        """Yield the images of the chosen classes, in the source's order."""
        return (item for item in self._source.items() if item.class_name in self._names)
