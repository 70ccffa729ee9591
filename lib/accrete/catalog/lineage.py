"""Where things come from: a run's or stage's way back to shards and configuration, as facts.

Every function returns JSON, whole digests included, for `--json`; the command line makes lines of
it.
"""

from collections.abc import Mapping
from typing import Any

from accrete.catalog.inventory import (
    Inventory,
    base_of_record,
    stages_of_record,
    weights_of_record,
)
from accrete.catalog.lookup import Named
from accrete.catalog.manifests import SPLITS, DatasetManifest, StageManifest
from accrete.catalog.records import RunRecord, SweepRecord
from accrete.core.serialization import to_json
from accrete.store import keys

Facts = dict[str, Any]


def lineage_of(inventory: Inventory, named: Named) -> Facts:
    """Return all that is known of a run, a stage or a data set, and of what it came from."""
    if named.kind == "run":
        return run_lineage(inventory, inventory.runs[named.name])
    if named.kind == "stage":
        return stage_lineage(inventory, inventory.stages[named.name])
    return dataset_facts(inventory, named.name)


def run_lineage(inventory: Inventory, record: RunRecord | SweepRecord) -> Facts:
    """Return a run's or sweep's configuration, data set and stages."""
    base, weights = base_of_record(record), weights_of_record(record)
    asked = record.config if isinstance(record, RunRecord) else record.sweep
    stages = stages_of_record(record)
    return {
        **run_facts(inventory, record),
        "base": to_json(base) if base else None,
        "weights": to_json(weights) if weights else None,
        "stages": [
            stage_facts(inventory, inventory.stages[digest])
            if digest in inventory.stages
            else {"kind": "stage", "digest": digest, "finished": False}
            for digest in stages
        ],
        "data_set": _found_dataset(inventory, record.dataset),
        "config": to_json(asked),
    }


def stage_lineage(inventory: Inventory, manifest: StageManifest) -> Facts:
    """Return a stage with its parents back to the first, and the shards that it was trained on."""
    parents: list[Facts] = []
    first, parent = manifest, manifest.parent
    while parent is not None and len(parents) <= len(inventory.stages):
        found = inventory.stages.get(parent)
        if found is None:
            parents.append({"kind": "stage", "digest": parent, "finished": False})
            break
        parents.append(stage_facts(inventory, found))
        first, parent = found, found.parent
    weights = first.model.weights
    dataset = inventory.datasets.get(manifest.dataset)
    return {
        **stage_facts(inventory, manifest),
        "parents": parents,
        "weights": to_json(weights) if weights else None,
        "data_set": _found_dataset(inventory, manifest.dataset),
        "shards": _shards(dataset, manifest.class_names) if dataset else None,
        "manifest": to_json(manifest),
    }


def run_facts(inventory: Inventory, record: RunRecord | SweepRecord) -> Facts:
    """Return a run in short."""
    stages = stages_of_record(record)
    finished = [inventory.stages[digest] for digest in stages if digest in inventory.stages]
    is_run = isinstance(record, RunRecord)
    return {
        "kind": "run" if isinstance(record, RunRecord) else record.sweep.purpose,
        "name": record.name,
        "rule": record.config.plan.rule if isinstance(record, RunRecord) else record.sweep.rule,
        "num_stages": len(stages),
        "num_finished": len(finished),
        "data_set_digest": record.dataset,
        "top1": finished[-1].result.top1 if is_run and len(finished) == len(stages) else None,
        "num_bytes": sum(inventory.references(record.name).objects.values()),
    }


def stage_facts(inventory: Inventory, manifest: StageManifest) -> Facts:
    """Return a finished stage in short."""
    return {
        "kind": "stage",
        "digest": manifest.digest,
        "finished": True,
        "index": manifest.index,
        "runs": _runs_with_stage(inventory.runs, manifest.digest),
        "num_classes": len(manifest.class_names),
        "num_new_classes": len(manifest.class_names) - manifest.num_old_classes,
        "model": manifest.model.name,
        "images_seen": manifest.result.images_seen,
        "top1": manifest.result.top1,
        "created_at": manifest.created_at,
        "device": manifest.trained_on,
        "versions": manifest.versions,
        "checkpoint_sha256": manifest.checkpoint.sha256,
        "checkpoint_bytes": manifest.checkpoint.num_bytes,
        "checkpoint_key": keys.object_key(manifest.checkpoint.sha256),
        "parent": manifest.parent,
        "data_set_digest": manifest.dataset,
    }


def dataset_facts(inventory: Inventory, digest: str) -> Facts:
    """Return a data set with its classes."""
    manifest = inventory.datasets[digest]
    shards = [shard for entry in manifest.classes for shard in entry.all_shards]
    return {
        "kind": "data set",
        "digest": digest,
        "runs": sorted(name for name, r in inventory.runs.items() if r.dataset == digest),
        "extends": manifest.extends,
        "num_classes": len(manifest.classes),
        "num_images": {split: manifest.num_images(split) for split in SPLITS},
        "num_shards": len(shards),
        "num_bytes": sum(shard.num_bytes for shard in shards),
        "image": to_json(manifest.image),
        "num_skipped": manifest.skipped.count,
        "classes": [
            {
                "name": entry.name,
                "num_images": {split: entry.num_images(split) for split in SPLITS},
                "num_bytes": sum(shard.num_bytes for shard in entry.all_shards),
            }
            for entry in manifest.classes
        ],
    }


def _found_dataset(inventory: Inventory, digest: str) -> Facts | None:
    return dataset_facts(inventory, digest) if digest in inventory.datasets else None


def _runs_with_stage(runs: Mapping[str, RunRecord | SweepRecord], digest: str) -> list[str]:
    return sorted(name for name, record in runs.items() if digest in stages_of_record(record))


def _shards(dataset: DatasetManifest, class_names: tuple[str, ...]) -> list[Facts]:
    """Return the shards of some classes, those of all splits."""
    by_name = dataset.by_name
    return [
        {
            "class": name,
            "split": split,
            "sha256": shard.sha256,
            "num_bytes": shard.num_bytes,
            "num_images": shard.num_images,
        }
        for name in class_names
        if name in by_name
        for split in SPLITS
        for shard in by_name[name].shards(split)
    ]
