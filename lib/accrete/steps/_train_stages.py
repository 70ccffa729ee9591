"""The training step: consecutive stages of a run, by one process or by one a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, check_parent, stage_chain
from accrete.catalog.manifests import (
    DatasetManifest,
    StageManifest,
    dump_stage,
    load_dataset,
    load_stage,
)
from accrete.catalog.records import RunRecord, parse_record, parse_sweep_record
from accrete.core.processes import available_cpus, available_memory_bytes
from accrete.core.serialization import to_json
from accrete.core.settings import cache_path, fetches_ahead, snapshot_interval_s
from accrete.core.units import parse_bytes
from accrete.core.untrusted import parse_json
from accrete.errors import AccreteError, ConfigError, IntegrityError
from accrete.monitoring.journal import MuteJournal
from accrete.monitoring.metrics import StepMetrics
from accrete.monitoring.stage_metrics import StageMetrics
from accrete.stages.snapshot_listing import delete_snapshots
from accrete.steps.frame import StepContext, attempt
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore

if TYPE_CHECKING:
    from accrete.stages.run import Workplace
    from accrete.training.distributed import Peers


_DATA_SHARE = 0.4
"""Part of the step's memory that images may take unless the user says how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainArguments:
    """What a training step is told."""

    stages: tuple[int, ...]
    """Indices, from 1."""
    run_name: str
    """The run."""
    store_uri: str
    """`s3://bucket[/prefix]`."""
    dataset_path: str
    """The dataset manifest."""
    plan_path: str
    """The run's record."""
    parent_path: str | None
    """Manifest of the stage before the first; None for stage 1."""
    model_path: str
    """Where the last stage's manifest goes."""
    data_memory: str | None = None
    """Memory for images, such as `4G`; None: two fifths of what the step has."""
    cell: str = ""
    """Of a sweep, whose stages they are; empty: a run's."""


@dataclass(frozen=True, slots=True)
class _Telling:
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
        return StageMetrics(self.context.metrics, spec, snapshot_interval_s())

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


def train_stages(arguments: TrainArguments, peers: "Peers | None" = None) -> dict[str, Any]:
    """Train consecutive stages, mostly one; reuse those that exist.

    Args:
        arguments: of the step.
        peers: the processes that train together; None: this one alone.

    Returns:
        Metadata of the model artifact.
    """
    return attempt(
        arguments.run_name,
        keys.train_step_name(arguments.stages[0], arguments.cell),
        arguments.store_uri,
        lambda context: _train_all(arguments, peers, context),
    )


def follow_stages(arguments: TrainArguments, peers: "Peers") -> dict[str, Any]:
    """Train the same stages as the first of some peers, which does all the writing."""
    store = ObjectStore.open(arguments.store_uri)
    metrics = StepMetrics(
        arguments.run_name, keys.train_step_name(arguments.stages[0]), store.traffic
    )
    context = StepContext(MuteJournal(), Catalog(store), NodeCache(cache_path(), store), metrics)
    return _train_all(arguments, peers, context)


def are_finished(arguments: TrainArguments) -> bool:
    """Return whether all of a step's stages exist: then it needs neither GPUs nor torch.

    What goes wrong in finding out is the step's to tell.
    """
    try:
        store = ObjectStore.open(arguments.store_uri)
        _, _, wanted = _stages_of(arguments)
        return None not in [Catalog(store).stage(spec.digest) for spec in wanted]
    except (AccreteError, OSError):
        return False


def _stages_of(
    arguments: TrainArguments,
) -> tuple[DatasetManifest, tuple[StageSpec, ...], list[StageSpec]]:
    """Return the data set, the run's stages, and the step's among them."""
    record = _read_record(arguments)
    dataset = _read_dataset(arguments.dataset_path, record)
    chain = _chain_of(record, dataset)
    wanted = [_spec(chain, index) for index in arguments.stages]
    check_parent(wanted[0], read_stage(arguments.parent_path))
    return dataset, chain, wanted


