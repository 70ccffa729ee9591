"""All that a store says that it has: run records and manifests, read and checked."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from accrete import keys
from accrete.catalog import Catalog
from accrete.checks import is_sha256
from accrete.errors import AccreteError, ObjectMissingError, StoreError
from accrete.manifests import DatasetManifest, StageManifest
from accrete.references import References, follow
from accrete.runs import RunRecord, SweepRecord, find_record, find_sweep_record, run_names

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
