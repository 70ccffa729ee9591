"""One stage: pull what this node lacks, grow the head, train, evaluate, push, manifest last.

A composer: joins store and cache with model and training. A stage that exists is not trained again.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec
from accrete.catalog.manifests import DatasetManifest, StageManifest, StageTimes
from accrete.config.schedule import StageSchedule
from accrete.errors import ConfigError, TrainingDivergedError
from accrete.stages._learner import Learner, make_learner
from accrete.stages._new_rows import set_new_rows
from accrete.stages._outputs import StageOutputs, push_outputs
from accrete.stages.inputs import (
    Split,
    StageInputs,
    check_batch_size,
    find_parent,
    needed_objects,
    open_split,
    pull_inputs,
)
from accrete.stages.local_snapshots import with_room
from accrete.stages.observer import NULL_OBSERVER, StageObserver
from accrete.stages.snapshot_listing import delete_snapshots
from accrete.stages.snapshots import (
    NullSnapshotWatcher,
    Pace,
    Progress,
    SnapshotWatcher,
    newest_snapshot,
)
from accrete.store.cache import NodeCache, Prefetch, Pulled
from accrete.training.augmentation import Augmentation
from accrete.training.batches import TrainingBatches
from accrete.training.compilation import compile_trunk, compiling_pays
from accrete.training.device import set_arithmetic
from accrete.training.distributed import ALONE, Peers
from accrete.training.early_stopping import what_was_missed
from accrete.training.evaluation import BATCH_SIZE, Evaluation, evaluate
from accrete.training.image_source import DataMemory
from accrete.training.loop import train
from accrete.training.optimizer import momentum_of
from accrete.training.order import Replay
from accrete.training.precision import choose_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutcome:
    """What running a stage came to."""

    manifest: StageManifest
    """The stage."""
    reused: bool
    """Whether it existed already, or another attempt was quicker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """Where a stage is trained, and what it may use there; changes no result."""

    catalog: Catalog
    """Where its parent is and it goes."""
    cache: NodeCache
    """Objects of this node."""
    memory: DataMemory
    """What its images may cost."""
    peers: Peers = ALONE
    """The processes that train it."""
    snapshot_interval_s: float = 60.0
    """Seconds between snapshots, from which another attempt goes on."""
    least_snapshot_interval_s: float | None = None
    """Seconds between them where they cost little; None: the same."""
    progress: Progress = lambda _steps, _loss: None
    """What the training loop reports to."""
    observer: StageObserver = NULL_OBSERVER
    """Hears of the stage's phases and snapshots."""
    notice: Callable[[str], None] = lambda _text: None
    """Hears what the user should know."""


class Stopwatch:
    """Seconds of one phase after another."""

    def __init__(self, observer: StageObserver) -> None:
        """Start; tell the observer of each phase."""
        self._observer, self._last = observer, time.perf_counter()

    def lap(self, phase: str) -> float:
        """Return the seconds since the last lap, those of a phase."""
        last, self._last = self._last, time.perf_counter()
        self._observer.phase_ended(phase, self._last - last)
        return self._last - last


