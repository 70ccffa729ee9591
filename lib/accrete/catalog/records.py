"""Runs: what a name stands for, and which stages it led to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import FORMAT, DatasetManifest, check_stored_format
from accrete.config.rules import shown_rule
from accrete.config.run import RunConfig, check_run_name, is_run_name
from accrete.config.sweep import Sweep
from accrete.core.hashing import canonical_json
from accrete.core.serialization import from_json, to_json
from accrete.core.settings import shown_address
from accrete.core.untrusted import parse_json
from accrete.core.validation import check_sha256
from accrete.errors import (
    ConfigError,
    InputError,
    IntegrityError,
    RunNameTakenError,
    RunNotFoundError,
)
from accrete.store import keys
from accrete.store.object_store import ObjectStore

T = TypeVar("T", "RunRecord", "SweepRecord")
_OTHER_IMAGES = "run {!r} was made from other images or by another version: choose another --name"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run: its configuration, and the data set and stages that this led to. Never changed."""

    format: int
    """FORMAT."""
    name: str
    """The run's name."""
    config: RunConfig
    """What was asked for."""
    dataset: str
    """Digest of the data set."""
    stages: tuple[str, ...]
    """Identity of each stage, in order."""

    def __post_init__(self) -> None:
        check_run_name(self.name)
        check_sha256("data set", self.dataset)
        check_recorded_stages(self.stages, self.config)


def check_recorded_stages(stages: Sequence[str], config: RunConfig) -> None:
    """Refuse identities that are none, or of another number of stages than a run has.

    Raises:
        ConfigError: names the first, or both numbers.
    """
    for stage in stages:
        check_sha256("stage", stage)
    if len(stages) != len(config.plan.stage_sizes):
        raise ConfigError(
            f"there are {len(stages)} stages, but the plan has {len(config.plan.stage_sizes)}"
        )


def make_record(
    name: str, config: RunConfig, dataset: str, chain: Sequence[StageSpec]
) -> RunRecord:
    """Return the record of a run whose data set is prepared."""
    return RunRecord(
        format=FORMAT,
        name=name,
        config=config,
        dataset=dataset,
        stages=tuple(spec.digest for spec in chain),
    )


def parse_record(data: bytes, place: str) -> RunRecord:
    """Return a run record from its stored bytes.

    Raises:
        IntegrityError: it is none.
    """
    return _decoded(RunRecord, data, place)


def dump_record(record: RunRecord) -> bytes:
    """Return a run record's stored bytes."""
    return canonical_json(to_json(record))


def create_record(store: ObjectStore, record: RunRecord) -> None:
    """Claim a run's name, or find it claimed by the very same run.

    Raises:
        RunNameTakenError: the name stands for another configuration or other data.
    """
    data = dump_record(record)
    if store.create_note(keys.run_key(record.name), data):
        return
    existing = find_record(store, record.name)
    if existing is not None:
        check_same_config(existing, record.config)
        if dump_record(existing) != data:
            raise RunNameTakenError(_OTHER_IMAGES.format(record.name))


def check_same_config(existing: RunRecord, config: RunConfig | Sweep) -> None:
    """Refuse to use a run's name for another configuration.

    Raises:
        RunNameTakenError: they differ.
    """
    if existing.config.digest != config.digest:
        raise RunNameTakenError(
            f"run {existing.name!r} exists with another configuration "
            f"({_difference(existing.config, config)}): choose another --name (in Kubeflow: "
            "run_name)"
        )


def _difference(there: RunConfig, here: RunConfig | Sweep) -> str:
    """Return how two configurations differ, in words: the first field that does, or the rule."""
    rule = shown_rule(there.plan.rule)
    if isinstance(here, Sweep) or here.plan != there.plan:
        return rule
    found = _first_difference(to_json(there), to_json(here), "")
    return rule if found is None else f"{rule}; {found}"


def _first_difference(there: Any, here: Any, name: str) -> str | None:
    if there == here:
        return None
    if isinstance(there, dict) and isinstance(here, dict):
        for key in [*there, *(key for key in here if key not in there)]:
            place = f"{name}.{key}" if name else str(key)
            found = _first_difference(there.get(key), here.get(key), place)
            if found is not None:
                return found
    values = (shown_address(str(each))[:60] for each in (there, here))
    return "{} is {} there, and {} here".format(name, *values)


