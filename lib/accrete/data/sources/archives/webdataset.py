"""WebDataset's shards: tar archives whose neighbouring files, of one key, are a sample.

Headers and labels are read once, in order; images by ranges, where the headers say that they lie.
Nothing is unpacked, except that a shard which is gzip needs a temporary copy to be read by ranges.
"""

import re
import threading
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import accumulate, groupby
from operator import add
from typing import IO, NamedTuple

from accrete.config.run import SourceConfig
from accrete.core.hashing import sha256_of_json
from accrete.core.units import format_counted
from accrete.data.images import check_file_size, image_suffixes
from accrete.data.sources.archives._class_list import SUFFIXES, ClassList, class_list
from accrete.data.sources.archives._indexed_shard import HIDDEN, IndexedShard
from accrete.data.sources.archives._sample_labels import (
    ImageMember,
    LabelMember,
    LacksMemberError,
    as_numbers,
)
from accrete.data.sources.archives._samples import (
    OtherMembers,
    Sample,
    apart_from,
    key_of,
    samples,
)
from accrete.data.sources.archives._tar_members import Member
from accrete.data.sources.base import Counts, Item, LeftOut, Reading, evenly, why_unread
from accrete.data.sources.files import open_files, tags
from accrete.data.sources.hub import choose_files, readme_of
from accrete.data.sources.names import ClassNames, shown
from accrete.data.sources.ranges import Content, Run, content_of, opened, runs, size_of
from accrete.data.sources.split_names import sole_splits
from accrete.errors import LabelError, SourceError, one_line

_SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_LOCAL_SUFFIXES = (".tar", ".gz", ".tgz", *SUFFIXES)
_PARALLEL_SHARDS = 8
"""A store's answers take longer than what is done with them."""

_MIN_UNPACKED, _MAX_RATIO = 256 << 20, 200
"""A gzip shard may be so large, or so many times its own size; images hardly become smaller."""


class _Scan(NamedTuple):
    """What the headers and labels of all shards say."""

    shards: list[IndexedShard]
    splits: dict[str, str]
    labels: list[int | str]
    """Different ones, in the order in which they were met."""
    others: OtherMembers
    notes: list[str]


