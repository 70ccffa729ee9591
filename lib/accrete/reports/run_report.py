"""A run's report as data: walk the chain of stage manifests, add what their records hold."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accrete import __version__
from accrete.catalog.catalog import Catalog
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.catalog.records import RunRecord
from accrete.catalog.step_documents import step_documents
from accrete.config.recipe import assumptions
from accrete.core.serialization import to_json
from accrete.core.untrusted import parse_json
from accrete.errors import IntegrityError, ObjectMissingError, RunNotFoundError
from accrete.reports._class_changes import EvaluatedStage, class_changes
from accrete.store.cache import NodeCache

REPORT_FORMAT = 1

MAX_CONFUSED = 1000
"""Classes of a confusion matrix in report.json at most; the page shows any."""


def assemble_report(record: RunRecord, catalog: Catalog, cache: NodeCache) -> dict[str, Any]:
    """Return all figures of a finished run as JSON values.

    Args:
        record: the run.
        catalog: where its stages are.
        cache: for the stages' records.

    Raises:
        ObjectMissingError: a stage is not in the store.
        IntegrityError: stored bytes are not those that a manifest names.
    """
    manifests = [finished_stage(catalog, digest, record.name) for digest in record.stages]
    dataset = catalog.dataset(record.dataset)
    stage_records = stage_records_of(manifests, cache)
    reused = _reused(record, catalog)
    stages = [
        _stage_figures(manifest, stage_records[manifest.metrics.sha256], dataset, reused)
        for manifest in manifests
    ]
    totals = _totals(stages)
    last = EvaluatedStage(
        class_names=manifests[-1].class_names,
        dataset=dataset,
        record=stage_records[manifests[-1].metrics.sha256],
    )
    base = _evaluated_base(record, catalog, cache)
    return {
        "format": REPORT_FORMAT,
        "run": {
            "name": record.name,
            "created_at": manifests[-1].created_at,
            "accrete_version": __version__,
            "config_digest": record.config.digest,
            "seed": record.config.seed,
        },
        "config": {
            name: value
            for name, value in to_json(record.config).items()
            if name in ("source", "model", "recipe", "seed")
        },
        "assumptions": list(assumptions(record.config.recipe)),
        "base": _base_figures(record),
        "weights": _weights_figures(record),
        "dataset": dataset_figures(dataset),
        "plan": _plan_figures(record),
        "stages": stages,
        "totals": totals,
        "scratch_estimate": _scratch_estimate(stages),
        "class_changes": None if base is None else class_changes(base, last),
    }


def _evaluated_base(record: RunRecord, catalog: Catalog, cache: NodeCache) -> EvaluatedStage | None:
    """Return the stage that a run grew from; None where there is none, or it is gone."""
    base = record.config.base
    manifest = None if base is None else catalog.stage_manifest(base.identity)
    if manifest is None or not catalog.store.has_object(manifest.metrics):
        return None
    try:
        dataset = catalog.dataset(manifest.dataset)
    except ObjectMissingError:
        return None
    records = stage_records_of([manifest], cache)
    return EvaluatedStage(
        class_names=manifest.class_names,
        dataset=dataset,
        record=records[manifest.metrics.sha256],
    )


def finished_stage(catalog: Catalog, digest: str, name: str) -> StageManifest:
    """Return a stage of a finished run.

    Raises:
        ObjectMissingError: it is not in the store.
    """
    manifest = catalog.stage(digest)
    if manifest is None:
        raise ObjectMissingError(
            f"stage {digest[:12]}… of run {name!r} is not in the store: run it again"
        )
    return manifest


def report_json(report: dict[str, Any]) -> bytes:
    """Return a report as its file has it.

    A confusion matrix over MAX_CONFUSED classes is left out (null): its size goes with the square,
    and that of 4,000 has more bytes than a note in the store may. The stage's record has it.
    """
    stages = [
        stage | {"confusion": None} if stage["num_classes"] > MAX_CONFUSED else stage
        for stage in report["stages"]
    ]
    return json.dumps(report | {"stages": stages}, indent=1, ensure_ascii=False).encode()


def stage_records_of(
    manifests: Sequence[StageManifest], cache: NodeCache
) -> dict[str, dict[str, Any]]:
    """Return what each stage measured, by the SHA-256 of its record."""
    pulled = cache.fetch(manifest.metrics for manifest in manifests)
    return {sha256: _parsed(path) for sha256, path in pulled.paths.items()}


def _parsed(path: Path) -> dict[str, Any]:
    """Return a stage's record; its confusion matrix has as many values as it has.

    Raises:
        IntegrityError: it is none.
    """
    record: Any = parse_json(path.read_bytes(), str(path), max_values=None)
    confusion = record.get("confusion") if isinstance(record, dict) else None
    if not isinstance(confusion, dict) or not isinstance(record.get("history"), list):
        raise IntegrityError(f"{path} holds no stage's record: delete the stage and run again")
    found: dict[str, Any] = record | {"confusion": {"test": None} | confusion}
    return found


def _reused(record: RunRecord, catalog: Catalog) -> set[int]:
    """Return the stages that the run's last attempt found done."""
    try:
        documents = step_documents(catalog.store, record.name)
    except RunNotFoundError:
        return set()
    results = [result for document in documents for result in document.results]
    return {result.stage for result in results if result.reused and result.stage is not None}


