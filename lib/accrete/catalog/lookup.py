"""What a user means: a run, a stage or a data set, by its name or some digits of its digest."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.inventory import Inventory, References, follow
from accrete.catalog.manifests import StageManifest
from accrete.catalog.newest import find_newest, is_latest, newest_run
from accrete.catalog.records import RunRecord, find_record, find_sweep_record
from accrete.catalog.step_documents import step_documents
from accrete.config.run import BaseModel, ModelConfig, check_run_name
from accrete.errors import ConfigError, InputError, RunNotFoundError
from accrete.store import keys

_DIGEST = re.compile(r"[0-9a-f]{12,64}")


def plain_name(catalog: Catalog, name: str, index: int | None, tell: Callable[[str], None]) -> str:
    """Return a model's name with NAME@latest as the run whose last stage that is.

    Args:
        catalog: where to look.
        name: a run's name, digits of a stage's digest, or NAME@latest.
        index: number of the stage that was asked for; None: the last.
        tell: hears which stage NAME@latest is.

    Raises:
        RunNotFoundError: the store knows no such run.
        InputError: the run's life has forked, or nothing of it is finished.
    """
    if not is_latest(name):
        return name
    if index is not None:
        raise ConfigError(
            f"stage is {index}, but {name} is the last stage of a run: leave --stage out, or give "
            "a run's name alone"
        )
    return find_newest(catalog, name, tell).name


def find_stage(catalog: Catalog, name: str, index: int | None) -> StageManifest:
    """Return a finished stage's manifest.

    Args:
        catalog: where to look.
        name: a run's name, or at least 12 digits of a stage's digest; a run of that name comes
            first.
        index: j, from 1, of a run's stages; None: the last.

    Raises:
        RunNotFoundError: the store knows neither such a run nor such a stage.
        InputError: the run has no such stage, or it is not finished.
        IntegrityError: the manifest was changed, or an object that it names is gone.
    """
    may_be_digest = _DIGEST.fullmatch(name) is not None
    if not may_be_digest:
        check_run_name(name)
    record = find_record(catalog.store, name)
    if record is not None:
        return _stage_of_run(catalog, record, index)
    found = _by_digest(catalog, name) if may_be_digest else None
    if found is not None:
        _check_no_index(found, index)
        return found
    sweep = find_sweep_record(catalog.store, name)
    if sweep is not None:
        raise InputError(
            f"{name!r} is a {sweep.sweep.purpose} of {len(sweep.cells)} runs: give the digest of "
            "the stage that you mean, which its report.json names"
        )
    step_documents(catalog.store, name)  # refuses a run that nothing is known of
    raise InputError(
        f"run {name!r} has no stage yet, its data set is not prepared: "
        f"`accrete status {name}` tells how it stands"
    )


def _stage_of_run(catalog: Catalog, record: RunRecord, index: int | None) -> StageManifest:
    num_stages = len(record.stages)
    wanted = num_stages if index is None else index
    if not 1 <= wanted <= num_stages:
        raise ConfigError(
            f"stage is {wanted}: run {record.name!r} has {num_stages}, "
            f"give a number from 1 to {num_stages}"
        )
    manifest = catalog.stage(record.stages[wanted - 1])
    if manifest is None:
        finished = _last_finished(catalog, record, wanted)
        advice = f"--stage {finished} is" if finished else "none before it is"
        raise InputError(
            f"stage {wanted} of run {record.name!r} is not finished, {advice}: "
            f"`accrete status {record.name}` tells how the run stands"
        )
    return manifest


def _last_finished(catalog: Catalog, record: RunRecord, before: int) -> int | None:
    for index in range(before - 1, 0, -1):
        if catalog.store.size_of(keys.stage_key(record.stages[index - 1])) is not None:
            return index
    return None


def _by_digest(catalog: Catalog, digits: str) -> StageManifest | None:
    """Return the one stage whose digest begins so, None where there is none."""
    listed = catalog.store.list_keys(keys.stage_prefix(digits))
    digests = sorted({key.split("/")[1] for key in listed})
    if len(digests) > 1:
        shown = ", ".join(digest[: len(digits) + 8] for digest in digests)
        raise InputError(f"stage {digits!r} may be any of {shown}: give more digits")
    return catalog.stage(digests[0]) if digests else None


def dataset_digest(catalog: Catalog, digits: str) -> str:
    """Return the whole digest of a stored data set.

    Args:
        catalog: where it is.
        digits: its first 12 or more.

    Raises:
        ConfigError: these are no digits of a digest.
        RunNotFoundError: there is none.
        InputError: the digits fit several.
    """
    if _DIGEST.fullmatch(digits) is None:
        raise ConfigError(
            f"data set is {digits[:80]!r}: give 12 or more of the hexadecimal digits of its "
            "digest, which `accrete ls datasets` lists"
        )
    listed = catalog.store.list_keys(keys.dataset_prefix(digits))
    digests = sorted({key.split("/")[1] for key in listed})
    if not digests:
        raise RunNotFoundError(
            f"no data set {digits[:16]}… in {catalog.store.address}: `accrete ls datasets` lists "
            "what there is"
        )
    if len(digests) > 1:
        shown = ", ".join(digest[: len(digits) + 8] for digest in digests)
        raise InputError(f"data set {digits!r} may be any of {shown}: give more digits")
    return digests[0]


def _check_no_index(found: StageManifest, index: int | None) -> None:
    if index is not None and index != found.index:
        raise ConfigError(
            f"stage is {index}, but {found.digest[:12]} is a stage itself, number {found.index}: "
            "give a run's name to choose among its stages"
        )


_DIGITS = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One thing in a store."""

    kind: str
    """`run` (a sweep is one, too), `stage` or `data set`."""
    name: str
    """Its name, or its whole digest."""

    def references(self, inventory: Inventory) -> References:
        """Return what it names, directly or through others, itself included."""
        if self.kind == "run":
            return inventory.references(self.name)
        stages = [self.name] if self.kind == "stage" else []
        datasets = [self.name] if self.kind == "data set" else []
        return follow(
            [],
            inventory.stages,
            inventory.datasets,
            more_stages=stages,
            more_datasets=datasets,
        )