class WebDatasetSource:
    """Shards named `train-…`, `test-…`, `validation-…`, in folders so named, or of no split."""

    def __init__(self, config: SourceConfig) -> None:
        """List the shards.

        Raises:
            SourceError: no shard, or one whose split is not clear.
        """
        self._files = open_files(config.location or "", _LOCAL_SUFFIXES, config.exclude)
        self._root = self._files.root.rstrip("/")
        listed = self._files.names()
        shards = [name for name in listed if _is_shard(name)]
        if not shards:
            raise SourceError(
                f"--data {config.location} holds no shard: it needs .tar, .tar.gz or .tgz files "
                "of images and labels"
            )
        self._chosen = choose_files(
            shards, self._root, subset=config.subset, readme=readme_of(self._files)
        )
        self._splits = {name: split for split, name in self._chosen.entries}
        self._listed = class_list(self._files, listed, shards)
        self._names, self._names_lock = ClassNames(self._root), threading.Lock()
        self._image = ImageMember(config.image_column, image_suffixes())
        self._label = LabelMember(config.label_column)
        self._unlike: dict[str, Sample] = {}
        """Keys without an image that were met before the label was known, by what they have."""

    @cached_property
    def _scan(self) -> _Scan:
        others = OtherMembers()
        positions: dict[int | str, int] = {}
        shards = list(self._read_all())
        meant = as_numbers(sorted(set().union(*(shard.texts() for shard in shards))))
        for shard in shards:
            others.merge(shard.others)
            shard.renumber(positions, meant)
        labels = list(positions)
        for shard in shards:
            self._check_numbers(shard, labels)
        hidden = self._hidden_splits(shards)
        kept = [shard for shard in shards if self._splits[shard.name] not in hidden]
        used_as = sole_splits({self._splits[shard.name] for shard in kept})
        splits = {shard.name: used_as[self._splits[shard.name]] for shard in kept}
        notes = [f"split {split} is left out: its labels are hidden (-1)" for split in hidden]
        empty = [shard.name for shard in shards if not shard.labels]
        if empty:
            notes.append(f"{format_counted(len(empty), 'shard')} without a sample: {shown(empty)}")
        return _Scan(kept, splits, labels, others, notes)

    def _read_all(self) -> Iterator[IndexedShard]:
        """Yield all shards, read in parallel once the first sample has decided what is a label."""
        names = iter(self._splits)
        for name in names:
            yield self._read(name)
            if self._label.extension is not None:
                break
        for sample in list(self._unlike.values()) if self._label.extension is None else ():
            self._image.of(sample)  # says what there is in place of an image
        with ThreadPoolExecutor(_PARALLEL_SHARDS) as pool:
            yield from pool.map(self._read, names)

    def _read(self, name: str) -> IndexedShard:
        place = f"{self._root}/{name}"
        shard = IndexedShard(name)
        limit = max(_MIN_UNPACKED, _MAX_RATIO * size_of(self._files, name))
        with opened(self._files, name) as (stream, shard.is_gzip):
            found = samples(
                stream, place, self._label.may_be, shard.others, is_packed=shard.is_gzip
            )
            for sample in found:
                if not self._is_sample(sample):
                    self._leave_out(sample, sample.members, shard.others)
                    continue
                try:
                    image = self._add(sample, shard)
                except LacksMemberError as error:
                    raise _explained(error, sample, stream, place) from error
                if shard.is_gzip and image.start > limit:
                    raise SourceError(
                        f"{place} is over {limit:,} bytes unpacked, which images are not: it is "
                        "made to fill the memory; write it as a plain .tar"
                    )
        return shard

    def _is_sample(self, sample: Sample) -> bool:
        """Return whether a key has an image or a label; others are notes, licences and so on."""
        if self._image.may_be_in(sample):
            return True
        extension = self._label.extension
        if extension is not None:
            return extension in sample.members
        for each in sample.members:
            if not self._unlike or self._label.may_be(each):
                self._unlike.setdefault(each, sample)
        return False

    def _add(self, sample: Sample, shard: IndexedShard) -> Member:
        """Add a sample to its shard; return its image.

        Raises:
            SourceError: it has no image or no label, or one that cannot be used.
        """
        extension, image = self._image.of(sample)
        is_first = self._label.extension is None
        label = self._label.of(sample)
        if is_first and self._label.extension in self._unlike:
            self._image.of(self._unlike[self._label.extension])
        if isinstance(label, str):
            with self._names_lock:
                self._names.clean(label, sample.place)
        shard.add(sample, image, extension, label)
        used = (extension, self._label.extension)
        self._leave_out(sample, [e for e in sample.members if e not in used], shard.others)
        return image

    def _leave_out(self, sample: Sample, extensions: Iterable[str], others: OtherMembers) -> None:
        for extension in extensions:
            others.leave_out(one_line(f".{extension[:40]}"), f"{sample.place} .{extension[:80]}")

    @cached_property
    def _classes(self) -> ClassList:
        """Names of numbers: of a file beside the shards, else of the README's ClassLabel."""
        names = self._chosen.class_names.get(self._label.column or "")
        if self._listed.file_name is not None or not names:
            return self._listed
        return ClassList(file_name="README.md", names=names)

    def _check_numbers(self, shard: IndexedShard, labels: Sequence[int | str]) -> None:
        """Refuse numbers that name no class, and hidden labels of images to train on.

        Raises:
            LabelError: names the first sample.
        """
        num_names, split = len(self._classes.names), self._splits[shard.name]
        for label in dict.fromkeys(shard.labels):
            number = HIDDEN if label == HIDDEN else labels[label]
            if isinstance(number, str):
                continue
            if number >= num_names > 0:
                raise LabelError(
                    f"{self._place(shard, label)} has label {number}, but "
                    f"{self._classes.file_name} names {num_names:,} classes: mend it, or leave "
                    "that file out with --exclude"
                )
            if number < 0 and (label != HIDDEN or split == "train"):
                raise LabelError(
                    f"{self._place(shard, label)} has label {number}: it must be 0 or more"
                )

    def _place(self, shard: IndexedShard, label: int) -> str:
        """Return the first sample of a shard that has a label."""
        key = key_of(shard.image_name(shard.labels.index(label)))
        return f"{self._root}/{shard.name} sample {key!r}"

    def _hidden_splits(self, shards: list[IndexedShard]) -> list[str]:
        """Return the splits whose labels are all hidden.

        Raises:
            LabelError: some of a split's are.
        """
        first: dict[str, str] = {}
        known: set[str] = set()
        for shard in shards:
            split = self._splits[shard.name]
            if any(label != HIDDEN for label in shard.labels):
                known.add(split)
            if HIDDEN in shard.labels and split not in first:
                first[split] = self._place(shard, HIDDEN)
        for split, place in first.items():
            if split in known:
                raise LabelError(
                    f"{place} has label -1, others of split {split} have classes: mend it or "
                    "remove the sample"
                )
        return list(first)

    @cached_property
    def _class_names(self) -> list[str]:
        """Name of each label, by its position."""
        listed = self._classes.names
        return [
            self._names.clean(listed[label] if isinstance(label, int) and listed else str(label))
            for label in self._scan.labels
        ]

    def _class_order(self) -> list[str]:
        """Return the classes: numbers by size, before names; listed names in their file's order."""
        labels = zip(self._scan.labels, self._class_names, strict=True)
        return list(dict.fromkeys(name for _, name in sorted(labels, key=_class_rank)))

    def counts(self) -> Counts:
        """Return the samples of each class; reads headers and labels alone.

        Raises:
            SourceError: a shard is damaged, or what is found is no label.
        """
        order = self._class_order()
        num_samples = sum(len(shard.labels) for shard in self._scan.shards)
        self._label.check(order, num_samples, self._root)
        counts: dict[str, dict[str, int]] = {"train": dict.fromkeys(order, 0)}
        for shard in self._scan.shards:
            split = self._scan.splits[shard.name]
            of_split = counts.setdefault(split, dict.fromkeys(order, 0))
            for label in shard.labels:
                of_split[self._class_names[label]] += 1
        return counts

    def reading(self) -> Reading:
        """Return which shards, members and splits there are."""
        scan = self._scan
        sizes: dict[str, int] = {}
        for split in scan.splits.values():
            sizes[split] = sizes.get(split, 0) + 1
        names = self._files.names()
        used = {*self._splits, self._classes.file_name}
        left_out = [*self._files.left_out(), *self._chosen.left_out]
        used |= {file.place for file in self._chosen.left_out}
        left_out += [
            LeftOut(place=name, reason=why_unread(name)) for name in names if name not in used
        ]
        for reason, count in sorted(scan.others.items()):
            more = f" and {count - 1:,} more" if count > 1 else ""
            left_out.append(LeftOut(place=f"{scan.others.first[reason]}{more}", reason=reason))
        _ = self._class_names  # cleans those of a list
        notes = [*self._chosen.notes, *scan.notes, *self._names.notes()]
        numbers = [label for label in scan.labels if isinstance(label, int)]
        notes += self._classes.notes(numbers)
        if scan.labels and not numbers and self._classes.names:
            notes.append(f"labels are names: {self._classes.file_name} names numbers, unused here")
        told = [f"{number:,} of {split}" for split, number in sizes.items()]
        told += [self._chosen.text] if len(self._splits) > 1 else []
        return Reading(
            layout=f"WebDataset shards: {', '.join(told)}",
            num_files=len(names) + len(self._files.left_out()),
            left_out=tuple(left_out),
            columns=(self._image.told(), self._label.told()),
            notes=tuple(notes),
        )

    def fingerprint(self) -> str:
        """Return a digest of the shards' names and contents, and of what names the classes."""
        names = list(self._splits)
        listed = [] if self._listed.file_name is None else [self._listed.file_name]
        named = sorted(self._chosen.class_names.items())
        told = [named] if named else []
        return sha256_of_json(
            ["webdataset", self._splits, tags(self._files, [*names, *listed]), *told]
        )

    def sample(self, most: int) -> Sequence[Item]:
        """Return some samples from all over, each read by itself."""
        shards = self._scan.shards
        ends = list(accumulate(len(shard.starts) for shard in shards))
        chosen = evenly(range(ends[-1] if ends else 0), most)
        found = []
        for position, numbers in groupby(chosen, key=partial(bisect, ends)):
            shard = shards[position]
            content = self._content(shard)
            for number in numbers:
                at = number - ends[position] + len(shard.starts)
                start = shard.starts[at]
                run = Run(content, start, start + shard.sizes[at], 1)
                found.append(self._item(shard, at, run))
        return found

    def items(self) -> Iterator[Item]:
        """Yield the samples, shard by shard."""
        for shard in self._scan.shards:
            if not shard.starts:
                continue
            content = self._content(shard)
            for first, after in runs(shard.starts, shard.sizes):
                stop = shard.starts[after - 1] + shard.sizes[after - 1]
                run = Run(content, shard.starts[first], stop, after - first)
                for number in range(first, after):
                    yield self._item(shard, number, run)

    def _content(self, shard: IndexedShard) -> Content:
        ends = map(add, shard.starts, shard.sizes)
        unpacked = max(ends) if shard.is_gzip else None
        return content_of(self._files, shard.name, unpacked_bytes=unpacked)

    def _item(self, shard: IndexedShard, number: int, run: Run) -> Item:
        place = f"{self._root}/{shard.name}/{shard.image_name(number)}"
        return Item(
            place=place,
            class_name=self._class_names[shard.labels[number]],
            split=self._scan.splits[shard.name],
            load=partial(_load, run, shard.starts[number], shard.sizes[number], place),
        )


def _load(run: Run, start: int, num_bytes: int, place: str) -> bytes:
    check_file_size(num_bytes, place)
    return run.read(start, num_bytes)


def _explained(
    error: LacksMemberError, sample: Sample, stream: IO[bytes], place: str
) -> SourceError:
    """Return what a sample lacks: with where it lies, if it is apart."""
    stream.seek(0)
    try:
        other = apart_from(sample, stream, place)
    except SourceError:
        other = None
    if other is None:
        return error
    has = ", ".join(one_line(f".{extension[:40]}") for extension in list(sample.members)[:5])
    return LabelError(
        f"{sample.place} is not whole, it has {has}, and {other[:200]!r} is not beside it: the "
        "members of a sample share the path up to the first dot of the name and follow each other; "
        "put them into one folder and write the shard with tar --sort=name"
    )


def _class_rank(entry: tuple[int | str, str]) -> tuple[bool, int | str]:
    label, _ = entry
    if isinstance(label, str) and re.fullmatch("[0-9]{1,18}", label):
        return False, int(label)
    return isinstance(label, str), label


def _is_shard(name: str) -> bool:
    return name.lower().endswith(_SHARD_SUFFIXES)
