"""What a store could do without: notes, snapshots and objects that no run names. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from accrete import keys
from accrete.inventory import Inventory
from accrete.references import follow
from accrete.store import Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What may go, in the order in which it must: nothing left ever names what is gone."""

    notes: tuple[Listed, ...]
    """Of sources whose data set goes."""
    stages: tuple[Listed, ...]
    """Manifests of stages of no run."""
    datasets: tuple[Listed, ...]
    """Manifests of data sets of no run."""
    snapshots: tuple[Listed, ...]
    """Of finished stages, of stages of no run, and all but the newest of the others."""
    objects: tuple[Listed, ...]
    """Shards, checkpoints and metrics that nothing names."""

    @property
    def all(self) -> tuple[Listed, ...]:
        """Everything, in order."""
        return (*self.notes, *self.stages, *self.datasets, *self.snapshots, *self.objects)

    @property
    def num_bytes(self) -> int:
        """Bytes of everything."""
        return sum(listed.num_bytes for listed in self.all)


def collection_of(
    listed: Sequence[Listed],
    inventory: Inventory,
    prepared: Mapping[str, str | None],
    older_than: datetime,
) -> Collection:
    """Return what no run names and was written before a moment.

    A manifest that is younger counts as named, and all that it names: its run may be about to
    begin.

    Args:
        listed: everything in the store, listed before the inventory was read.
        inventory: its records and manifests.
        prepared: the data set that each source became, by the source's fingerprint; None where the
            note does not say.
        older_than: by the store's clock.
    """
    old = {item.key: item for item in listed if item.modified_at < older_than}
    named = follow(
        inventory.runs.values(),
        inventory.stages,
        inventory.datasets,
        more_stages=[d for d in inventory.stages if keys.stage_key(d) not in old],
        more_datasets=[d for d in inventory.datasets if keys.dataset_key(d) not in old],
    )

    def found(wanted: Iterable[str]) -> tuple[Listed, ...]:
        return tuple(old[key] for key in wanted if key in old)

    return Collection(
        notes=found(
            keys.prepared_key(fingerprint)
            for fingerprint, dataset in prepared.items()
            if dataset not in named.datasets
        ),
        stages=found(keys.stage_key(d) for d in inventory.stages if d not in named.stages),
        datasets=found(keys.dataset_key(d) for d in inventory.datasets if d not in named.datasets),
        snapshots=found(_useless_snapshots(listed, inventory, named.stages)),
        objects=tuple(
            item
            for key, item in old.items()
            if (sha256 := keys.parse_object_key(key)) is not None and sha256 not in named.objects
        ),
    )


def _useless_snapshots(
    listed: Sequence[Listed], inventory: Inventory, named: set[str]
) -> list[str]:
    """Return the keys of snapshots that no attempt will go on from."""
    by_stage: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for item in listed:
        parsed = keys.parse_snapshot_key(item.key)
        if parsed is not None:
            by_stage[item.key.split("/")[1]].append((parsed[0], item.key))
    useless = []
    for stage, found in by_stage.items():
        is_wanted = stage in named and stage not in inventory.stages
        newest = max(found) if is_wanted else None
        useless += [key for position, key in found if (position, key) != newest]
    return useless