def _stage_figures(
    manifest: StageManifest, record: dict[str, Any], dataset: DatasetManifest, reused: set[int]
) -> dict[str, Any]:
    schedule = manifest.schedule
    by_name = dataset.by_name
    num_images = sum(by_name[name].num_images("train") for name in manifest.class_names)
    confusion = record["confusion"]["test"]
    return {
        "index": manifest.index,
        "num_new_classes": len(manifest.class_names) - manifest.num_old_classes,
        "num_classes": len(manifest.class_names),
        "new_classes": list(manifest.class_names[manifest.num_old_classes :]),
        "digest": manifest.digest,
        "parent": manifest.parent,
        "reused": manifest.index in reused,
        **to_json(manifest.result),
        "num_steps": manifest.result.images_seen // schedule.batch_size,
        "num_epochs": manifest.result.images_seen / num_images,
        "num_images": num_images,
        "planned_images": schedule.num_images_seen,
        "stopped": record.get("stopped"),
        "round_top1s": record.get("round_top1s", []),
        **to_json(manifest.times),
        **to_json(manifest.traffic),
        "checkpoint_sha256": manifest.checkpoint.sha256,
        "device": manifest.trained_on,
        "versions": manifest.versions,
        "history": record["history"],
        "per_class": _per_class(manifest.class_names, confusion),
        "confusion": confusion,
    }


def _per_class(
    class_names: Sequence[str], confusion: Sequence[Sequence[int]] | None
) -> list[dict[str, Any]]:
    """Return top-1 and test images of each class, by label."""
    if confusion is None:
        return []
    return [
        {
            "name": name,
            "top1": row[label] / sum(row) if sum(row) else None,
            "num_images": sum(row),
        }
        for label, (name, row) in enumerate(zip(class_names, confusion, strict=True))
    ]


def dataset_figures(dataset: DatasetManifest) -> dict[str, Any]:
    """Return what a report says of its data set, as JSON values."""
    split = dataset.split
    test = (
        "the source's own"
        if split.test == "source"
        else f"stratified, {100 * split.test_fraction:g} % of each class by seed {split.seed}"
    )
    return {
        "digest": dataset.digest,
        "num_classes": len(dataset.classes),
        "num_train_images": dataset.num_images("train"),
        "num_validation_images": dataset.num_images("validation"),
        "num_test_images": dataset.num_images("test"),
        "image_shape": [dataset.image.channels, dataset.image.height, dataset.image.width],
        "mean": list(dataset.normalization.mean),
        "std": list(dataset.normalization.std),
        "skipped_images": dataset.skipped.count,
        "split": test,
    }


def _plan_figures(record: RunRecord) -> dict[str, Any]:
    plan = record.config.plan
    return {
        "rule": plan.rule,
        "class_order": list(plan.class_order),
        "num_train_images_per_class": list(plan.class_images),
        "stages": [to_json(stage) for stage in plan.stages],
        "images_per_epoch": plan.images_per_epoch,
        "scratch_images_per_epoch": plan.scratch_images_per_epoch,
    }


def _base_figures(record: RunRecord) -> dict[str, Any] | None:
    """Return what the run grew from, None for a run without a base."""
    base = record.config.base
    if base is None:
        return None
    return {
        "origin": base.origin,
        "identity": base.identity,
        "num_classes": record.config.plan.num_given,
        "top1": base.top1,
    }


def _weights_figures(record: RunRecord) -> dict[str, Any] | None:
    """Return the file of weights that the run began from, None where they were random."""
    weights = record.config.model.weights
    if weights is None:
        return None
    return {"origin": weights.origin, "file_sha256": weights.file_sha256, "sha256": weights.sha256}


def _totals(stages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seconds = ("pull_s", "grow_s", "train_s", "evaluate_s", "push_s")
    return {
        "images_seen": sum(stage["images_seen"] for stage in stages),
        "train_s": sum(stage["train_s"] for stage in stages),
        "wall_s": sum(stage[name] for stage in stages for name in seconds),
        "top1": stages[-1]["top1"],
    }


def _scratch_estimate(stages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what as many epochs over all data would cost; it is not a measurement."""
    epochs = sum(stage["num_epochs"] for stage in stages)
    images_seen = round(epochs * stages[-1]["num_images"])
    return {
        "images_seen": images_seen,
        "train_s": images_seen / stages[-1]["images_per_s"],
        "method": (
            f"Not measured: the same {epochs:.1f} epochs, all of them over all training images, "
            "at the last stage's speed. It says nothing of the accuracy that a run from scratch "
            "reaches, or of the epochs that it needs."
        ),
    }
