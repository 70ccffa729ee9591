"""What a source was understood to be, before anything is decoded: in lines and as JSON."""

import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image

from accrete.config.run import SourceConfig
from accrete.core.units import format_counted, format_percent
from accrete.data.images import MAX_PIXELS, decode_image, decoded_kinds, is_grey_file
from accrete.data.sizes import Size, SizeCounts, size_notes
from accrete.data.sources.base import Counts, Item, Reading, Source, reasons
from accrete.data.sources.opening import open_source
from accrete.data.splits import SplitSizes, class_splits, split_policy
from accrete.errors import AccreteError, printable

SAMPLED_IMAGES = 256
"""So many images' heads are looked at, from all over the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """What a source's names and labels say."""

    config: SourceConfig
    """The source."""
    reading: Reading
    """How it was read."""
    sizes: Mapping[str, SplitSizes]
    """Images that train, validate and test, by class, in the source's order."""
    own_splits: tuple[str, ...]
    """Splits that are the source's own, `train` among them."""

    def total(self, split: str) -> int:
        """Return the images of a split."""
        return sum(getattr(of_class, split) for of_class in self.sizes.values())

    def lines(self, *, extends: bool = False) -> list[str]:
        """Return it in lines.

        Args:
            extends: whether the classes are added to others.
        """
        config, reading = self.config, self.reading
        where = f"{config.kind} {config.location}" if config.location else config.kind
        found = [f"{where}: {reading.layout}"]
        if reading.columns:
            found.append(f"columns: {'; '.join(reading.columns)}")
        found += [self._classes(), self._splits()]
        if reading.left_out:
            found.append(
                f"{len(reading.left_out):,} of {format_counted(reading.num_files, 'file')} left "
                f"out: {reasons(reading.left_out)} ({_first_places(reading)})"
            )
        if any(file.reason in _HEIC_ENDINGS for file in reading.left_out):
            found.append("note: HEIC images are read where accrete[heif] is installed")
        found += [f"note: {note}" for note in reading.notes]
        if len(self.sizes) == 1 and not extends:
            found.append("note: there is one class: enough to extend a model, not to train one")
        return [printable(line) for line in found]

    def _classes(self) -> str:
        names = list(self.sizes)
        ends = f"{names[0]} … {names[-1]}" if len(names) > 2 else " and ".join(names)
        counts = [of_class.train for of_class in self.sizes.values()]
        least, most = min(counts), max(counts)
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        return (
            f"{format_counted(len(names), 'class', 'classes')}: {ends}, with {each} training "
            f"image{'s' if most > 1 else ''}{' each' if len(names) > 1 else ''}"
        )

    def _splits(self) -> str:
        told = [f"{self.total('train'):,} images to train on"]
        for split in ("validation", "test"):
            if self.total(split) or split == "test":
                told.append(f"{self.total(split):,} to {_VERBS[split]} ({self._origin(split)})")
        return ", ".join(told)

    def _origin(self, split: str) -> str:
        if split in self.own_splits:
            return "the source's own"
        config = self.config
        share = config.test_fraction if split == "test" else config.validation_fraction
        return f"{format_percent(share, 0)} of each class, by seed {config.split_seed}"


_HEIC_ENDINGS = (".heic", ".heif", ".hif")

