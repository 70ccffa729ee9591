"""MNIST's format: for each split a file of images and one of labels, bytes after a short header."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.data.sources.archives._class_list import SUFFIXES, class_list
from accrete.data.sources.archives.idx_file import idx_labels, image_header
from accrete.data.sources.archives.idx_images import IdxImages, Load
from accrete.data.sources.archives.idx_names import idx_kind_of, is_idx_name, may_be_idx, pairs
from accrete.data.sources.base import Counts, Item, LeftOut, Reading, evenly, why_unread
from accrete.data.sources.files import Files, open_files, tags
from accrete.data.sources.names import ClassNames
from accrete.data.sources.ranges import opened
from accrete.errors import LabelError, SourceError

_LOCAL_SUFFIXES = (
    *("", ".gz", ".bin", ".idx", ".idx1", ".idx3", ".idx4", ".ubyte"),
    *(".idx1-ubyte", ".idx3-ubyte", ".idx4-ubyte", *SUFFIXES),
)


class IdxSource:
    """Files such as `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, or with `.gz`."""

    def __init__(self, config: SourceConfig) -> None:
        """List the files and read their headers.

        Raises:
            SourceError: no such file, several sets, a file that is damaged or lacks its partner.
        """
        self._files = open_files(config.location or "", _LOCAL_SUFFIXES, config.exclude)
        self._root = self._files.root.rstrip("/")
        listed = self._files.names()
        names = [name for name in listed if is_idx_name(name)]
        kinds = None if names else _kinds(self._files)
        names = names or list(kinds or ())
        if not names:
            raise SourceError(
                f"--data {config.location} holds no file in MNIST's format: it needs "
                "train-images-idx3-ubyte and train-labels-idx1-ubyte, or with .gz"
            )
        self._is_told = kinds is None
        self._pairs, self._packed = pairs(names, self._root, kinds)
        self._classes = class_list(self._files, listed, names)
        self._images = {
            s: image_header(self._files, pair.images) for s, pair in self._pairs.items()
        }
        self._names = ClassNames(self._root)

    @cached_property
    def _labels(self) -> dict[str, bytes]:
        """Label of each image, by split."""
        found = {}
        for split, pair in self._pairs.items():
            _, found[split] = idx_labels(self._files, pair.labels, self._images[split].shape[0])
            largest, num_names = max(found[split]), len(self._classes.names)
            if largest >= num_names > 0:
                raise LabelError(
                    f"{self._root}/{pair.labels} item {found[split].index(largest)} has label "
                    f"{largest}, but {self._classes.file_name} names {num_names:,} classes: mend "
                    "it, or leave that file out with --exclude"
                )
        return found

    def _class_names(self) -> dict[int, str]:
        """Name of each label that is there, in their order."""
        listed = self._classes.names
        labels = sorted(set().union(*self._labels.values()))
        return {n: self._names.clean(listed[n] if listed else str(n)) for n in labels}

    def counts(self) -> Counts:
        """Return the images of each class; reads the labels alone.

        Raises:
            SourceError: a file of labels is damaged.
        """
        names = self._class_names()
        counts = {}
        for split, labels in self._labels.items():
            counted = Counter(labels)
            counts[split] = {name: counted[number] for number, name in names.items()}
        return counts

    def reading(self) -> Reading:
        """Return which files are images and labels of which split."""
        used = {name for pair in self._pairs.values() for name in (pair.images, pair.labels)}
        names = self._files.names()
        left_out = list(self._files.left_out())
        left_out += [
            LeftOut(place=name, reason="packed twice" if name in self._packed else why_unread(name))
            for name in names
            if name not in used and name != self._classes.file_name
        ]
        how = "" if self._is_told else ", known by their first bytes"
        shapes = [f"{split} from {pair.images}" for split, pair in self._pairs.items()]
        numbers = self._class_names()
        notes = [*self._names.notes(), *self._classes.notes(numbers)]
        if (
            not self._classes.names
            and "fashion" in f"{self._root}/{self._pairs['train'].images}".lower()
        ):
            notes.append("classes are numbers; --source fashion-mnist has Fashion-MNIST's names")
        return Reading(
            layout=f"images and labels in MNIST's format{how}: {', '.join(shapes)}",
            num_files=len(names) + len(self._files.left_out()),
            left_out=tuple(left_out),
            notes=tuple(notes),
        )

    def fingerprint(self) -> str:
        """Return a digest of the files' contents and their splits."""
        entries = [[s, pair.images, pair.labels] for s, pair in self._pairs.items()]
        names = [name for _, *both in entries for name in both]
        listed = [] if self._classes.file_name is None else [self._classes.file_name]
        return sha256_of_json(["idx", entries, tags(self._files, [*names, *listed])])

    def sample(self, most: int) -> Sequence[Item]:
        """Return some images from all over, each read by itself."""
        images = {split: IdxImages(self._files, file) for split, file in self._images.items()}
        places = [(split, n) for split, labels in self._labels.items() for n in range(len(labels))]
        names = self._class_names()
        return [
            self._item(split, number, names, images[split].one(number))
            for split, number in evenly(places, most)
        ]

    def items(self) -> Iterator[Item]:
        """Yield the images, split by split."""
        names = self._class_names()
        for split, file in self._images.items():
            for number, load in enumerate(IdxImages(self._files, file).all()):
                yield self._item(split, number, names, load)

    def _item(self, split: str, number: int, names: Mapping[int, str], load: Load) -> Item:
        return Item(
            place=f"{self._root}/{self._pairs[split].images} item {number}",
            class_name=names[self._labels[split][number]],
            split=split,
            load=load,
        )


def _kinds(files: Files) -> dict[str, str]:
    """Return which files of other names are images and labels, by their first bytes."""
    found = {}
    for name in files.names():
        if may_be_idx(name):
            with opened(files, name) as (stream, _):
                kind = idx_kind_of(stream.read(4))
            if kind is not None:
                found[name] = kind
    return found
