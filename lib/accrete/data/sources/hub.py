"""Which files of a set of tables are which split, as Hugging Face's Hub finds it.

A README's YAML may say it (`configs:` with `data_files:`); else keywords in folders' names do, else
in files' names, delimited by anything but letters; else all files are for training. A set may have
several configurations: those of its README, or folders that each have splits of their own.

Source: "Data files configuration" and "File names and splits" in the Hub's documentation.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import PurePosixPath
from typing import Any

import yaml

from accrete.data.sources.base import LeftOut
from accrete.data.sources.files import Files
from accrete.data.sources.split_names import split_of_folders, split_of_name, splits_in
from accrete.data.sources.tables.arrow_columns import names_of_features
from accrete.errors import SourceError

ALL = "all"
"""The choice of every file, whatever its configuration."""

_SHARDED = re.compile(r"(?P<split>\w[\w.]*)-\d{5}-of-\d{5,}\b")
"""Of a split of any name, such as `unsupervised`."""

_MAX_README_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The files of a set that are read."""

    entries: tuple[tuple[str, str], ...]
    """(split, file), sorted by file."""
    text: str
    """How the splits were found, in words."""
    left_out: tuple[LeftOut, ...] = ()
    """Files of other configurations and splits."""
    notes: tuple[str, ...] = ()
    """What else somebody should know."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of ClassLabels that the README tells, by column."""


def readme_of(files: Files) -> bytes | None:
    """Return the README.md at the top of some files."""
    name = next((name for name in files.names() if name.lower() == "readme.md"), None)
    if name is None or files.size(name) > _MAX_README_BYTES:
        return None
    return files.read(name)


def choose_files(
    names: Sequence[str],
    root: str,
    *,
    subset: str | None = None,
    readme: bytes | None = None,
    is_alone: bool = False,
) -> Chosen:
    """Return which files are read, and their splits.

    Args:
        names: of the files of a table's kind, relative; at least one.
        root: what they lie below, for errors.
        subset: the configuration that was asked for; `all`: every file.
        readme: README.md beside the files.
        is_alone: whether the user gave one file by itself, which is for training whatever its name.

    Raises:
        SourceError: it could be read in two ways, or there is no such configuration; says which
            there are.
    """
    if is_alone:
        return Chosen(entries=(("train", names[0]),), text="one file")
    card, note = _card(readme)
    configs = _configurations(card, names, root)
    if configs and subset != ALL:
        return _of_readme(configs, card, names, root, subset)
    chosen = _by_folders(names, root, subset)
    return dataclasses.replace(
        chosen,
        notes=(*chosen.notes, *note),
        class_names=_card_names(card, None),
    )


def _by_folders(names: Sequence[str], root: str, subset: str | None) -> Chosen:
    """Return the splits that names tell, in one of several folders that each have splits."""
    folders = _folders_with_splits(names)
    if subset is not None and subset != ALL:
        if subset not in folders:
            raise _no_subset(root, subset, list(folders))
        inside = folders[subset]
        chosen = _by_words(inside, root)
        others = [LeftOut(place=n, reason="another config") for n in names if n not in inside]
        return dataclasses.replace(
            chosen,
            text=f"configuration {subset}, {chosen.text}",
            left_out=(*chosen.left_out, *others),
        )
    if len(folders) > 1 and subset is None:
        raise SourceError(
            f"{root} can be read in two ways: {len(folders)} configurations "
            f"({', '.join(sorted(folders)[:5])}), of which --config names one, or one set in "
            "several folders: --config all"
        )
    return _by_words(names, root)


def _no_subset(root: str, subset: str, known: Sequence[str]) -> SourceError:
    there = f"it has {', '.join(sorted(known)[:8])}" if known else "it has one only: leave it out"
    return SourceError(f"--config is {subset!r}, but {root} has none of that name: {there}")