def run_stage(
    spec: StageSpec,
    dataset: DatasetManifest,
    context: StageContext,
    *,
    following: StageSpec | None = None,
) -> StageOutcome:
    """Train a stage and publish it, unless it is published already.

    Args:
        spec: the stage, from `identity.stage_chain`.
        dataset: what it trains on.
        context: where; every one of its peers calls this.
        following: the next stage, whose shards are fetched to this node meanwhile.

    Raises:
        ConfigError: the batch size does not divide among the peers.
        IntegrityError: stored bytes are not those that a manifest names.
        CheckpointMismatchError: the parent is missing or of another plan.
        TrainingDivergedError: the loss is not finite; nothing is published.
        OutOfMemoryError: not a single image fits the device.
        PreemptedError: SIGTERM came; a snapshot is stored.
    """
    check_batch_size(spec, context.peers)
    existing = context.catalog.stage(spec.digest) if context.peers.is_main else None
    if context.peers.broadcast_object(existing is not None):
        if context.peers.is_main:  # its attempt may have been killed before it did
            delete_snapshots(spec.digest, context.catalog.store, context.cache, context.notice)
        return StageOutcome(manifest=existing or _published(spec, context), reused=True)
    attempt = _Attempt(spec, dataset, context)
    watch = Stopwatch(context.observer)
    inputs = attempt.pulled()
    set_arithmetic(deterministic=spec.schedule.deterministic)
    pull_s = watch.lap("pull")
    learner = attempt.learner(inputs)
    grow_s = watch.lap("grow")
    wanted = needed_objects(following, dataset, None) if following and context.peers.is_main else []
    with Prefetch(context.cache, wanted) as prefetch:
        attempt.train(learner, inputs.pulled)
        train_s = learner.state.train_s + watch.lap("train")
        test = attempt.evaluation(learner, inputs.pulled, "test")
        validation = attempt.evaluation(learner, inputs.pulled, "validation")
        evaluate_s = watch.lap("evaluate")
    if not context.peers.is_main:
        context.peers.barrier()
        return StageOutcome(manifest=_published(spec, context), reused=True)
    push = partial(
        push_outputs,
        spec,
        dataset,
        StageOutputs(
            model=learner.model,
            momentum=momentum_of(learner.model, learner.optimizer),
            state=learner.state,
            test=test,
            validation=validation,
            device=context.peers.device,
        ),
        catalog=context.catalog,
        cache=context.cache,
        pulled=inputs.pulled,
        prefetched_bytes=prefetch.pulled_bytes,
        times=lambda: StageTimes(
            pull_s=pull_s,
            grow_s=grow_s,
            train_s=train_s,
            evaluate_s=evaluate_s,
            push_s=watch.lap("push"),
        ),
    )
    manifest = with_room(push, context.cache)
    published = context.catalog.create_stage(manifest)
    delete_snapshots(spec.digest, context.catalog.store, context.cache, context.notice)
    context.peers.barrier()
    return StageOutcome(manifest=published, reused=published != manifest)


def _published(spec: StageSpec, context: StageContext) -> StageManifest:
    """Return the stage that the first process found or published."""
    manifest = context.catalog.stage(spec.digest)
    assert manifest is not None
    return manifest


