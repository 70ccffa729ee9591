"""Which stage a user means: one of a run by its number, or any by its digest."""

import re

from accrete import keys
from accrete.catalog import Catalog
from accrete.config import check_run_name
from accrete.errors import ConfigError, InputError
from accrete.manifests import StageManifest
from accrete.runs import RunRecord, find_record, find_sweep_record, step_documents

_DIGEST = re.compile(r"[0-9a-f]{12,64}")


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


def _check_no_index(found: StageManifest, index: int | None) -> None:
    if index is not None and index != found.index:
        raise ConfigError(
            f"stage is {index}, but {found.digest[:12]} is a stage itself, number {found.index}: "
            "give a run's name to choose among its stages"
        )