_VERBS = {"validation": "choose on", "test": "test on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What the heads of some images say."""

    sizes: SizeCounts
    """Of the training images among those that could be read, upright."""
    num_looked: int
    """Images that were looked at."""
    is_grey: bool
    """Whether all of them are."""
    unreadable: tuple[str, ...]
    """Places of those that are none, and why."""

    def size(self, asked: int | None) -> Size | None:
        """Return (height, width) that images are brought to; None: nothing could be read."""
        if asked is not None:
            return asked, asked
        return self.sizes.chosen() if self.sizes.num_images else None

    def lines(self, asked: int | None, total: int) -> list[str]:
        """Return it in lines.

        Args:
            asked: --image-size.
            total: images of the source.
        """
        size = self.size(asked)
        found = []
        if size is not None:
            some = "all" if self.num_looked >= total else f"{self.num_looked:,} of {total:,}"
            kind = "grey" if self.is_grey else "colour"
            notes = size_notes(self.sizes, size)
            plain = f"all of {size[1]}x{size[0]} px, stored as they are"
            found.append(f"images looked at: {some}, {kind}; {notes[0] if notes else plain}")
            found += [f"note: {note}" for note in notes[1:]]
        if self.unreadable:
            found.append(
                f"note: {format_counted(len(self.unreadable), 'image')} of those looked at cannot "
                f"be read: {'; '.join(self.unreadable[:3])}; preparing would stop there "
                "(--on-bad-image skip leaves such out)"
            )
        return [printable(line) for line in found]


def understand(source: Source, config: SourceConfig) -> Understood:
    """Return what a source's names and labels say.

    Raises:
        SourceError: its classes or splits cannot be used.
    """
    counts = source.counts()
    return Understood(
        config=config,
        reading=source.reading(),
        sizes=_all_sizes(counts, config),
        own_splits=tuple(counts),
    )


def _all_sizes(counts: Counts, config: SourceConfig) -> dict[str, SplitSizes]:
    """Return the images of each class by split, the source's own and those set aside."""
    divided = class_splits(counts, split_policy(counts, config))
    return {
        name: SplitSizes(
            train=sizes.train,
            validation=sizes.validation + counts.get("validation", {}).get(name, 0),
            test=sizes.test + counts.get("test", {}).get(name, 0),
        )
        for name, sizes in divided.items()
    }


def look(source: Source, most: int = SAMPLED_IMAGES) -> Looked:
    """Return what the heads of some images say; no pixel is decoded.

    Args:
        source: of images.
        most: how many to look at.
    """
    items = source.sample(most)
    sizes = SizeCounts()
    num_read, num_grey, unreadable = 0, 0, []
    with ThreadPoolExecutor() as pool:
        for item, head in zip(items, pool.map(_head, items), strict=True):
            if isinstance(head, str):
                unreadable.append(head)
                continue
            (height, width), is_grey = head
            num_read += 1
            num_grey += is_grey
            if item.split == "train":
                sizes.add(height, width, item.place)
    return Looked(
        sizes=sizes,
        num_looked=len(items),
        is_grey=num_grey == num_read,
        unreadable=tuple(unreadable),
    )


def _head(item: Item) -> tuple[Size, bool] | str:
    """Return an image's (height, width) and whether it is grey; or why it cannot be read."""
    try:
        if item.peek is not None and (found := _of_head(item.peek())) is not None:
            return found
        loaded = item.load()
        if not isinstance(loaded, bytes):
            return loaded.shape[:2], loaded.shape[2] == 1
        found = _of_head(loaded)
        if found is None:
            pixels = decode_image(loaded, item.place)  # which says why, if not in its own way
            found = pixels.shape[:2], pixels.shape[2] == 1
    except AccreteError as error:
        return str(error).partition(": ")[0]
    return found


def _of_head(data: bytes) -> tuple[Size, bool] | None:
    """Return what an image's head says; None: too little."""
    try:
        with Image.open(io.BytesIO(data), formats=decoded_kinds()) as image:
            if image.mode in ("P", "PA") or image.width * image.height > MAX_PIXELS:
                return None  # its palette alone tells not which entries show
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = image.size[::-1] if turned else image.size
            is_grey = is_grey_file(image, "")
    except Exception:  # Pillow's readers raise nearly anything on bad bytes
        return None
    return (height, width), is_grey


def inspect_source(config: SourceConfig) -> tuple[Understood, Looked]:
    """Return what a source is understood to be, and what some of its images' heads say.

    Raises:
        SourceError: it cannot be used.
    """
    source = open_source(config)
    return understand(source, config), look(source)


def _first_places(reading: Reading) -> str:
    places: Sequence[str] = [file.place for file in reading.left_out[:3]]
    return ", ".join(places) + (", …" if len(reading.left_out) > 3 else "")


def inspection_json(understood: Understood, looked: Looked) -> dict[str, Any]:
    """Return both for programs."""
    reading, config = understood.reading, understood.config
    size = looked.size(config.image_size)
    far = looked.sizes.far_from(size) if size and looked.sizes.num_images else None
    num_sized = looked.sizes.num_images
    return {
        "source": config.kind,
        "data": config.location,
        "layout": reading.layout,
        "columns": list(reading.columns),
        "splits": {
            split: {
                "images": understood.total(split),
                "own": split in understood.own_splits,
            }
            for split in ("train", "validation", "test")
        },
        "classes": [
            {"name": name, "train": s.train, "validation": s.validation, "test": s.test}
            for name, s in understood.sizes.items()
        ],
        "files": reading.num_files,
        "left_out": [{"file": file.place, "reason": file.reason} for file in reading.left_out],
        "images": {
            "looked_at": looked.num_looked,
            "height": size and size[0],
            "width": size and size[1],
            "channels": 1 if looked.is_grey else 3,
            "share_scaled_down": looked.sizes.num_scaled_down(size) / num_sized
            if size and num_sized
            else None,
            "share_scaled_up": looked.sizes.num_scaled_up(size) / num_sized
            if size and num_sized
            else None,
            "far": [
                {"image": place, "height": own[0], "width": own[1]}
                for place, own in (far.first if far else ())
            ],
            "unreadable": list(looked.unreadable),
        },
        "notes": list(reading.notes),
    }
