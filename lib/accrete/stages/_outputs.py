"""What a stage leaves: checkpoint and record as objects, and the manifest that names them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc_mark import CollectionWatch
from accrete.catalog.identity import StageSpec
from accrete.catalog.manifests import (
    FORMAT,
    DatasetManifest,
    StageManifest,
    StageResult,
    StageTimes,
    StageTraffic,
)
from accrete.core.hashing import canonical_json, sha256_of_file
from accrete.core.serialization import to_json
from accrete.models.checkpoint import CheckpointInfo, save_checkpoint
from accrete.models.networks import Classifier
from accrete.store.cache import NodeCache, Pulled
from accrete.store.keys import ObjectRef
from accrete.training.device import device_name, versions
from accrete.training.evaluation import Evaluation
from accrete.training.loop import TrainState


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutputs:
    """What training a stage gave."""

    model: Classifier
    """M_j."""
    momentum: dict[str, Tensor]
    """SGD's buffers, by parameter name."""
    state: TrainState
    """As training left it: history of the loss, optimizer steps done, why it stopped early."""
    test: Evaluation | None
    """On the test images of the seen classes; None without any."""
    validation: Evaluation | None
    """On the validation images; None without any."""
    device: torch.device
    """What it was trained on."""


def push_outputs(
    spec: StageSpec,
    dataset: DatasetManifest,
    outputs: StageOutputs,
    *,
    catalog: Catalog,
    cache: NodeCache,
    pulled: Pulled,
    prefetched_bytes: int,
    times: Callable[[], StageTimes],
) -> StageManifest:
    """Store a stage's objects and return its manifest, which is not stored yet.

    Args:
        spec: the stage.
        dataset: what it was trained on.
        outputs: what that gave.
        catalog: where the objects go.
        cache: keeps the checkpoint for the next stage on this node.
        pulled: what the stage fetched.
        prefetched_bytes: what it fetched for the next one.
        times: called when all is pushed.
    """
    store = catalog.store
    pushed_before = store.traffic.pushed_bytes
    watch = CollectionWatch(store)
    with TemporaryDirectory(dir=cache.work_path, prefix="stage-") as folder:
        record_path = Path(folder) / "record.json"
        record_path.write_bytes(canonical_json(to_json(_stage_record(spec, outputs))))
        path = Path(folder) / "checkpoint.safetensors"
        info = _checkpoint_info(spec, dataset)
        save_checkpoint(path, outputs.model.state_dict(), outputs.momentum, info)
        while True:
            record, checkpoint = _push(catalog, record_path), _push(catalog, path)
            if not watch.was_disturbed():
                break
        cache.adopt(checkpoint, path)
    seconds = times()
    return StageManifest(
        format=FORMAT,
        digest=spec.digest,
        index=spec.index,
        parent=spec.parent,
        dataset=dataset.digest,
        class_names=spec.class_names,
        num_old_classes=spec.num_old_classes,
        model=spec.model,
        image=dataset.image,
        normalization=dataset.normalization,
        schedule=spec.schedule,
        seed=spec.seed,
        checkpoint=checkpoint,
        metrics=record,
        result=_result(spec, outputs, seconds.train_s),
        times=seconds,
        traffic=StageTraffic(
            pulled_bytes=pulled.pulled_bytes,
            prefetched_bytes=prefetched_bytes,
            pushed_bytes=store.traffic.pushed_bytes - pushed_before,
            cache_hits=pulled.num_hits,
            num_objects=len(pulled.paths),
        ),
        device=device_name(outputs.device),
        precision=outputs.state.precision,
        versions=versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _checkpoint_info(spec: StageSpec, dataset: DatasetManifest) -> CheckpointInfo:
    return CheckpointInfo(
        format=FORMAT,
        stage=spec.digest,
        class_names=spec.class_names,
        model=spec.model,
        image=dataset.image,
        normalization=dataset.normalization,
    )


def _result(spec: StageSpec, outputs: StageOutputs, train_s: float) -> StageResult:
    test, validation = outputs.test, outputs.validation
    images_seen = outputs.state.position * spec.schedule.batch_size
    return StageResult(
        top1=test.top1(0, spec.num_classes) if test else None,
        top1_old=test.top1(0, spec.num_old_classes) if test else None,
        top1_new=test.top1(spec.num_old_classes, spec.num_classes) if test else None,
        loss=test.loss if test else None,
        validation_top1=validation.top1(0, spec.num_classes) if validation else None,
        images_seen=images_seen,
        images_per_s=images_seen / train_s,
    )


def _stage_record(spec: StageSpec, outputs: StageOutputs) -> dict[str, Any]:
    """Return what is too long for the manifest."""
    return {
        "stage": spec.digest,
        "class_names": spec.class_names,
        "history": outputs.state.history,
        "stopped": outputs.state.stopped,
        "round_top1s": outputs.state.round_top1s,
        "precision": outputs.state.precision,
        "compiled": outputs.state.compiled,
        "num_parts": outputs.state.num_parts,
        "confusion": {
            "test": outputs.test.confusion if outputs.test else None,
            "validation": outputs.validation.confusion if outputs.validation else None,
        },
        "test_right": _right_by_class(outputs.test) if outputs.test else None,
    }


def _right_by_class(test: Evaluation) -> list[str]:
    """Return which test images of each class are classified right, by label: hex of a bit each.

    Images are in the order of the class's shards, the first one's bit is the highest of its byte.
    A confusion matrix tells how many are right; whether a later model lost the very images that
    this one had takes each of them, for an eighth of a byte.
    """
    ends = list(accumulate(map(sum, test.confusion), initial=0))
    right = np.frombuffer(test.right, np.uint8)
    return [np.packbits(right[start:end]).tobytes().hex() for start, end in pairwise(ends)]


def _push(catalog: Catalog, path: Path) -> ObjectRef:
    ref = ObjectRef(sha256=sha256_of_file(path), num_bytes=path.stat().st_size)
    # Anew, even over what an earlier attempt left: nothing names it yet, and a collection takes
    # what is unnamed and old.
    catalog.store.push_file(ref, path, renew=True)
    return ref
