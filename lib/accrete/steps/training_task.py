"""A training task: which stages, from what; trained one after another in one process.

`train.py` and `node.py` make it, `_supervision.py` says in which processes it runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, check_parent, stage_chain
from accrete.catalog.manifests import (
    DatasetManifest,
    StageManifest,
    load_dataset,
    load_stage,
)
from accrete.catalog.records import RunRecord, parse_record, parse_sweep_record
from accrete.core.processes import available_cpus, available_memory_bytes
from accrete.core.serialization import to_json
from accrete.core.settings import (
    cache_path,
    fetches_ahead,
    least_snapshot_interval_s,
    snapshot_interval_s,
)
from accrete.core.units import parse_bytes
from accrete.core.untrusted import parse_json
from accrete.errors import AccreteError, ConfigError, IntegrityError
from accrete.monitoring.journal import Meter, NullJournal
from accrete.monitoring.metrics import StepMetrics
from accrete.monitoring.stage_metrics import StageMetrics
from accrete.monitoring.status import stage_text
from accrete.stages.snapshot_listing import delete_snapshots
from accrete.steps.frame import Attempt, StepContext, run_attempt
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore

if TYPE_CHECKING:
    from accrete.stages.run import StageContext
    from accrete.training.distributed import Peers


_DATA_SHARE = 0.4
"""Part of the step's memory that images may take unless the user says how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """What a training step is to do, whoever read it from where; as JSON, for other processes."""

    stages: tuple[StageSpec, ...]
    """Consecutive ones, mostly one."""
    following: StageSpec | None
    """The run's stage after them."""
    num_stages: int
    """All of the run's."""
    dataset: DatasetManifest
    """What they train on."""
    data_memory: str | None = None
    """Memory for images, such as `4G`; None: two fifths of what the step has."""
    cell: str = ""
    """Of a sweep, whose stages they are; empty: a run's."""


def training_task(
    record: RunRecord,
    dataset: DatasetManifest,
    stages: Sequence[int],
    parent: StageManifest | None,
    *,
    data_memory: str | None = None,
    cell: str = "",
) -> TrainingTask:
    """Return the task of training some of a run's stages.

    Args:
        record: the run.
        dataset: that it was recorded with.
        stages: indices, from 1.
        parent: the stage before the first of them; None for stage 1.
        data_memory: as the task has it.
        cell: as the task has it.

    Raises:
        IntegrityError: this version makes other stages of the record.
        ConfigError: the run has no such stage.
        CheckpointMismatchError: the parent is another stage.
    """
    chain = _chain_of(record, dataset)
    wanted = tuple(_spec(chain, index) for index in stages)
    check_parent(wanted[0], parent)
    return TrainingTask(
        stages=wanted,
        following=chain[wanted[-1].index] if wanted[-1].index < len(chain) else None,
        num_stages=len(chain),
        dataset=dataset,
        data_memory=data_memory,
        cell=cell,
    )


@dataclass(frozen=True, slots=True)
class _StageTelling:
    """How a step tells of its stages."""

    context: StepContext
    """Where."""
    cell: str
    """Of a sweep, whose stages they are; empty: a run's."""
    num_stages: int
    """All of the run's."""

    def title(self, spec: StageSpec) -> str:
        """Return what a stage is called."""
        return f"{self.cell} stage {spec.index}/{self.num_stages}".strip()

    def metrics(self, spec: StageSpec) -> StageMetrics:
        """Begin a stage's figures."""
        context = self.context
        return StageMetrics(context.metrics, spec, snapshot_interval_s(), context.kept)

    def tell(
        self, spec: StageSpec, manifest: StageManifest, metrics: StageMetrics, *, reused: bool
    ) -> None:
        """Say what a stage came to."""
        metrics.finished(manifest, reused=reused)
        self.context.journal.result(
            stage_text(self.title(spec), manifest, reused=reused),
            stage=spec.index,
            digest=spec.digest,
            reused=reused,
        )


def train_stages(
    task: TrainingTask, attempt: Attempt, peers: "Peers | None" = None
) -> StageManifest:
    """Train a task's stages, reuse those that exist, and return the last.

    Args:
        task: what to train.
        attempt: at the step.
        peers: the processes that train together; None: this one alone.
    """
    return run_attempt(attempt, lambda context: _train_all(task, peers, context))


def follow_stages(task: TrainingTask, attempt: Attempt, peers: "Peers") -> StageManifest:
    """Train the same stages as the first of some peers, which does all the writing."""
    store = ObjectStore.open(attempt.store_uri)
    metrics = StepMetrics(attempt.run_name, attempt.step, store.traffic)
    context = StepContext(NullJournal(), Catalog(store), NodeCache(cache_path(), store), metrics)
    return _train_all(task, peers, context)


def is_finished(task: TrainingTask, store_uri: str) -> bool:
    """Return whether all of a task's stages exist: then it needs neither GPUs nor torch.

    What goes wrong in finding out is the step's to tell; a store that is away, to wait for.
    """
    try:
        catalog = Catalog(ObjectStore.open(store_uri, wait_s=0))
        return None not in [catalog.stage(spec.digest) for spec in task.stages]
    except AccreteError:
        return False


