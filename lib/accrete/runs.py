"""Runs: what a name stands for, and how far each of its steps is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accrete import keys
from accrete.catalog import parse_json
from accrete.chain import StageSpec
from accrete.codec import from_json, to_json
from accrete.config import RunConfig
from accrete.digest import canonical_json
from accrete.errors import RunNameTakenError, RunNotFoundError
from accrete.manifests import FORMAT
from accrete.store import ObjectStore


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
        ConfigError, IntegrityError: it is none.
    """
    return from_json(RunRecord, parse_json(data, place), place)


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
            raise RunNameTakenError(
                f"run {record.name!r} was made from other images or by another version: "
                "choose another --name"
            )


def check_same_config(existing: RunRecord, config: RunConfig) -> None:
    """Refuse to use a run's name for another configuration.

    Raises:
        RunNameTakenError: they differ.
    """
    if existing.config.digest != config.digest:
        raise RunNameTakenError(
            f"run {existing.name!r} exists with another configuration "
            f"({existing.config.plan.rule}): choose another --name"
        )


def find_record(store: ObjectStore, name: str) -> RunRecord | None:
    """Return a run's record, None where its data set is not prepared yet."""
    key = keys.run_key(name)
    data = store.read_note(key)
    return None if data is None else parse_record(data, store.uri(key))


def run_names(store: ObjectStore) -> list[str]:
    """Return the names of all runs, sorted."""
    found = store.list_keys(keys.run_prefix())
    return sorted({key.removeprefix(keys.run_prefix()).split("/")[0] for key in found})


def step_documents(store: ObjectStore, name: str) -> list[dict[str, Any]]:
    """Return the journal of each step that has begun, in step order.

    Raises:
        RunNotFoundError: the store knows no such run.
    """
    found = store.list_keys(keys.step_prefix(name))
    if not found:
        raise RunNotFoundError(
            f"no run {name!r} in {store.address}: `accrete status` lists the runs"
        )
    notes = [(key, store.read_note(key)) for key in sorted(found)]
    return [parse_json(data, store.uri(key)) for key, data in notes if data is not None]
