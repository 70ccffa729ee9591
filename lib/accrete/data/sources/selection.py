"""The classes of a source that are used: all, or some, of which the others' images stay unread."""

from collections.abc import Iterable, Iterator, Sequence

from accrete.config.classes import check_class_names
from accrete.data.sources.base import ClassByClass, Counts, Item, Reading, Source
from accrete.data.sources.names import shown
from accrete.errors import EmptyClassError, SourceError

_USES = {"test": "test on", "validation": "choose on"}


class SelectedClasses:
    """A source with all of another's classes or some, in that one's order, each with images."""

    def __init__(self, source: Source, names: Sequence[str] | None, place: str | None) -> None:
        """Choose classes of a source by name.

        Args:
            source: all of it.
            names: of the classes; None: all.
            place: where the source is, for errors.

        Raises:
            SourceError: a name is given twice, or the source has no such class.
        """
        self._source = source
        self._place = place or "the source"
        self._names = None if names is None else _chosen(names, source.counts()["train"])

    def counts(self) -> Counts:
        """Return the images of the chosen classes, per split.

        Raises:
            EmptyClassError: one has no image to train on.
            LabelError: a name can name no class.
        """
        counts = self.counts_as_they_are()
        self._check(counts)
        return counts

    def counts_as_they_are(self) -> Counts:
        """Return the images of the chosen classes, per split; a class may have none by now."""
        return {
            split: {name: count for name, count in of_split.items() if self._has(name)}
            for split, of_split in self._source.counts().items()
        }

    def _check(self, counts: Counts) -> None:
        train = counts.get("train", {})
        check_class_names(train, self._place)
        if not train:
            raise EmptyClassError(f"{self._place} has no class with images")
        empty = [name for name, count in train.items() if count == 0]
        if not empty:
            return
        tested = [_USES[split] for split, of_split in counts.items() if of_split.get(empty[0])]
        alike = [n for n, count in train.items() if count and n.casefold() == empty[0].casefold()]
        if alike:
            raise EmptyClassError(
                f"class {empty[0]!r} of {self._place} has no training image, but {alike[0]!r} has, "
                "which differs in capitals only: write both alike"
            )
        rest = f", nor have {len(empty) - 1:,} others" if len(empty) > 1 else ""
        there = f"images to {' and '.join(tested)} but " if tested else ""
        raise EmptyClassError(
            f"class {empty[0]!r} of {self._place} has {there}no training image{rest}: add some, "
            "remove it, or name the classes to use with --only-classes"
        )

    def splits(self) -> frozenset[str]:
        """Return the splits that the whole source brings, those with images."""
        return frozenset(
            split for split, of_split in self._source.counts().items() if any(of_split.values())
        )

    def _has(self, name: str) -> bool:
        return self._names is None or name in self._names

    def reading(self) -> Reading:
        """Return what the whole source is."""
        return self._source.reading()

    def fingerprint(self) -> str:
        """Return the whole source's digest; which classes are chosen is configuration."""
        return self._source.fingerprint()

    def content(self) -> str:
        """Return a digest of the chosen classes' images, of all where they lie in one piece."""
        if self._names is not None and isinstance(self._source, ClassByClass):
            return self._source.fingerprint_of(self._names)
        return self._source.fingerprint()

    def items(self) -> Iterator[Item]:
        """Yield the images of the chosen classes, in the source's order."""
        return (item for item in self._source.items() if self._has(item.class_name))

    def sample(self, most: int) -> Sequence[Item]:
        """Return some images of the chosen classes; fewer where they are few of the whole."""
        return [item for item in self._source.sample(most) if self._has(item.class_name)]


def _chosen(names: Sequence[str], known: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(names)
    if len(chosen) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise SourceError(f"--only-classes names class {twice!r} twice: name each class once")
    there: list[str] = list(known)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise SourceError(
            f"--only-classes names class {unknown[0]!r}, which the source does not have: "
            f"it has {len(there)}, {shown(there, 3)}"
        )
    return chosen