class _Attempt:
    """The parts of one attempt at a stage, by one of the processes that make it."""

    def __init__(self, spec: StageSpec, dataset: DatasetManifest, context: StageContext) -> None:
        self._spec, self._dataset, self._context = spec, dataset, context

    def pulled(self) -> StageInputs:
        """Pull what the stage needs; the first process does, the others find it in the cache."""
        spec, context = self._spec, self._context
        parent = find_parent(spec, context.catalog)
        if not context.peers.is_main:
            context.peers.barrier()
        pull = partial(pull_inputs, spec, self._dataset, parent, context.cache)
        inputs = with_room(pull, context.cache, keep=spec.digest)
        if context.peers.is_main:
            context.peers.barrier()
        return inputs

    def learner(self, inputs: StageInputs) -> Learner:
        """Return the grown model, as far as an earlier attempt brought it."""
        context = self._context
        snapshot = None
        if context.peers.is_main:
            store = context.catalog.store
            snapshot = newest_snapshot(self._spec.digest, store, context.cache)
            if snapshot is not None:
                done, num_steps = snapshot.info.state.position, self._spec.schedule.num_steps
                context.notice(f"goes on from a snapshot, after step {done:,} of {num_steps:,}")
        return make_learner(self._spec, self._dataset, inputs, snapshot, context.peers)

    def train(self, learner: Learner, pulled: Pulled) -> None:
        """Run the optimizer steps that are left."""
        spec, peers = self._spec, self._context.peers
        split = self._split("train", pulled, spec.schedule.batch_size)
        batches = self._batches(split)
        schedule = self._decided(learner, batches)
        if schedule.head_init == "means" and learner.state.position == 0:
            self._set_new_rows(learner, split)
        watcher = self._watcher()
        self._context.observer.training_begins(learner.state.position)
        try:
            with watcher.watching(learner.model, learner.optimizer):
                train(
                    learner.network,
                    batches,
                    schedule,
                    learner.optimizer,
                    state=learner.state,
                    watcher=watcher,
                    validate=partial(self._validation_top1, learner, pulled),
                    num_old_classes=spec.num_old_classes,
                    peers=peers,
                )
                watcher.finish(learner.state)
        except TrainingDivergedError as error:
            raise TrainingDivergedError(f"{spec.name}: {error}") from None
        if learner.state.stopped is not None:
            self._context.notice(
                f"{spec.name} ended after {learner.state.position:,} of "
                f"{spec.schedule.num_steps:,} steps: {learner.state.stopped}"
            )
        elif schedule.until is not None:
            missed = what_was_missed(schedule.until, learner.state.round_top1s)
            if missed is not None:
                self._context.notice(f"{spec.name} used its whole budget, and {missed}")

    def _decided(self, learner: Learner, batches: TrainingBatches) -> StageSchedule:
        """Return the schedule with the precision that an earlier attempt had, or the quicker one;
        compile the trunk where that attempt did, or where it pays."""
        state, schedule, context = learner.state, self._spec.schedule, self._context
        peers = context.peers
        if state.precision is None:
            some = batches.starting_at(0, schedule.first_step)
            choices = context.cache.work_path.parent / "precision"
            state.precision = peers.broadcast_object(
                choose_precision(
                    learner.model, some, schedule, choices=choices, notice=context.notice
                )
                if peers.is_main
                else None
            )
        assert state.precision is not None
        schedule = replace(schedule, precision=state.precision)
        if state.compiled is None:
            some = batches.starting_at(0, schedule.first_step)
            pays = peers.is_main and compiling_pays(learner.model, some, schedule)
            state.compiled = bool(peers.broadcast_object(pays))
        if state.compiled:
            compile_trunk(learner.model.trunk)
        return schedule

    def _watcher(self) -> SnapshotWatcher | NullSnapshotWatcher:
        context = self._context
        if not context.peers.is_main:
            return NullSnapshotWatcher()
        return SnapshotWatcher(
            self._spec.digest,
            context.catalog.store,
            context.cache,
            pace=Pace(context.snapshot_interval_s, context.least_snapshot_interval_s),
            progress=context.progress,
            observer=context.observer,
            notice=context.notice,
        )

    def _set_new_rows(self, learner: Learner, split: Split) -> None:
        head, peers = learner.model.head, self._context.peers
        if peers.is_main:
            normalization = self._dataset.normalization
            with _uncompiled(learner):
                set_new_rows(learner.model, split, self._spec.num_old_classes, normalization)
        peers.broadcast([head.weight.data, head.bias.data])

    def _batches(self, split: Split) -> TrainingBatches:
        spec, schedule, peers = self._spec, self._spec.schedule, self._context.peers
        num_old_images = int((split.labels_N < spec.num_old_classes).sum())
        return TrainingBatches(
            split.images,
            split.labels_N,
            batch_size=schedule.batch_size,
            seed=spec.seed,
            stage=spec.draw,
            normalization=self._dataset.normalization,
            augmentation=Augmentation(
                flip=schedule.flip, crop_padding=schedule.crop_padding, side=schedule.image_side
            ),
            rank=peers.rank,
            num_processes=peers.world_size,
            replay=Replay(num_old_images=num_old_images, share=schedule.replay),
        )

    def _split(self, name: str, pulled: Pulled, batch_size: int) -> Split:
        return open_split(
            self._spec,
            self._dataset,
            name,
            pulled,
            memory=self._context.memory,
            device=self._context.peers.device,
            batch_size=batch_size,
        )

    def _validation_top1(self, learner: Learner, pulled: Pulled) -> float:
        """Return the accuracy on the validation images.

        Raises:
            ConfigError: there are none.
        """
        evaluation = self.evaluation(learner, pulled, "validation")
        top1 = evaluation.top1(0, self._spec.num_classes) if evaluation else None
        if top1 is None:
            raise ConfigError(
                f"{self._spec.name} is to end by its validation accuracy, but its classes have no "
                "validation images: leave --until out, or set some aside (--validation-fraction)"
            )
        return top1

    def evaluation(self, learner: Learner, pulled: Pulled, split_name: str) -> Evaluation | None:
        """Evaluate on a split; weights that overflowed in the last optimizer steps show here.

        Raises:
            TrainingDivergedError: the loss is not finite.
        """
        spec, state = self._spec, learner.state
        assert state.precision is not None
        split = self._split(split_name, pulled, BATCH_SIZE)
        with _uncompiled(learner):
            evaluation = evaluate(
                learner.model,
                split.images,
                split.labels_N,
                num_classes=spec.num_classes,
                normalization=self._dataset.normalization,
                precision=state.precision,
                peers=self._context.peers,
            )
        if evaluation is not None and not math.isfinite(evaluation.loss):
            raise TrainingDivergedError(
                f"{spec.name}: the test loss is {evaluation.loss} after training with lr "
                f"{spec.schedule.lr:.4g}: lower --lr"
            )
        return evaluation


def _uncompiled(learner: Learner) -> AbstractContextManager[object]:
    """Return what has a network run as it is in Python.

    Compiled code is for the shapes of training. Compiling for each other one would not pay, and
    from the eighth on torch compiles nothing more, training's own shape included.
    """
    if not learner.state.compiled:
        return nullcontext()
    eager: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return eager