def find_named(inventory: Inventory, text: str, tell: Callable[[str], None]) -> Named:
    """Return what is meant.

    Args:
        inventory: what there is.
        text: a run's name; or at least 8 digits of a digest: a stage's, a data set's, or that of a
            stage's checkpoint, which means the stage; or NAME@latest, a stage, too.
        tell: hears which stage NAME@latest is.

    Raises:
        RunNotFoundError: there is no such thing.
        InputError: the digits fit several, or the run's life has forked.
    """
    if is_latest(text):
        newest = newest_run(text, inventory.runs, inventory.stages.__contains__, tell)
        return Named(kind="stage", name=newest.stages[-1])
    if text in inventory.runs:
        return Named(kind="run", name=text)
    if text in inventory.unprepared:
        raise RunNotFoundError(
            f"run {text!r} has no data set yet, and names nothing: "
            f"`accrete status {text}` tells how it stands"
        )
    found = _by_digits(inventory, text) if _DIGITS.fullmatch(text) else []
    if not found:
        raise RunNotFoundError(
            f"no run is called {text!r}, and no stage, data set or checkpoint has a digest that "
            "begins so: `accrete ls` lists what there is"
        )
    if len(found) > 1:
        shown = ", ".join(f"{each.kind} {each.name[: len(text) + 8]}" for each in found[:4])
        raise InputError(f"{text!r} may be any of {shown}: give more digits")
    return found[0]


def _by_digits(inventory: Inventory, digits: str) -> list[Named]:
    def beginning_so(kind: str, digests: Mapping[str, Any]) -> list[Named]:
        return [Named(kind=kind, name=each) for each in sorted(digests) if each.startswith(digits)]

    of_checkpoints = [
        Named(kind="stage", name=digest)
        for digest, stage in inventory.stages.items()
        if stage.checkpoint.sha256.startswith(digits)
    ]
    stages = beginning_so("stage", inventory.stages)
    return [*stages, *beginning_so("data set", inventory.datasets), *of_checkpoints]


def base_of_stage(manifest: StageManifest, origin: str) -> BaseModel:
    """Return a finished stage as a base; the data set that it was trained on has the old shards.

    Args:
        manifest: the stage.
        origin: how the user named it.
    """
    return BaseModel(
        origin=origin,
        identity=manifest.digest,
        checkpoint_sha256=manifest.checkpoint.sha256,
        checkpoint_bytes=manifest.checkpoint.num_bytes,
        dataset=manifest.dataset,
        image=manifest.image,
        normalization=manifest.normalization,
        top1=manifest.result.top1,
    )


def find_base(
    catalog: Catalog, name: str, index: int | None, tell: Callable[[str], None]
) -> tuple[BaseModel, ModelConfig, tuple[str, ...]]:
    """Return a base, its network without what that began from, and its class names, by label.

    Args:
        catalog: where to look.
        name: a run's name, at least 12 digits of a stage's digest, or NAME@latest.
        index: j, from 1, of a run's stages; None: the last.
        tell: hears which stage NAME@latest is.

    Raises:
        RunNotFoundError: the store knows neither such a run nor such a stage.
        InputError: the run has no such stage, it is not finished, or its life has forked.
    """
    name = plain_name(catalog, name, index, tell)
    manifest = find_stage(catalog, name, index)
    is_digest = manifest.digest.startswith(name)
    origin = f"stage {name[:12]}" if is_digest else f"stage {manifest.index} of run {name}"
    return base_of_stage(manifest, origin), manifest.model.architecture, manifest.class_names
