"""Which member of a sample is its image, and which its label or holds it."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from accrete.core.untrusted import HEAD_BYTES, decode_json, pickle_kind
from accrete.data.sources.archives._samples import MAX_LABEL_BYTES, Sample
from accrete.data.sources.archives._tar_members import Member
from accrete.data.sources.label_rule import check_is_label
from accrete.data.sources.tables.text_table import numbers_as_whole
from accrete.errors import LabelError, SourceError, one_line

_LABEL_MEMBERS = ("cls", "class", "label", "target", "json", "txt")
"""Extensions that are looked for, in this order."""

LABEL_KEYS = ("label", "class", "cls", "class_name", "category", "target", "fine_label")
"""Keys of a JSON object that are looked for, in this order."""

_MAX_TEXT_BYTES = 4096
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DEREFERENCED = "write the shard again with what it leads to, as tar --dereference does"


class LacksMemberError(LabelError):
    """A sample has no image or no label, which may lie elsewhere in its shard."""


def as_numbers(texts: Sequence[str]) -> dict[str, int | str]:
    """Return labels of text as they are meant: all of them are numbers, or none is.

    Text is a number where all of a set's is: decimal, without zeros before it, maybe with `.0`
    after it. `01` and `1` are thus two classes, as they are in tables of text.

    Args:
        texts: different labels of a set.
    """
    whole = list(numbers_as_whole(texts))
    are_numbers = all(_NUMBER.fullmatch(text) for text in whole)
    pairs = zip(texts, whole, strict=True)
    return {text: int(number) if are_numbers else number for text, number in pairs}


class ImageMember:
    """Chooses the image of each sample."""

    def __init__(self, given: str | None, suffixes: Iterable[str]) -> None:
        """Choose by an extension that is given, else by the suffixes of images.

        Args:
            given: `--image-column`.
            suffixes: of image files, in lower case, with their dot.
        """
        self._given = None if given is None else given.lower().removeprefix(".")
        self._suffixes = tuple(suffixes)
        self.found: set[str] = set()

    def may_be_in(self, sample: Sample) -> bool:
        """Return whether a key has what may be an image, or a link in its place."""
        return bool(self._among(sample.members) or self._among(sample.lacking))

    def _among(self, extensions: Iterable[str]) -> list[str]:
        return [e for e in extensions if f".{e}".endswith(self._suffixes) or e == self._given]

    def of(self, sample: Sample) -> tuple[str, Member]:
        """Return extension and member of a sample's image.

        Raises:
            SourceError: it has none, or several and none was given.
        """
        if self._given is not None:
            member = sample.members.get(self._given)
            if member is None:
                _refuse_lacking(sample, [self._given], "image")
                raise LacksMemberError(
                    f"{sample.place} has no .{self._given} (--image-column), it has "
                    f"{_listed(sample.members)}: add it or remove the sample"
                )
            self.found.add(self._given)
            return self._given, member
        images = self._among(sample.members)
        if not images:
            _refuse_lacking(sample, self._among(sample.lacking), "image")
            raise LacksMemberError(
                f"{sample.place} has no image, it has {_listed(sample.members)}: add one, remove "
                "the sample, or say with --image-column which extension images have"
            )
        if len(images) > 1:
            raise SourceError(
                f"{sample.place} has several images: choose one of {_listed(images)} with "
                "--image-column"
            )
        self.found.add(images[0])
        return images[0], sample.members[images[0]]

    def told(self) -> str:
        """Return what is used and why."""
        why = "given" if self._given is not None else "the only image of each sample"
        return f"image: {_listed(sorted(self.found))}, {why}"


class LabelMember:
    """Chooses the label of each sample: a member, or a key of a JSON member.

    The first sample decides for all.
    """

    def __init__(self, given: str | None) -> None:
        """Choose by an extension or a key that is given, else the first that is usual."""
        self._given = None if given is None else given.removeprefix(".")
        self._extension: str | None = None
        self._key: str | None = None
        self._why = ""
        self._others: list[str] = []

    @property
    def extension(self) -> str | None:
        """The extension that is or holds the label; None: there was no sample yet."""
        return self._extension

    @property
    def column(self) -> str | None:
        """The label's name: a key of the JSON, or the extension."""
        return self._key or self._extension

    def may_be(self, extension: str) -> bool:
        """Return whether members of this extension must be read to find labels."""
        if self._extension is not None:
            return extension == self._extension
        if self._given is not None:
            return extension in (self._given.lower(), "json")
        return extension in _LABEL_MEMBERS

    def extension_of(self, sample: Sample) -> str:
        """Return the extension of the member that is or holds a sample's label.

        Raises:
            LabelError: the sample has none.
        """
        if self._extension is None:
            self._choose(sample)
        assert self._extension is not None
        if self._extension not in sample.members:
            _refuse_lacking(sample, [self._extension], "label")
            raise LacksMemberError(
                f"{sample.place} has no label: there is no .{self._extension}, as other samples "
                f"have, but {_listed(sample.members)}; add it or remove the sample"
            )
        return self._extension

    def of(self, sample: Sample) -> int | str:
        """Return a sample's label: the number of a class, or its name.

        Raises:
            LabelError: it has none, or what stands there names no class.
        """
        extension = self.extension_of(sample)
        data, place = sample.texts[extension], f"{sample.place} .{extension}"
        if extension != "json":
            return _of_text(data, place)
        found = _decoded(data, place)
        if self._key is None:
            return _of_value(found, place)
        if not isinstance(found, dict):
            raise LabelError(f"{place} is no JSON object, as other samples' are: write it again")
        if self._key not in found:
            raise LabelError(
                f"{place} has no {self._key!r}, as other samples have: add it or remove the sample"
            )
        return _of_value(found[self._key], f"{place} {self._key!r}")

    def check(self, classes: Sequence[str], num_samples: int, root: str) -> None:
        """Refuse what has a value of its own in nearly every sample: captions.

        Raises:
            SourceError: says what else there is.
        """
        key = "" if self._key is None else f" {self._key!r}"
        check_is_label(
            f"{root}: label .{self._extension}{key}",
            classes,
            num_samples,
            is_usual=self._given is not None or self._extension != "txt",
            others=self._others,
            unit="samples",
        )

    def told(self) -> str:
        """Return what is used and why."""
        key = "" if self._key is None else f" {self._key!r}"
        return f"label: .{self._extension}{key}, {self._why}"

    def _choose(self, sample: Sample) -> None:
        found = None
        if "json" in sample.texts:
            found = _decoded(sample.texts["json"], f"{sample.place} .json")
        keys = list(found) if isinstance(found, dict) else []
        usual = [key for key in LABEL_KEYS if key in keys]
        has_json = bool(usual) or _is_bare(found)
        if self._given is not None:
            self._choose_given(sample, self._given, keys, usual[0] if usual else None, has_json)
            return
        candidates = [
            name
            for name in _LABEL_MEMBERS
            if name in sample.members and (name != "json" or has_json)
        ]
        if not candidates:
            _refuse_lacking(sample, [n for n in _LABEL_MEMBERS if n in sample.lacking], "label")
            raise LacksMemberError(
                f"{sample.place} has no label that is found by itself, it has "
                f"{_listed(sample.members)}{_and_keys(keys)}: name an extension or a key of the "
                "JSON with --label-column"
            )
        self._extension = candidates[0]
        if self._extension == "json":
            self._key = usual[0] if usual else None
        others = [f".{name}" for name in candidates[1:]] + (
            [f".json {key!r}" for key in usual if key != self._key]
        )
        self._why = f"before {', '.join(others)}" if others else "the only one that is usual"
        self._others = [*candidates[1:], *(key for key in keys if key != self._key)]

    def _choose_given(
        self, sample: Sample, given: str, keys: list[str], usual: str | None, has_json: bool
    ) -> None:
        self._why = "given"
        if given.lower() in sample.members and given.lower() != "json":
            self._extension = given.lower()
        elif given in keys:
            self._extension, self._key = "json", given
        elif given == "json" and has_json:
            self._extension, self._key = "json", usual
        else:
            _refuse_lacking(sample, [given.lower()], "label")
            raise LacksMemberError(
                f"--label-column is {given!r}, but {sample.place} has "
                f"{_listed(sample.members)}{_and_keys(keys)}"
            )