def _by_words(names: Sequence[str], root: str) -> Chosen:
    """Return the splits that names tell: their folders' first, else their own."""
    found = {name: split_of_folders(name) or split_of_name(_base(name)) for name in names}
    if not any(found.values()):
        unclear = next((name for name in names if len(splits_in(_base(name))) > 1), None)
        if unclear is not None:
            raise SourceError(
                f"{root}/{unclear} has words of several splits in its name: rename it, or put it "
                "into a folder named train or test"
            )
        return Chosen(
            entries=tuple(("train", name) for name in sorted(names)), text="no splits in names"
        )
    left_out = {name: other for name in names if not found[name] and (other := _other_split(name))}
    unknown = [name for name, split in found.items() if split is None and name not in left_out]
    if unknown:
        more = f", nor do those of {len(unknown) - 1:,} others" if len(unknown) > 1 else ""
        raise SourceError(
            f"{root}/{unknown[0]} lies beside files of splits, but its name tells none{more}: "
            f"rename it, or leave it out: --exclude {unknown[0]!r}"
        )
    entries = sorted((name, split) for name, split in found.items() if split)
    if not any(split == "train" for _, split in entries):
        splits = sorted({split for _, split in entries})
        raise SourceError(
            f"{root} has files to {' and '.join(splits)}, but none to train on "
            f"({entries[0][0]}): name one train, or give the file itself"
        )
    others = ", ".join(sorted(set(left_out.values())))
    return Chosen(
        entries=tuple((split, name) for name, split in entries),
        text=f"splits by {'folders' if any(map(split_of_folders, names)) else 'names of files'}",
        left_out=tuple(
            LeftOut(place=name, reason=f"split {other}") for name, other in left_out.items()
        ),
        notes=(f"splits of other names are left out: {others}",) if others else (),
    )


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _other_split(name: str) -> str | None:
    """Return the name of a split that is none of ours, as files in shards tell it."""
    match = _SHARDED.match(_base(name))
    if match is None or splits_in(match["split"]):
        return None
    folder = PurePosixPath(name).parent.name
    return folder if match["split"] == "data" and folder else match["split"]


