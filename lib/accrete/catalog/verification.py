"""Reading everything back that runs, stages and data sets name, and hashing it again."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from accrete.catalog.catalog import Catalog
from accrete.catalog.inventory import Inventory, References, stages_of_record
from accrete.core.hashing import sha256_of_bytes
from accrete.errors import ObjectMissingError
from accrete.store import keys
from accrete.store.keys import Listed

_PARALLEL_READS = 8
_NAMED_OWNERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Something that is not as what names it says."""

    key: str
    """Where it is, or should be."""
    problem: str
    """What is wrong with it."""
    named_by: tuple[str, ...]
    """The runs, stages and data sets that name it: `stage 1b2c…`."""
    remedy: str
    """What to do."""
    delete: tuple[str, ...]
    """Keys to delete, in order, so that running the pipeline again makes it anew; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What reading everything back came to."""

    num_objects: int
    """Objects and snapshots that were read, or looked for."""
    num_bytes: int
    """Bytes that were read, or are listed."""
    num_manifests: int
    """Run records and manifests that were read."""
    num_unfinished: int
    """Stages that are named and not finished: no damage."""
    damages: tuple[Damage, ...]
    """What is not as it should be."""


def verify_store(
    catalog: Catalog,
    inventory: Inventory,
    named: References,
    *,
    sizes_only: bool = False,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> Verification:
    """Read back every object that is named, and the snapshots of named stages.

    Args:
        catalog: where they are.
        inventory: what was read of the store's records and manifests.
        named: what to verify.
        sizes_only: compare sizes, and read nothing.
        report: told the bytes that were verified, and the total.
    """
    snapshots = _snapshots(catalog, named)
    wanted = {keys.object_key(sha256): (sha256, size) for sha256, size in named.objects.items()}
    wanted |= {item.key: _snapshot_content(item.key) for item in snapshots}
    total, done = sum(size for _, size in wanted.values()), 0
    check = _has_other_size if sizes_only else _has_other_bytes
    owners = _owners(inventory)
    damages = list(_damaged_notes(inventory, named))
    damages += () if sizes_only else _damaged_plans(catalog)
    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        problems = pool.map(lambda item: check(catalog, item[0], *item[1]), wanted.items())
        for (key, (_, size)), problem in zip(wanted.items(), problems, strict=True):
            done += size
            report(done, total)
            if problem is not None:
                damages.append(_damage(key, problem, owners.get(key, ())))
    present = named.stages & inventory.stages.keys(), named.datasets & inventory.datasets.keys()
    return Verification(
        num_objects=len(wanted),
        num_bytes=total,
        num_manifests=len(inventory.runs) + sum(map(len, present)),
        num_unfinished=len(_unfinished(inventory, named)),
        damages=(*damages, *_missing_datasets(inventory, named)),
    )


def _unfinished(inventory: Inventory, named: References) -> set[str]:
    """Return the stages that runs name, and that are neither finished nor damaged."""
    of_runs = {stage for record in inventory.runs.values() for stage in stages_of_record(record)}
    return {
        stage
        for stage in of_runs & named.stages - inventory.stages.keys()
        if keys.stage_key(stage) not in inventory.damaged
    }


def _has_other_bytes(catalog: Catalog, key: str, sha256: str, num_bytes: int) -> str | None:
    try:
        found, size = catalog.store.hash_object(key)
    except ObjectMissingError:
        return "is gone"
    if size != num_bytes:
        return f"has {size:,} bytes instead of {num_bytes:,}"
    return None if found == sha256 else f"has SHA-256 {found[:12]}… instead of {sha256[:12]}…"


def _has_other_size(catalog: Catalog, key: str, _sha256: str, num_bytes: int) -> str | None:
    size = catalog.store.size_of(key)
    if size is None:
        return "is gone"
    return None if size == num_bytes else f"has {size:,} bytes instead of {num_bytes:,}"


def _snapshots(catalog: Catalog, named: References) -> list[Listed]:
    """Return the snapshots of named stages; a key of another form is none."""
    return [
        item
        for item in catalog.store.list_objects(keys.snapshot_prefix())
        if keys.parse_snapshot_key(item.key) and item.key.split("/")[1] in named.stages
    ]


def _snapshot_content(key: str) -> tuple[str, int]:
    parsed = keys.parse_snapshot_key(key)
    assert parsed is not None
    _, num_bytes, sha256 = parsed
    return sha256, num_bytes


def _owners(inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return the keys of the manifests that name an object, by the object's key."""
    owners: dict[str, list[str]] = defaultdict(list)
    for digest, stage in inventory.stages.items():
        for ref in (stage.checkpoint, stage.metrics):
            owners[keys.object_key(ref.sha256)].append(keys.stage_key(digest))
    for digest, dataset in inventory.datasets.items():
        for entry in dataset.classes:
            for shard in entry.all_shards:
                owners[keys.object_key(shard.sha256)].append(keys.dataset_key(digest))
    return {key: tuple(dict.fromkeys(found)) for key, found in owners.items()}


def _damage(key: str, problem: str, owners: Iterable[str]) -> Damage:
    owners = tuple(owners)
    stages = tuple(owner for owner in owners if owner.startswith(keys.stage_prefix()))
    if keys.parse_snapshot_key(key):
        remedy = "nothing is lost but the time since the snapshot before: delete it"
    elif stages:
        remedy = "delete the stage's manifest and it, then run the pipeline again"
    elif owners:
        remedy = "delete it and run the pipeline again on the same source"
    else:
        remedy = (
            "the base of an extension, or what a run began from: give --weights again, or restore "
            "it from a backup"
        )
    is_base = not owners and not keys.parse_snapshot_key(key)
    return Damage(
        key=key,
        problem=problem,
        named_by=tuple(_short_name(owner) for owner in owners[:_NAMED_OWNERS]),
        remedy=remedy,
        delete=() if is_base else (*stages, key),
    )


def _damaged_notes(inventory: Inventory, named: References) -> Iterator[Damage]:
    """Yield the records and manifests that cannot be read, of what is to be verified."""
    for key, reason in inventory.damaged.items():
        kind, name = key.split("/")[:2]
        is_manifest = kind in ("stages", "datasets")
        if is_manifest and name not in (named.stages if kind == "stages" else named.datasets):
            continue
        yield Damage(
            key=key,
            problem=f"cannot be read: {reason}",
            named_by=(),
            remedy=(
                "delete it and run the pipeline again"
                if is_manifest
                else "restore it from a backup, or forget the run (accrete forget) and run it again"
            ),
            delete=(key,) if is_manifest else (),
        )


def _damaged_plans(catalog: Catalog) -> Iterator[Damage]:
    """Yield the plans of compiled pipelines that are not what they are called by."""
    for key in catalog.store.list_keys(keys.plan_prefix()):
        sha256 = keys.parse_plan_key(key)
        data = catalog.store.read_note(key) if sha256 else None
        if data is not None and sha256_of_bytes(data) != sha256:
            yield Damage(
                key=key,
                problem="is not the plan that pipelines were compiled for",
                named_by=(),
                remedy="delete it, then compile or submit those pipelines again",
                delete=(key,),
            )


def _missing_datasets(inventory: Inventory, named: References) -> Iterator[Damage]:
    for digest in sorted(named.datasets - inventory.datasets.keys()):
        if keys.dataset_key(digest) not in inventory.damaged:
            yield Damage(
                key=keys.dataset_key(digest),
                problem="is gone",
                named_by=(),
                remedy="run the pipeline again on the same source",
                delete=(),
            )


def _short_name(key: str) -> str:
    """Return how people call what a manifest's key belongs to."""
    kind, digest = key.split("/")[:2]
    return f"{'stage' if kind == 'stages' else 'data set'} {digest[:12]}"
