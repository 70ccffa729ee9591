"""One stage: pull what this node lacks, grow the head, train, evaluate, push, manifest last.

A composer: joins store and cache with model and training. A stage that exists is not trained again.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from accrete.batches import Augmentation, TrainingBatches
from accrete.cache import NodeCache
from accrete.catalog import Catalog
from accrete.chain import StageSpec
from accrete.checkpoint import Checkpoint, CheckpointInfo, load_weights
from accrete.device import compute_device
from accrete.errors import AccreteError, TrainingDivergedError
from accrete.evaluate import Evaluation, evaluate
from accrete.manifests import DatasetManifest, StageManifest, StageTimes
from accrete.model import Classifier, build_model, grow_head, grow_momentum
from accrete.seeds import derive_seed
from accrete.snapshots import Progress, SnapshotWatcher, delete_snapshots, newest_snapshot
from accrete.stage_inputs import Images, check_same_classes, find_parent, pull_inputs
from accrete.stage_outputs import StageOutputs, push_outputs
from accrete.train import TrainState, load_momentum, make_optimizer, momentum_of, train


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What running a stage came to."""

    manifest: StageManifest
    """The stage."""
    reused: bool
    """Whether it existed already, or another attempt was quicker."""


class Stopwatch:
    """Seconds between laps."""

    def __init__(self) -> None:
        """Start."""
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap."""
        last, self._last = self._last, time.perf_counter()
        return self._last - last


def run_stage(
    spec: StageSpec,
    dataset: DatasetManifest,
    catalog: Catalog,
    cache: NodeCache,
    progress: Progress,
    *,
    snapshot_interval_s: float = 60.0,
) -> StageOutcome:
    """Train a stage and publish it, unless it is published already.

    Args:
        spec: the stage, from `chain.stage_chain`.
        dataset: what it trains on.
        catalog: where its parent is and it goes.
        cache: objects of this node.
        progress: what the step loop reports to.
        snapshot_interval_s: seconds between snapshots, from which another attempt goes on.

    Raises:
        IntegrityError: stored bytes are not those that a manifest names.
        CheckpointMismatchError: the parent is missing or of another plan.
        TrainingDivergedError: the loss is not finite; nothing is published.
        PreemptedError: SIGTERM came; a snapshot is stored.
    """
    existing = catalog.stage(spec.digest)
    if existing is not None:
        return StageOutcome(manifest=existing, reused=True)
    watch = Stopwatch()
    device = compute_device()
    parent = find_parent(spec, catalog)
    inputs = pull_inputs(spec, dataset, parent, cache, device)
    pull_s = watch.lap()
    model, optimizer = _grown_model(spec, dataset, inputs.checkpoint, device)
    batches = _training_batches(spec, dataset, inputs.train)
    grow_s = watch.lap()
    watcher = SnapshotWatcher(
        spec.digest,
        catalog.store,
        cache.work_path,
        interval_s=snapshot_interval_s,
        progress=progress,
    )
    state = _continued(spec, model, optimizer, catalog, cache)
    try:
        with watcher.watching(model, optimizer):
            history = train(model, batches, spec.schedule, optimizer, state=state, watcher=watcher)
    except TrainingDivergedError as error:
        raise TrainingDivergedError(f"{spec.name}: {error}") from None
    train_s = watch.lap()
    test = _evaluated(spec, dataset, model, inputs.test)
    validation = _evaluated(spec, dataset, model, inputs.validation)
    evaluate_s = watch.lap()
    outputs = StageOutputs(
        model=model,
        momentum=momentum_of(model, optimizer),
        history=history,
        test=test,
        validation=validation,
        device=device,
    )
    manifest = push_outputs(
        spec,
        dataset,
        outputs,
        catalog=catalog,
        cache=cache,
        pulled=inputs.pulled,
        times=lambda: StageTimes(
            pull_s=pull_s, grow_s=grow_s, train_s=train_s, evaluate_s=evaluate_s, push_s=watch.lap()
        ),
    )
    published = catalog.create_stage(manifest)
    delete_snapshots(spec.digest, catalog.store)
    return StageOutcome(manifest=published, reused=published != manifest)


def _grown_model(
    spec: StageSpec,
    dataset: DatasetManifest,
    checkpoint: Checkpoint[CheckpointInfo] | None,
    device: torch.device,
) -> tuple[Classifier, torch.optim.SGD]:
    """Return M_{j-1} with a head for N_j classes, and its optimizer."""
    num_old = spec.num_old_classes if checkpoint else spec.num_classes
    model = build_model(
        spec.model, channels=dataset.image.channels, num_classes=num_old, seed=spec.seed
    )
    momentum: dict[str, Tensor] = {}
    if checkpoint is not None:
        check_same_classes(spec, checkpoint.info)
        load_weights(model, checkpoint)
        generator = torch.Generator().manual_seed(derive_seed("head", spec.seed, spec.index))
        model.head = grow_head(model.head, spec.num_classes, generator)
        if spec.schedule.carry_momentum:
            momentum = grow_momentum(checkpoint.momentum, model)
    _check_image_size(model, dataset, spec)
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, spec.schedule)
    load_momentum(model, optimizer, momentum)
    return model, optimizer


def _continued(
    spec: StageSpec,
    model: Classifier,
    optimizer: torch.optim.SGD,
    catalog: Catalog,
    cache: NodeCache,
) -> TrainState:
    """Load the newest snapshot of an earlier attempt, if there is one; return where it stood."""
    snapshot = newest_snapshot(spec.digest, catalog.store, cache.work_path)
    if snapshot is None:
        return TrainState()
    load_weights(model, snapshot)
    load_momentum(model, optimizer, snapshot.momentum)
    return snapshot.info.state


def _check_image_size(model: Classifier, dataset: DatasetManifest, spec: StageSpec) -> None:
    """Refuse images that the network's pools would shrink to nothing, before any work."""
    image = dataset.image
    with torch.no_grad():
        try:
            model.eval()(torch.zeros(1, image.channels, image.height, image.width))
        except RuntimeError as error:
            raise AccreteError(
                f"model {spec.model.name} cannot take images of {image.width}x{image.height} px "
                f"({str(error).splitlines()[0]}): choose --model small or a larger --image-size"
            ) from error


def _training_batches(spec: StageSpec, dataset: DatasetManifest, images: Images) -> TrainingBatches:
    schedule = spec.schedule
    return TrainingBatches(
        images.images_NHWC,
        images.labels_N,
        batch_size=schedule.batch_size,
        seed=spec.seed,
        stage=spec.index,
        normalization=dataset.normalization,
        augmentation=Augmentation(flip=schedule.flip, crop_padding=schedule.crop_padding),
    )


def _evaluated(
    spec: StageSpec, dataset: DatasetManifest, model: Classifier, images: Images
) -> Evaluation | None:
    """Evaluate on a split; weights that overflowed in the last steps show here.

    Raises:
        TrainingDivergedError: the loss is not finite.
    """
    evaluation = evaluate(
        model,
        images.images_NHWC,
        images.labels_N,
        num_classes=spec.num_classes,
        normalization=dataset.normalization,
        precision_name=spec.schedule.precision,
    )
    if evaluation is not None and not math.isfinite(evaluation.loss):
        raise TrainingDivergedError(
            f"{spec.name}: the test loss is {evaluation.loss} after training with lr "
            f"{spec.schedule.lr:.4g}: lower --lr"
        )
    return evaluation