def find_record(store: ObjectStore, name: str) -> RunRecord | None:
    """Return a run's record, None where its data set is not prepared yet."""
    key = keys.run_key(name)
    data = store.read_note(key)
    return None if data is None else parse_record(data, store.uri(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """What a cell of a sweep led to."""

    name: str
    """The cell's name."""
    stages: tuple[str, ...]
    """Identity of each of its stages, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """A sweep: its configuration, and the data set and stages that this led to. Never changed."""

    format: int
    """FORMAT."""
    name: str
    """The sweep's name, of the same kind as runs' names."""
    sweep: Sweep
    """What was asked for."""
    dataset: str
    """Digest of the data set."""
    cells: tuple[CellRecord, ...]
    """In the sweep's order."""

    def __post_init__(self) -> None:
        check_run_name(self.name)
        check_sha256("data set", self.dataset)
        if [cell.name for cell in self.cells] != [cell.name for cell in self.sweep.cells]:
            raise ConfigError("its cells are not those of its sweep")
        for record, cell in zip(self.cells, self.sweep.cells, strict=True):
            check_recorded_stages(record.stages, self.sweep.run_config(cell))

    def run(self, cell: str) -> RunRecord:
        """Return a cell as a run of its own.

        Raises:
            ConfigError: there is no such cell.
        """
        config = self.sweep.run_config(self.sweep.cell(cell))
        stages = next(record.stages for record in self.cells if record.name == cell)
        return RunRecord(
            format=self.format, name=self.name, config=config, dataset=self.dataset, stages=stages
        )


def make_sweep_record(name: str, sweep: Sweep, dataset: DatasetManifest) -> SweepRecord:
    """Return the record of a sweep whose data set is prepared.

    Raises:
        ConfigError: a cell's recipe does not fit its plan.
    """
    chains = {cell.name: stage_chain(sweep.run_config(cell), dataset) for cell in sweep.cells}
    return SweepRecord(
        format=FORMAT,
        name=name,
        sweep=sweep,
        dataset=dataset.digest,
        cells=tuple(
            CellRecord(name=cell, stages=tuple(spec.digest for spec in chain))
            for cell, chain in chains.items()
        ),
    )


def parse_sweep_record(data: bytes, place: str) -> SweepRecord:
    """Return a sweep's record from its stored bytes.

    Raises:
        IntegrityError: it is none.
    """
    return _decoded(SweepRecord, data, place)


def _decoded(kind: type[T], data: bytes, place: str) -> T:
    """Return a record; nobody wrote its fields by hand, so that a wrong one means damage."""
    try:
        record = from_json(kind, parse_json(data, place), place)
    except InputError as error:
        raise IntegrityError(
            f"{error}: it was changed, or is another version's; delete {place} and run again"
        ) from error
    check_stored_format(record.format, place)
    return record


def dump_sweep_record(record: SweepRecord) -> bytes:
    """Return a sweep record's stored bytes."""
    return canonical_json(to_json(record))


def create_sweep_record(store: ObjectStore, record: SweepRecord) -> None:
    """Claim a name for a sweep, or find it claimed by the very same one.

    Raises:
        RunNameTakenError: the name stands for something else.
    """
    data = dump_sweep_record(record)
    if store.create_note(keys.sweep_key(record.name), data):
        return
    check_name_is_free(store, record.name, record.sweep)
    if store.read_note(keys.sweep_key(record.name)) != data:
        raise RunNameTakenError(_OTHER_IMAGES.format(record.name))


def find_sweep_record(store: ObjectStore, name: str) -> SweepRecord | None:
    """Return a sweep's record, None where its data set is not prepared yet."""
    key = keys.sweep_key(name)
    data = store.read_note(key)
    return None if data is None else parse_sweep_record(data, store.uri(key))


def has_record(store: ObjectStore, name: str) -> bool:
    """Return whether a name stands for a run or a sweep."""
    return any(store.size_of(key) is not None for key in (keys.run_key(name), keys.sweep_key(name)))


def check_name_is_free(store: ObjectStore, name: str, config: RunConfig | Sweep) -> bool:
    """Refuse a name that stands for something else; return whether it stands for this already.

    Raises:
        RunNameTakenError: it is another run's or sweep's.
    """
    run, sweep = find_record(store, name), find_sweep_record(store, name)
    if run is not None:
        check_same_config(run, config)
    if sweep is not None and sweep.sweep.digest != config.digest:
        raise RunNameTakenError(
            f"{name!r} is a {sweep.sweep.purpose} with another configuration "
            f"({shown_rule(sweep.sweep.rule)}): choose another --name (in Kubeflow: run_name)"
        )
    return run is not None or sweep is not None


def stages_of(store: ObjectStore, name: str) -> tuple[str, ...]:
    """Return the identities of all stages of a run or a sweep whose data set is prepared.

    Raises:
        RunNotFoundError: there is neither.
    """
    run, sweep = find_record(store, name), find_sweep_record(store, name)
    if run is not None:
        return run.stages
    if sweep is not None:
        return tuple(stage for cell in sweep.cells for stage in cell.stages)
    raise RunNotFoundError(f"run {name!r} has no record in {store.address}")


def run_names(store: ObjectStore) -> list[str]:
    """Return the names of all runs, sorted; what is no run's name is passed over."""
    found = store.list_keys(keys.run_prefix())
    names = {key.removeprefix(keys.run_prefix()).split("/")[0] for key in found}
    return sorted(name for name in names if is_run_name(name))
