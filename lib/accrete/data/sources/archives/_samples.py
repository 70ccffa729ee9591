"""Samples of WebDataset's shards: neighbouring files of an archive that share a key."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO

from accrete.data.sources.archives._tar_members import Member, members
from accrete.data.sources.junk import junk_reason
from accrete.errors import SourceError, one_line

MAX_LABEL_BYTES = 1 << 20
"""Of a member that may be or hold a label."""

_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL)
"""Key and extension: up to the first dot of the name below all folders, and what follows it."""

_MAX_MEMBERS = 100
_MAX_LINKED_LABELS = 100
"""Different ones in a packed shard, for each of which it is unpacked from its beginning."""


@dataclass(slots=True)
class Sample:
    """The members of one key."""

    key: str
    """Folders and the name up to its first dot."""
    place: str
    """Shard and key, for errors."""
    members: dict[str, Member] = field(default_factory=dict)
    """By extension in lower case, without its dot."""
    lacking: dict[str, str] = field(default_factory=dict)
    """What stands in place of a member that has no content, by extension: a link."""
    texts: dict[str, bytes] = field(default_factory=dict)
    """Content of the members that may be labels, one byte over the limit at most."""


class OtherMembers(Counter[str]):
    """How many members are no part of a sample, by reason."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.first: dict[str, str] = {}

    def leave_out(self, reason: str, place: str) -> None:
        """Count one."""
        if reason not in self.first and len(self.first) >= _MAX_MEMBERS:
            reason = "others"
        self.first.setdefault(reason, one_line(place))
        self[reason] += 1

    def merge(self, other: "OtherMembers") -> None:
        """Add another shard's."""
        for reason, place in other.first.items():
            self.leave_out(reason, place)
            self[reason if reason in self.first else "others"] += other[reason] - 1


def samples(
    stream: IO[bytes],
    place: str,
    may_be_label: Callable[[str], bool],
    others: OtherMembers,
    *,
    is_packed: bool = False,
) -> Iterator[Sample]:
    """Yield the samples of a shard in its order: all keys, whatever they have.

    Args:
        stream: the archive.
        place: its path or address, for errors.
        may_be_label: whether the members of an extension are to be read.
        others: told of files that have no key: hidden, what systems make, links, or without an
            extension.
        is_packed: whether going back in the stream means to begin anew.

    Raises:
        SourceError: it is no tar archive, or a key or a member is there twice.
    """
    sample: Sample | None = None
    known: set[int] = set()  # hashes: a key may be long
    texts = _Texts(stream, place, is_packed=is_packed)
    for member in members(stream, place):
        fits = _NAME.fullmatch(member.name)
        reason = _why_none(member.name) or member.lacks or ("" if fits else "no extension")
        if reason:
            others.leave_out(reason, f"{place}/{member.name[:200]}")
        if fits is None or (reason and reason != member.lacks):
            continue
        key, extension = fits[1], fits[2].lower()
        if sample is None or key != sample.key:
            if sample is not None:
                yield sample
            sample = _begin(key, place, known)
        _add(sample, extension, member)
        if may_be_label(extension) and member.lacks is None:
            sample.texts[extension] = texts.of(member)
    if sample is not None:
        yield sample


def key_of(name: str) -> str:
    """Return the key of a member's path."""
    fits = _NAME.fullmatch(name)
    return name if fits is None else fits[1]


def apart_from(sample: Sample, stream: IO[bytes], place: str) -> str | None:
    """Return a member that seems to be another sample's or nobody's, but belongs to this one.

    It has the same key further on, or the same below another folder.

    Args:
        sample: that lacks something.
        stream: the archive.
        place: its path or address, for errors.
    """
    own = {member.start for member in sample.members.values()}
    below = sample.key.rpartition("/")[2]
    for member in members(stream, place):
        if _why_none(member.name) or member.lacks or member.start in own:
            continue
        if "." in member.name and key_of(member.name).rpartition("/")[2] == below:
            return member.name
    return None


def _why_none(name: str) -> str | None:
    """Return why a member is no matter of the user's; paths may begin with dots and strokes."""
    return junk_reason(part for part in name.split("/") if part not in ("", ".", ".."))


class _Texts:
    """Contents of members that may be labels, one byte over the limit at most."""

    def __init__(self, stream: IO[bytes], place: str, *, is_packed: bool) -> None:
        self._stream, self._place, self._is_packed = stream, place, is_packed
        self._linked: dict[int, bytes] = {}

    def of(self, member: Member) -> bytes:
        """Return a member's; that of a file which hard links name is read once."""
        if not member.is_hard_link:
            return self._read(member)
        if member.start not in self._linked:
            if len(self._linked) >= _MAX_LINKED_LABELS:
                self._forget()
            self._linked[member.start] = self._read(member)
        return self._linked[member.start]

    def _forget(self) -> None:
        if self._is_packed:
            raise SourceError(
                f"{self._place} has labels that are hard links to over {_MAX_LINKED_LABELS} "
                "files, for each of which it is unpacked anew: write it as a plain .tar"
            )
        self._linked.clear()

    def _read(self, member: Member) -> bytes:
        self._stream.seek(member.start)
        return self._stream.read(min(member.num_bytes, MAX_LABEL_BYTES + 1))


def _begin(key: str, place: str, known: set[int]) -> Sample:
    if hash(key) in known:
        raise SourceError(
            f"{place} has sample {key[:200]!r} twice, with others between: the members of a sample "
            "follow each other, as tar --sort=name writes them; write the shard again"
        )
    known.add(hash(key))
    return Sample(key, f"{place} sample {key[:200]!r}")


def _add(sample: Sample, extension: str, member: Member) -> None:
    if extension in sample.members or extension in sample.lacking:
        raise SourceError(
            f"{sample.place} has {extension[:80]!r} twice: write each sample once, under a key of "
            "its own"
        )
    if len(sample.members) + len(sample.lacking) >= _MAX_MEMBERS:
        raise SourceError(
            f"{sample.place} has over {_MAX_MEMBERS} members: a key ends at the first dot of a "
            "file's name; write the shard again without dots in keys"
        )
    if member.lacks is None:
        sample.members[extension] = member
    else:
        sample.lacking[extension] = member.lacks
