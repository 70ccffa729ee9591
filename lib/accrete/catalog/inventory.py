"""All that a store says that it has, read and checked, and what of it names what."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.catalog.records import (
    RunRecord,
    SweepRecord,
    find_record,
    find_sweep_record,
    run_names,
)
from accrete.config.pretrained_weights import PretrainedWeights
from accrete.config.run import BaseModel
from accrete.core.validation import is_sha256
from accrete.errors import AccreteError, ObjectMissingError, StoreError
from accrete.store import keys
from accrete.store.keys import ObjectRef


@dataclass(slots=True, kw_only=True)
class References:
    """Everything that some runs, stages and data sets name, directly or through each other."""

    stages: set[str] = field(default_factory=set)
    """Identities of stages, finished or not."""
    datasets: set[str] = field(default_factory=set)
    """Digests of data sets."""
    objects: dict[str, int] = field(default_factory=dict)
    """SHA-256 and size in bytes of objects."""


def stages_of_record(record: RunRecord | SweepRecord) -> tuple[str, ...]:
    """Return the identities of a run's stages, or of those of all cells of a sweep, each once."""
    if isinstance(record, RunRecord):
        return record.stages
    return tuple(dict.fromkeys(stage for cell in record.cells for stage in cell.stages))


def base_of_record(record: RunRecord | SweepRecord) -> BaseModel | None:
    """Return the trained model that a run grows, None for a run from scratch or a sweep."""
    return record.config.base if isinstance(record, RunRecord) else None


def weights_of_record(record: RunRecord | SweepRecord) -> PretrainedWeights | None:
    """Return the weights that a run or a sweep begins from, None where they are random."""
    asked = record.config if isinstance(record, RunRecord) else record.sweep
    return asked.model.weights


def follow(
    records: Iterable[RunRecord | SweepRecord],
    stages: Mapping[str, StageManifest],
    datasets: Mapping[str, DatasetManifest],
    *,
    more_stages: Iterable[str] = (),
    more_datasets: Iterable[str] = (),
) -> References:
    """Return all that some records name, through manifests that exist.

    Args:
        records: where to begin.
        stages: manifests of finished stages, by identity.
        datasets: dataset manifests, by digest.
        more_stages: stages to begin with besides.
        more_datasets: data sets to begin with besides.
    """
    found = References(stages=set(more_stages), datasets=set(more_datasets))
    for record in records:
        found.stages.update(stages_of_record(record))
        found.datasets.add(record.dataset)
        _add_base(found, base_of_record(record))
        weights = weights_of_record(record)
        if weights is not None:
            found.objects[weights.sha256] = weights.num_bytes
    _follow_stages(found, stages)
    _follow_datasets(found, datasets)
    return found


def _add_base(found: References, base: BaseModel | None) -> None:
    if base is None:
        return
    found.objects[base.checkpoint_sha256] = base.checkpoint_bytes
    found.stages.add(base.identity)  # that of a file of weights is no stage's, and does no harm
    if base.dataset is not None:
        found.datasets.add(base.dataset)


def _follow_stages(found: References, stages: Mapping[str, StageManifest]) -> None:
    waiting = list(found.stages)
    while waiting:
        manifest = stages.get(waiting.pop())
        if manifest is None:
            continue  # not finished
        _add_objects(found, (manifest.checkpoint, manifest.metrics))
        found.datasets.add(manifest.dataset)
        if manifest.parent is not None and manifest.parent not in found.stages:
            found.stages.add(manifest.parent)
            waiting.append(manifest.parent)


def _follow_datasets(found: References, datasets: Mapping[str, DatasetManifest]) -> None:
    waiting = list(found.datasets)
    while waiting:
        manifest = datasets.get(waiting.pop())
        if manifest is None:
            continue
        for entry in manifest.classes:
            _add_objects(found, entry.all_shards)
        if manifest.extends is not None and manifest.extends not in found.datasets:
            found.datasets.add(manifest.extends)
            waiting.append(manifest.extends)


def _add_objects(found: References, refs: Iterable[ObjectRef]) -> None:
    found.objects.update({ref.sha256: ref.num_bytes for ref in refs})


_PARALLEL_READS = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What the records and manifests in a store say; the objects were not looked at."""

    runs: dict[str, RunRecord | SweepRecord]
    """Runs and sweeps whose data set is prepared, by name."""
    unprepared: tuple[str, ...]
    """Names under which a run began that has no record yet, or none that can be read."""
    stages: dict[str, StageManifest]
    """Finished stages, by identity."""
    datasets: dict[str, DatasetManifest]
    """Data sets, by digest."""
    damaged: dict[str, str]
    """Keys of records and manifests that cannot be read, and why."""

    def references(self, *names: str) -> References:
        """Return all that some runs name; without names, all runs."""
        records = [record for name, record in self.runs.items() if not names or name in names]
        return follow(records, self.stages, self.datasets)


def read_inventory(catalog: Catalog) -> Inventory:
    """Read every record and manifest of a store; what is damaged is a part of the answer.

    Raises:
        StoreError: the store does not do what is asked.
    """
    store = catalog.store
    damaged: dict[str, str] = {}
    names = run_names(store)
    runs = _read_all(names, keys.run_key, lambda name: find_record(store, name), damaged)
    sweeps = _read_all(names, keys.sweep_key, lambda name: find_sweep_record(store, name), damaged)
    stages = _names_below(catalog, keys.stage_prefix())
    datasets = _names_below(catalog, keys.dataset_prefix())
    return Inventory(
        runs={**runs, **sweeps},
        unprepared=tuple(name for name in names if name not in runs and name not in sweeps),
        stages=_read_all(stages, keys.stage_key, catalog.stage_manifest, damaged),
        datasets=_read_all(datasets, keys.dataset_key, catalog.dataset, damaged),
        damaged=damaged,
    )


def _read_all(
    names: Sequence[str],
    key: Callable[[str], str],
    read: Callable[[str], T | None],
    damaged: dict[str, str],
) -> dict[str, T]:
    """Return what there is, by name; keep what cannot be read among the damaged."""

    def read_one(name: str) -> T | None:
        try:
            return read(name)
        except ObjectMissingError:
            return None  # removed since it was listed
        except StoreError:
            raise
        except AccreteError as error:
            damaged[key(name)] = str(error)
            return None

    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        found = zip(names, pool.map(read_one, names), strict=True)
        return {name: value for name, value in found if value is not None}


def _names_below(catalog: Catalog, prefix: str) -> list[str]:
    """Return the digests below a prefix; what is called otherwise is none of ours."""
    return sorted(filter(is_sha256, {key.split("/")[1] for key in catalog.store.list_keys(prefix)}))