def _folders_with_splits(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the folders above splits, where there are several, by what tells them apart."""
    heads: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts[:-1]
        level = next((n for n, part in enumerate(parts) if split_of_name(part)), len(parts))
        heads.setdefault(parts[:level], []).append(name)
    if len(heads) < 2 or not all(
        any((split_of_folders(n) or split_of_name(_base(n))) == "train" for n in inside)
        for inside in heads.values()
    ):
        return {}
    return {"/".join(head) or ".": inside for head, inside in heads.items()}


def _card(readme: bytes | None) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the YAML at the head of a README, nothing where it has none; and a note."""
    text = (readme or b"").removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    if not text.startswith("---"):
        return {}, ()
    head = text.split("\n---", 1)[0].removeprefix("---")
    try:
        card = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = str(error).partition("\n")[0][:120]
        return {}, (f"the YAML of README.md cannot be read, and is not followed ({detail})",)
    return (card if isinstance(card, Mapping) else {}), ()


_Splits = list[tuple[str, str]]
"""(split as it is called, file) of a configuration."""


def _configurations(card: Mapping[str, Any], names: Sequence[str], root: str) -> dict[str, _Splits]:
    """Return a card's configurations; those alone that have files here."""
    found: dict[str, _Splits] = {}
    configs = card.get("configs")
    for config in configs if isinstance(configs, list) else []:
        if not isinstance(config, Mapping):
            continue
        folder, data_files = str(config.get("data_dir") or "").strip("/"), config.get("data_files")
        if data_files is None and folder:
            inside = [name for name in names if name.startswith(f"{folder}/")]
            chosen = list(_by_words(inside, root).entries) if inside else []
        else:
            chosen = []
            for split, patterns in _patterns(data_files, folder).items():
                known = {name for _, name in chosen}
                chosen += [(split, n) for n in _matching(patterns, names) if n not in known]
        if chosen:
            found[str(config.get("config_name", "default"))] = chosen
    return found


def _patterns(data_files: Any, folder: str) -> dict[str, list[str]]:
    """Return patterns by split of `data_files`, in any of its forms."""
    if isinstance(data_files, str):
        pairs: list[tuple[Any, Any]] = [("train", data_files)]
    elif isinstance(data_files, Mapping):
        pairs = list(data_files.items())
    elif isinstance(data_files, list):
        pairs = [
            (each.get("split", "train"), each.get("path"))
            if isinstance(each, Mapping)
            else ("train", each)
            for each in data_files
        ]
    else:
        pairs = []
    found: dict[str, list[str]] = {}
    for split, paths in pairs:
        listed = paths if isinstance(paths, list) else [paths]
        found.setdefault(str(split), []).extend(
            f"{folder.strip('/')}/{path}".lstrip("/") for path in listed if isinstance(path, str)
        )
    return found


def _matching(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    compiled = [re.compile(_regex(pattern.removeprefix("./"))) for pattern in patterns]
    return [name for name in names if any(each.fullmatch(name) for each in compiled)]


def _regex(pattern: str) -> str:
    """Return a glob as a regular expression: `**/` is any folders, `*` stays within one."""
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append("**")
        else:
            within = translate(part).removeprefix("(?s:").removesuffix(r")\Z").removesuffix(r")\z")
            parts.append(re.sub(r"(?<!\\)\.\*", "[^/]*", within))
    return "/".join(parts).replace("**/", "(?:.*/)?").replace("**", ".*")


def _of_readme(
    configs: Mapping[str, _Splits],
    card: Mapping[str, Any],
    names: Sequence[str],
    root: str,
    subset: str | None,
) -> Chosen:
    name = subset or _default(configs, card)
    if name is None:
        raise SourceError(
            f"{root} has {len(configs)} configurations: choose one of "
            f"{', '.join(list(configs)[:8])} with --config"
        )
    if name not in configs:
        raise _no_subset(root, name, list(configs))
    told = [(split_of_name(split), split, file) for split, file in configs[name]]
    entries = {file: split for split, _, file in told if split is not None}
    if "train" not in entries.values():
        raise SourceError(f"{root}: configuration {name} of its README has no files to train on")
    left_out = {file: f"split {called}" for split, called, file in told if split is None}
    others = sorted({called for split, called, _ in told if split is None})
    notes = [f"splits of other names are left out: {', '.join(others)}"] if others else []
    left_out |= {n: "another config" for n in names if n not in entries and n not in left_out}
    rest = [other for other in configs if other != name]
    if rest:
        notes.append(f"other configurations are {', '.join(rest[:8])}: --config chooses")
    return Chosen(
        entries=tuple((split, file) for file, split in sorted(entries.items())),
        text=f"configuration {name} of the README",
        left_out=tuple(LeftOut(place=file, reason=why) for file, why in left_out.items()),
        notes=tuple(notes),
        class_names=_card_names(card, name),
    )


def _default(configs: Mapping[str, Any], card: Mapping[str, Any]) -> str | None:
    if len(configs) == 1:
        return next(iter(configs))
    marked = [c for c in card["configs"] if isinstance(c, Mapping) and c.get("default") is True]
    if marked and str(marked[0].get("config_name")) in configs:
        return str(marked[0].get("config_name"))
    return "default" if "default" in configs else None


def _card_names(card: Mapping[str, Any], config: str | None) -> dict[str, tuple[str, ...]]:
    """Return the ClassLabel names of a card's `dataset_info`: of a configuration, or the only."""
    infos = card.get("dataset_info")
    infos = infos if isinstance(infos, list) else [infos]
    for info in infos:
        if not isinstance(info, Mapping):
            continue
        is_only = config is None and len(infos) == 1
        if is_only or str(info.get("config_name", config)) == config:
            try:
                return names_of_features(_features(info.get("features")))
            except (ValueError, TypeError):
                return {}
    return {}


def _features(listed: Any) -> dict[str, Any]:
    """Return a card's list of features as `datasets` has them in its metadata."""
    found: dict[str, Any] = {}
    for feature in listed if isinstance(listed, list) else []:
        kind = feature.get("dtype") if isinstance(feature, Mapping) else None
        label = kind.get("class_label") if isinstance(kind, Mapping) else None
        names = label.get("names") if isinstance(label, Mapping) else None
        if isinstance(names, Mapping):
            ordered = sorted(names.items(), key=lambda pair: int(pair[0]))
            names = [str(name) for _, name in ordered]
        if isinstance(names, list):
            found[str(feature.get("name"))] = {"_type": "ClassLabel", "names": names}
    return found
