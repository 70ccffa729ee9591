"""Which size images of several sizes are brought to, and which of them are far from it.

Sizes are (height, width) in pixels; to bring an image to one is to scale it until it covers that,
and to crop it to its centre. Integers alone, and the same in whatever order the images come.
"""

from collections import Counter
from dataclasses import dataclass

from accrete.core.units import format_percent, pluralize

Size = tuple[int, int]
"""(height, width)."""

MAX_DEFAULT_SIDE = 224
"""The shorter side is at most as long where nobody asked for more: what networks are made for."""

_NAMED_IMAGES = 3
_PLACED_SIZES = 50_000
"""Sizes of which the first images are remembered: photographs may have a size each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FarImages:
    """Images that are far from the size that all are brought to."""

    count: int
    """How many."""
    first: tuple[tuple[str, Size], ...]
    """Some of the first, where they are and what size they have."""


class SizeCounts:
    """How many images there are of each size."""

    def __init__(self) -> None:
        """Begin without any."""
        self._counts: Counter[Size] = Counter()
        self._places: dict[Size, list[tuple[int, str]]] = {}
        self._num_images = 0

    @property
    def num_images(self) -> int:
        """All images."""
        return self._num_images

    def add(self, height: int, width: int, place: str) -> None:
        """Count an image; `place` is its file or row."""
        size = (height, width)
        self._counts[size] += 1
        places = self._places.get(size)
        if places is None and len(self._places) < _PLACED_SIZES:
            places = self._places[size] = []
        if places is not None and len(places) < _NAMED_IMAGES:
            places.append((self._num_images, place))
        self._num_images += 1

    def chosen(self) -> Size:
        """Return the size to bring all images to.

        That of at least half of them, if its shorter side is at most MAX_DEFAULT_SIDE; of two such
        the larger one. Else a square of the median shorter side (of an even number the lower of
        both), at most that. One image never decides: a banner among photographs changes nothing.
        """
        common = [
            size
            for size, count in self._counts.items()
            if 2 * count >= self._num_images and min(size) <= MAX_DEFAULT_SIDE
        ]
        if common:
            return max(common, key=_area_first)
        side = min(self._median_shorter_side(), MAX_DEFAULT_SIDE)
        return side, side

    def _median_shorter_side(self) -> int:
        before, half = 0, (self._num_images + 1) // 2
        for size in sorted(self._counts, key=min):
            before += self._counts[size]
            if before >= half:
                return min(size)
        return MAX_DEFAULT_SIDE

    def range(self) -> tuple[Size, Size]:
        """Return the sizes of fewest and of most pixels; there must be an image."""
        return min(self._counts, key=_area_first), max(self._counts, key=_area_first)

    def num_scaled_down(self, size: Size) -> int:
        """Return how many images lose pixels when they are scaled to cover a size."""
        return sum(
            count for own, count in self._counts.items() if own[0] > size[0] and own[1] > size[1]
        )

    def num_scaled_up(self, size: Size) -> int:
        """Return how many images are blown up to cover a size."""
        return sum(
            count for own, count in self._counts.items() if own[0] < size[0] or own[1] < size[1]
        )

    def far_from(self, size: Size) -> FarImages:
        """Return the images of which little or nothing true is left at a size."""
        far = [own for own in self._counts if is_far(own, size)]
        placed = sorted(
            (number, place, own) for own in far for number, place in self._places.get(own, ())
        )
        return FarImages(
            count=sum(self._counts[own] for own in far),
            first=tuple((place, own) for _, place, own in placed[:_NAMED_IMAGES]),
        )


def is_far(own: Size, size: Size) -> bool:
    """Return whether an image's shorter side is under half of a size's, or its shape far from it.

    That is a ratio of width to height over three times the size's, or under a third of it: two
    thirds of the image would be cropped away.
    """
    (height, width), (to_height, to_width) = own, size
    ratio, to_ratio = width * to_height, to_width * height
    return 2 * min(own) < min(size) or ratio > 3 * to_ratio or 3 * ratio < to_ratio


def size_notes(counts: SizeCounts, size: Size) -> tuple[str, ...]:
    """Return lines on what bringing images to a size does to them; none where it does nothing."""
    if not counts.num_images or counts.range() == (size, size):
        return ()
    smallest, largest = (_shown(each) for each in counts.range())
    sizes = smallest if smallest == largest else f"{smallest} to {largest}"
    down, up = (
        format_percent(count / counts.num_images)
        for count in (counts.num_scaled_down(size), counts.num_scaled_up(size))
    )
    lines = [
        f"training images of {sizes} px are scaled to cover {_shown(size)} px ({down} of them "
        f"down, {up} up) and cropped to its centre"
    ]
    far = counts.far_from(size)
    if far.count:
        named = ", ".join(f"{place} ({_shown(own)})" for place, own in far.first)
        more = ", …" if far.count > len(far.first) else ""
        verb = pluralize(far.count, "is", "are")
        lines.append(
            f"{far.count:,} of {counts.num_images:,} training images {verb} far from that size, "
            f"mostly cropped away or blown up: {named}{more}"
        )
    return tuple(lines)


def _area_first(size: Size) -> tuple[int, Size]:
    return size[0] * size[1], size


def _shown(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
