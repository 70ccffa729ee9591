"""What the pipeline's components call: one function a step, from artifact files to artifact files.

Composers. An expected failure ends the process with one line and the error's exit code; a
traceback means a bug.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accrete import keys
from accrete.catalog import Catalog
from accrete.chain import stage_chain
from accrete.codec import from_json
from accrete.collection_mark import CollectionWatch
from accrete.config import RunConfig
from accrete.errors import ConfigError, IntegrityError
from accrete.extension import extension_of
from accrete.manifests import DatasetManifest, dump_dataset
from accrete.peer_launch import num_processes, train_among_peers
from accrete.runs import (
    check_name,
    create_record,
    create_sweep_record,
    dump_record,
    dump_sweep_record,
    make_record,
    make_sweep_record,
    parse_record,
    parse_sweep_record,
)
from accrete.step_frame import StepContext, attempt, one_line_errors
from accrete.store import ObjectStore
from accrete.sweep import Sweep
from accrete.train_steps import TrainArguments, are_finished, read_stage, train_stages


def prepare_step(
    *,
    config: dict[str, Any],
    num_stages: int,
    run_name: str,
    store_uri: str,
    dataset_path: str,
    plan_path: str,
) -> dict[str, Any]:
    """Prepare the data set, resolve the run or sweep against it and claim its name.

    Args:
        config: RunConfig or Sweep as JSON.
        num_stages: what the pipeline was compiled for, a sweep's stages counted cell by cell.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: where the dataset manifest goes.
        plan_path: where the run's record goes.

    Returns:
        Metadata of the dataset artifact.
    """
    from accrete.prepare import prepare

    def work(context: StepContext) -> dict[str, Any]:
        sweep = from_json(Sweep, config, "config") if "cells" in config else None
        runs = [sweep.run_config(cell) for cell in sweep.cells] if sweep else []
        run = runs[0] if runs else from_json(RunConfig, config, "config")
        planned = sum(len(each.plan.stage_sizes) for each in runs or [run])
        if planned != int(num_stages):
            raise ConfigError(
                f"the pipeline was compiled for {int(num_stages)} stages, its config has "
                f"{planned}: compile it again"
            )
        watch = CollectionWatch(context.catalog.store, context.journal.say)
        while True:
            prepared = prepare(
                run.source,
                run.plan,
                context.catalog,
                context.cache.work_path,
                lambda total: context.journal.meter("prepare", total, "images"),
                extension=extension_of(run, context.catalog),
            )
            manifest = prepared.manifest
            record = _claim(sweep or run, run_name, manifest, context.catalog.store)
            if not watch.was_disturbed():
                break  # the record stands, and protects all that it names
        Path(dataset_path).write_bytes(dump_dataset(manifest))
        Path(plan_path).write_bytes(record)
        facts = _dataset_facts(manifest, context.catalog)
        context.journal.result(_prepared_text(manifest, reused=prepared.reused), **facts)
        return facts

    with one_line_errors():
        return attempt(run_name, keys.prepare_step_name(), store_uri, work)


def _claim(
    config: RunConfig | Sweep, name: str, manifest: DatasetManifest, store: ObjectStore
) -> bytes:
    """Store the record of a run or sweep under its name; return it.

    Raises:
        RunNameTakenError: the name stands for something else.
    """
    check_name(store, name, config)
    if isinstance(config, Sweep):
        sweep_record = make_sweep_record(name, config, manifest)
        create_sweep_record(store, sweep_record)
        return dump_sweep_record(sweep_record)
    record = make_record(name, config, manifest.digest, stage_chain(config, manifest))
    create_record(store, record)
    return dump_record(record)


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
    data_memory: str = "",
    cell: str = "",
) -> dict[str, Any]:
    """Train consecutive stages, mostly one; reuse those that exist.

    Args:
        stages: indices, from 1; whole floats do, since KFP holds every number as one.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: the dataset manifest.
        plan_path: the run's or the sweep's record.
        parent_path: manifest of the stage before the first; None for stage 1.
        model_path: where the last stage's manifest goes.
        data_memory: memory for images, such as `4G`; empty: two fifths of what the step has.
        cell: of a sweep, whose stages they are; empty: a run's.

    Returns:
        Metadata of the model artifact.
    """
    arguments = TrainArguments(
        stages=tuple(map(int, stages)),
        run_name=run_name,
        store_uri=store_uri,
        dataset_path=dataset_path,
        plan_path=plan_path,
        parent_path=parent_path,
        model_path=model_path,
        data_memory=data_memory or None,
        cell=cell,
    )
    with one_line_errors():
        count = 1 if are_finished(arguments) else num_processes()
        return train_stages(arguments) if count == 1 else train_among_peers(arguments, count)


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
        last = read_stage(model_path)
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

    with one_line_errors():
        return attempt(run_name, keys.report_step_name(), store_uri, work)


def sweep_report_step(
    *, run_name: str, store_uri: str, plan_path: str, html_path: str, json_path: str
) -> dict[str, float]:
    """Write the report of a finished sweep to the artifacts and to the store.

    Args:
        run_name: the sweep.
        store_uri: `s3://bucket[/prefix]`.
        plan_path: the sweep's record.
        html_path: where the page goes.
        json_path: where the figures go.

    Returns:
        Headline metrics.
    """
    from accrete.sweep_report import sweep_report

    def work(context: StepContext) -> dict[str, float]:
        record = parse_sweep_record(Path(plan_path).read_bytes(), plan_path)
        made = sweep_report(record, context.catalog, context.cache)
        files = {Path(html_path): "report.html", Path(json_path): "report.json"}
        store = context.catalog.store
        for name, data in made.files.items():
            store.write_note(keys.report_key(run_name, name), data)
        for path, name in files.items():
            path.write_bytes(made.files[name])
        for line in made.lines:
            context.journal.result(line)
        context.journal.result(f"report: {store.uri(keys.report_key(run_name, 'report.html'))}")
        return made.headline

    with one_line_errors():
        return attempt(run_name, keys.report_step_name(), store_uri, work)
