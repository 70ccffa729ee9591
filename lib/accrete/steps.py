"""What the pipeline's components call: one function a step, from artifact files to artifact files.

Composers. An expected failure ends the process with one line and the error's exit code; a
traceback means a bug.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from accrete import keys
from accrete.cache import NodeCache
from accrete.catalog import Catalog, parse_json
from accrete.chain import StageSpec, stage_chain
from accrete.codec import from_json, to_json
from accrete.config import RunConfig
from accrete.errors import AccreteError, ConfigError, IntegrityError
from accrete.journal import Journal
from accrete.manifests import (
    DatasetManifest,
    StageManifest,
    dump_dataset,
    dump_stage,
    load_dataset,
    load_stage,
)
from accrete.processes import share_cpus_well
from accrete.runs import RunRecord, create_record, dump_record, make_record, parse_record
from accrete.settings import (
    cache_path,
    parse_store_uri,
    progress_path,
    require_store_settings,
    snapshot_interval_s,
)
from accrete.store import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepContext:
    """What every step has at hand."""

    journal: Journal
    """Where it says how far it is."""
    catalog: Catalog
    """The store's data sets and stages."""
    cache: NodeCache
    """This node's objects."""


def _run_step(run_name: str, step: str, store_uri: str, work: Callable[[StepContext], T]) -> T:
    """Do a step's work with its journal; turn our errors into one line and an exit code."""
    share_cpus_well()
    try:
        store = ObjectStore(require_store_settings(), parse_store_uri(store_uri))
        folder = progress_path()
        with Journal(run_name, step, store=store, folder=folder) as journal:
            try:
                store.check()
                cache = NodeCache(cache_path(), store)
                result = work(StepContext(journal, Catalog(store), cache))
            except AccreteError as error:
                journal.fail(str(error), error.exit_code)
                raise
            except BaseException as error:
                journal.fail(f"{type(error).__name__}: {error}", 1)
                raise
            journal.succeed()
            return result
    except AccreteError as error:
        print(f"accrete: error: {error}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(error.exit_code)


def prepare_step(
    *,
    config: dict[str, Any],
    num_stages: int,
    run_name: str,
    store_uri: str,
    dataset_path: str,
    plan_path: str,
) -> dict[str, Any]:
    """Prepare the data set, resolve the run against it and claim the run's name.

    Args:
        config: RunConfig as JSON.
        num_stages: what the pipeline was compiled for.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: where the dataset manifest goes.
        plan_path: where the run's record goes.

    Returns:
        Metadata of the dataset artifact.
    """
    from accrete.prepare import prepare

    def work(context: StepContext) -> dict[str, Any]:
        run = from_json(RunConfig, config, "config")
        if len(run.plan.stage_sizes) != int(num_stages):
            raise ConfigError(
                f"the pipeline was compiled for {int(num_stages)} stages, its config has "
                f"{len(run.plan.stage_sizes)}: compile it again"
            )
        prepared = prepare(
            run.source,
            run.plan,
            context.catalog,
            context.cache.work_path,
            lambda total: context.journal.meter("prepare", total, "images"),
        )
        manifest = prepared.manifest
        chain = stage_chain(run, manifest)
        record = make_record(run_name, run, manifest.digest, chain)
        create_record(context.catalog.store, record)
        Path(dataset_path).write_bytes(dump_dataset(manifest))
        Path(plan_path).write_bytes(dump_record(record))
        facts = _dataset_facts(manifest, context.catalog)
        context.journal.result(_prepared_text(manifest, reused=prepared.reused), **facts)
        return facts

    return _run_step(run_name, keys.prepare_step_name(), store_uri, work)


def _dataset_facts(manifest: DatasetManifest, catalog: Catalog) -> dict[str, Any]:
    return {
        "digest": manifest.digest,
        "manifest_uri": catalog.store.uri(keys.dataset_key(manifest.digest)),
        "num_classes": len(manifest.classes),
        "num_train_images": manifest.num_images("train"),
        "num_test_images": manifest.num_images("test"),
    }


def _prepared_text(manifest: DatasetManifest, *, reused: bool) -> str:
    skipped = f", {manifest.skipped.count} bad images skipped" if manifest.skipped.count else ""
    return (
        f"prepare: {manifest.num_images('train'):,} training and "
        f"{manifest.num_images('test'):,} test images of {len(manifest.classes)} classes"
        f"{skipped}{', reused' if reused else ''}"
    )


def train_step(
    *,
    stages: Sequence[float],
    run_name: str,
    store_uri: str,
    dataset_path: str,
    plan_path: str,
    parent_path: str | None,
    model_path: str,
) -> dict[str, Any]:
    """Train consecutive stages, mostly one; reuse those that exist.

    Args:
        stages: indices, from 1; KFP sends whole floats.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: the dataset manifest.
        plan_path: the run's record.
        parent_path: manifest of the stage before the first; None for stage 1.
        model_path: where the last stage's manifest goes.

    Returns:
        Metadata of the model artifact.
    """
    from accrete.stage_inputs import check_parent

    def work(context: StepContext) -> dict[str, Any]:
        record = parse_record(Path(plan_path).read_bytes(), plan_path)
        dataset = _read_dataset(dataset_path, record)
        chain = _chain_of(record, dataset)
        wanted = [_spec(chain, int(index)) for index in stages]
        check_parent(wanted[0], _read_parent(parent_path))
        for spec in wanted:
            manifest = _train_one(spec, len(chain), dataset, context)
        Path(model_path).write_bytes(dump_stage(manifest))
        return _model_facts(manifest, context.catalog)

    step = keys.train_step_name(int(stages[0]))
    return _run_step(run_name, step, store_uri, work)


def _train_one(
    spec: StageSpec, num_stages: int, dataset: DatasetManifest, context: StepContext
) -> StageManifest:
    from accrete.stage import run_stage

    title = f"stage {spec.index}/{num_stages}"
    total = spec.schedule.num_images_seen
    meter = context.journal.meter(title, total, "images")
    outcome = run_stage(
        spec,
        dataset,
        context.catalog,
        context.cache,
        lambda steps, loss: meter(steps * spec.schedule.batch_size, f"loss {loss:.3f}"),
        snapshot_interval_s=snapshot_interval_s(),
    )
    context.journal.result(
        _stage_text(title, outcome.manifest, reused=outcome.reused),
        stage=spec.index,
        digest=spec.digest,
        reused=outcome.reused,
    )
    return outcome.manifest


def _stage_text(title: str, manifest: StageManifest, *, reused: bool) -> str:
    result, times = manifest.result, manifest.times
    parts = [
        f"{title}: {len(manifest.class_names)} classes",
        f"top-1 {_percent(result.top1)}",
        f"(old {_percent(result.top1_old)}, new {_percent(result.top1_new)})",
    ]
    if reused:
        return "  ".join([*parts, "reused"])
    speed = f"{result.images_seen:,} images in {times.train_s:.1f} s ({result.images_per_s:,.0f}/s)"
    return "  ".join([*parts, speed])


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _model_facts(manifest: StageManifest, catalog: Catalog) -> dict[str, Any]:
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


def _read_dataset(path: str, record: RunRecord) -> DatasetManifest:
    return load_dataset(parse_json(Path(path).read_bytes(), path), record.dataset, path)


def _read_parent(path: str | None) -> StageManifest | None:
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


def report_step(
    *,
    run_name: str,
    store_uri: str,
    plan_path: str,
    model_path: str,
    html_path: str,
    json_path: str,
) -> dict[str, float]:
    """Write the report of a finished run to the artifacts and to the store.

    Args:
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        plan_path: the run's record.
        model_path: manifest of the last stage.
        html_path: where the page goes.
        json_path: where the figures go.

    Returns:
        Headline metrics.
    """
    from accrete.report import assemble_report
    from accrete.report_html import render_report

    def work(context: StepContext) -> dict[str, float]:
        record = parse_record(Path(plan_path).read_bytes(), plan_path)
        last = _read_parent(model_path)
        if last is None or last.digest != record.stages[-1]:
            raise IntegrityError(f"{model_path} is not the last stage of run {run_name!r}")
        report = assemble_report(record, context.catalog, context.cache)
        page = render_report(report).encode()
        figures = json.dumps(report, indent=1, ensure_ascii=False).encode()
        Path(html_path).write_bytes(page)
        Path(json_path).write_bytes(figures)
        store = context.catalog.store
        store.write_note(keys.report_key(run_name, "report.html"), page)
        store.write_note(keys.report_key(run_name, "report.json"), figures)
        context.journal.result(f"report: {store.uri(keys.report_key(run_name, 'report.html'))}")
        return {
            "top1": report["totals"]["top1"] or 0.0,
            "images_seen": float(report["totals"]["images_seen"]),
            "train_s": report["totals"]["train_s"],
        }

    return _run_step(run_name, keys.report_step_name(), store_uri, work)