def _train_all(
    arguments: TrainArguments, peers: "Peers | None", context: StepContext
) -> dict[str, Any]:
    dataset, chain, wanted = _stages_of(arguments)
    telling = _Telling(context, arguments.cell, len(chain))
    found = [context.catalog.stage(spec.digest) for spec in wanted] if peers is None else []
    if found and None not in found:
        manifests = [manifest for manifest in found if manifest is not None]
        for spec, manifest in zip(wanted, manifests, strict=True):
            # An attempt that published the stage may have been killed before it deleted them.
            delete_snapshots(spec.digest, context.catalog.store, context.journal.say)
            telling.tell(spec, manifest, telling.metrics(spec), reused=True)
    else:
        place = _workplace(arguments, peers, context)
        manifests = [_train_one(spec, chain, dataset, place, telling) for spec in wanted]
        if not place.peers.leads:
            return model_facts(manifests[-1], context.catalog)
    Path(arguments.model_path).write_bytes(dump_stage(manifests[-1]))
    return model_facts(manifests[-1], context.catalog)


def _workplace(
    arguments: TrainArguments, peers: "Peers | None", context: StepContext
) -> "Workplace":
    from accrete.stages.run import Workplace
    from accrete.training.device import compute_device
    from accrete.training.distributed import Peers
    from accrete.training.image_source import DataMemory

    peers = peers or Peers(compute_device())
    given = parse_bytes(arguments.data_memory, "data memory") if arguments.data_memory else None
    num_bytes = given or int(_DATA_SHARE * available_memory_bytes())
    return Workplace(
        catalog=context.catalog,
        cache=context.cache,
        memory=DataMemory(
            num_bytes=num_bytes // peers.size, num_workers=max(1, available_cpus() // peers.size)
        ),
        peers=peers,
        snapshot_interval_s=snapshot_interval_s(),
        notice=context.journal.say,
    )


def _train_one(
    spec: StageSpec,
    chain: Sequence[StageSpec],
    dataset: DatasetManifest,
    place: "Workplace",
    telling: _Telling,
) -> StageManifest:
    from accrete.stages.run import run_stage

    title = telling.title(spec)
    meter = telling.context.journal.meter(title, spec.schedule.num_images_seen, "images")
    metrics = telling.metrics(spec)

    def progress(steps: int, loss: float) -> None:
        metrics.progress(steps, loss)
        meter(steps * spec.schedule.batch_size, f"loss {loss:.3f}")

    place = replace(place, progress=progress, observer=metrics)
    later = chain[spec.index] if fetches_ahead() and spec.index < len(chain) else None
    outcome = run_stage(spec, dataset, place, following=later)
    telling.tell(spec, outcome.manifest, metrics, reused=outcome.reused)
    return outcome.manifest


def stage_text(title: str, manifest: StageManifest, *, reused: bool) -> str:
    """Return what a stage came to as one line."""
    result, times = manifest.result, manifest.times
    parts = [
        f"{title}: {len(manifest.class_names)} classes",
        f"top-1 {_percent(result.top1)}",
        f"(old {_percent(result.top1_old)}, new {_percent(result.top1_new)})",
    ]
    if reused:
        return "  ".join([*parts, "reused"])
    speed = f"{result.images_per_s:,.0f}/s, {manifest.precision or manifest.schedule.precision}"
    work = f"{result.images_seen:,} images in {times.train_s:.1f} s ({speed})"
    return "  ".join([*parts, work])


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def model_facts(manifest: StageManifest, catalog: Catalog) -> dict[str, Any]:
    """Return what the model artifact says of a stage."""
    result = to_json(manifest.result)
    return {
        "digest": manifest.digest,
        "manifest_uri": catalog.store.uri(keys.stage_key(manifest.digest)),
        "checkpoint_uri": catalog.store.uri(keys.object_key(manifest.checkpoint.sha256)),
        "stage": manifest.index,
        "num_classes": len(manifest.class_names),
        **{name: value for name, value in result.items() if value is not None},
        "train_s": manifest.times.train_s,
    }


def _read_record(arguments: TrainArguments) -> RunRecord:
    data = Path(arguments.plan_path).read_bytes()
    if arguments.cell:
        return parse_sweep_record(data, arguments.plan_path).run(arguments.cell)
    return parse_record(data, arguments.plan_path)


def _read_dataset(path: str, record: RunRecord) -> DatasetManifest:
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