def _refuse_lacking(sample: Sample, extensions: Sequence[str], what: str) -> None:
    """Refuse a sample of which a link stands where its image or label should be.

    Raises:
        LabelError: names the member.
    """
    for extension in extensions:
        if extension in sample.lacking:
            raise LabelError(
                f"{sample.place} has no {what}: its {_listed([extension])} is "
                f"{sample.lacking[extension]}, without content; {_DEREFERENCED}"
            )


def _listed(extensions: Iterable[str]) -> str:
    found = [one_line(f".{extension[:40]}") for extension in extensions]
    return ", ".join(found[:10]) + (" …" if len(found) > 10 else "")


def _and_keys(keys: list[str]) -> str:
    if not keys:
        return ""
    return f" with {', '.join(repr(key[:40]) for key in keys[:10])}" + " …" * (len(keys) > 10)


def _of_text(data: bytes, place: str) -> str:
    if pickle_kind(data[:HEAD_BYTES]) is not None:
        raise LabelError(
            f"{place} is {pickle_kind(data[:HEAD_BYTES])}, which is never loaded: write the class "
            "as text"
        )
    if len(data) > _MAX_TEXT_BYTES:
        raise LabelError(
            f"{place} is over {_MAX_TEXT_BYTES:,} bytes: a class's name is short; choose the label "
            "with --label-column"
        )
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise LabelError(f"{place} is no UTF-8 text: write the class as text") from error
    if not text:
        raise LabelError(f"{place} is empty: give the sample a label or remove it")
    return text


def _decoded(data: bytes, place: str) -> Any:
    if len(data) > MAX_LABEL_BYTES:
        raise LabelError(
            f"{place} is over {MAX_LABEL_BYTES:,} bytes: write the label to a member .cls"
        )
    try:
        return decode_json(data)
    except ValueError as error:
        raise LabelError(f"{place} is not JSON ({error}): write it again") from error


def _is_bare(found: Any) -> bool:
    """Return whether JSON is no object of keys, but a label itself, maybe as a list of one."""
    value = found[0] if isinstance(found, list) and len(found) == 1 else found
    return isinstance(value, int | float | str)


def _of_value(value: Any, place: str) -> int | str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and abs(value) < 10**18:
        return value
    if isinstance(value, str) and value.strip():
        return value
    shown = str(value)[:80] if isinstance(value, int | float | str) else type(value).__name__
    what = "null" if value is None else f"{shown!r}"
    raise LabelError(
        f"{place} is {what}: a label is a whole number or the name of a class; mend it or remove "
        "the sample"
    )