def data_memory_bytes(task: TrainingTask) -> int:
    """Return the memory that a step's images may take, of all its processes together.

    Raises:
        ConfigError: what the task says is no size.
    """
    given = parse_bytes(task.data_memory, "data memory") if task.data_memory else None
    return given or int(_DATA_SHARE * available_memory_bytes())


def _train_all(task: TrainingTask, peers: "Peers | None", context: StepContext) -> StageManifest:
    telling = _StageTelling(context, task.cell, task.num_stages)
    found = [context.catalog.stage(spec.digest) for spec in task.stages] if peers is None else []
    manifests = [manifest for manifest in found if manifest is not None]
    if len(manifests) == len(task.stages):
        for spec, manifest in zip(task.stages, manifests, strict=True):
            # An attempt that published the stage may have been killed before it deleted them.
            store, say = context.catalog.store, context.journal.say
            delete_snapshots(spec.digest, store, context.cache, say)
            telling.tell(spec, manifest, telling.metrics(spec), reused=True)
        return manifests[-1]
    stage_context = _stage_context(task, peers, context)
    later = (*task.stages[1:], task.following)
    trained = [
        _train_one(spec, following, task.dataset, stage_context, telling)
        for spec, following in zip(task.stages, later, strict=True)
    ]
    return trained[-1]


def _stage_context(
    task: TrainingTask, peers: "Peers | None", context: StepContext
) -> "StageContext":
    from accrete.stages.run import StageContext
    from accrete.training.device import compute_device
    from accrete.training.distributed import Peers
    from accrete.training.image_source import DataMemory

    peers = peers or Peers(compute_device())
    num_bytes = data_memory_bytes(task)
    return StageContext(
        catalog=context.catalog,
        cache=context.cache,
        memory=DataMemory(
            num_bytes=num_bytes // peers.world_size,
            num_workers=max(1, available_cpus() // peers.world_size),
        ),
        peers=peers,
        snapshot_interval_s=snapshot_interval_s(),
        least_snapshot_interval_s=least_snapshot_interval_s(),
        notice=context.journal.say,
    )


def _train_one(
    spec: StageSpec,
    following: StageSpec | None,
    dataset: DatasetManifest,
    stage_context: "StageContext",
    telling: _StageTelling,
) -> StageManifest:
    from accrete.stages.run import run_stage

    title = telling.title(spec)
    journal, schedule = telling.context.journal, spec.schedule
    metrics = telling.metrics(spec)

    @cache
    def meter() -> Meter:  # from where and when training began, which shows with its first report
        first = metrics.first_position * schedule.batch_size
        total = schedule.num_images_seen
        return journal.meter(title, total, "images", first=first, began=metrics.began)

    def progress(num_steps: int, loss: float) -> None:
        metrics.progress(num_steps, loss)
        meter()(num_steps * schedule.batch_size, f"loss {loss:.3f}")

    stage_context = replace(stage_context, progress=progress, observer=metrics)
    following = following if fetches_ahead() else None
    outcome = run_stage(spec, dataset, stage_context, following=following)
    telling.tell(spec, outcome.manifest, metrics, reused=outcome.reused)
    return outcome.manifest


def model_facts(manifest: StageManifest, store: ObjectStore) -> dict[str, Any]:
    """Return what the model artifact says of a stage."""
    result = to_json(manifest.result)
    return {
        "digest": manifest.digest,
        "manifest_uri": store.uri(keys.stage_key(manifest.digest)),
        "checkpoint_uri": store.uri(keys.object_key(manifest.checkpoint.sha256)),
        "stage": manifest.index,
        "num_classes": len(manifest.class_names),
        **{name: value for name, value in result.items() if value is not None},
        "train_s": manifest.times.train_s,
    }


def read_record(path: str, cell: str) -> RunRecord:
    """Return the run of an artifact file, or the run that a cell of a sweep is.

    Raises:
        IntegrityError: it was changed.
    """
    data = Path(path).read_bytes()
    return parse_sweep_record(data, path).run(cell) if cell else parse_record(data, path)


def read_dataset(path: str, record: RunRecord) -> DatasetManifest:
    """Return the data set of an artifact file, which must be the run's.

    Raises:
        IntegrityError: it was changed.
    """
    return load_dataset(parse_json(Path(path).read_bytes(), path), record.dataset, path)


def read_stage(path: str | None) -> StageManifest | None:
    """Return the stage manifest of an artifact file, None where there is none.

    Raises:
        IntegrityError: it was changed.
    """
    if path is None:
        return None
    data = parse_json(Path(path).read_bytes(), path)
    manifest = data.get("manifest") if isinstance(data, dict) else None
    digest = manifest.get("digest") if isinstance(manifest, dict) else None
    return load_stage(data, str(digest), path)


def _chain_of(record: RunRecord, dataset: DatasetManifest) -> tuple[StageSpec, ...]:
    """Return the run's stages; they must have the identities that were recorded."""
    chain = stage_chain(record.config, dataset)
    if tuple(spec.digest for spec in chain) != record.stages:
        raise IntegrityError(
            f"run {record.name!r} was recorded with other stages than this version makes of it: "
            "use one image for all steps, or run again under another name"
        )
    return chain


def _spec(chain: Sequence[StageSpec], index: int) -> StageSpec:
    if not 1 <= index <= len(chain):
        raise ConfigError(f"stage {index} is asked for, the plan has {len(chain)}: compile again")
    return chain[index - 1]
