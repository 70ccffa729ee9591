"""The first step of a pipeline: prepare the data set, claim the run's name."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc_mark import CollectionWatch
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import DatasetManifest, dump_dataset
from accrete.catalog.records import (
    check_name_is_free,
    create_record,
    create_sweep_record,
    dump_record,
    dump_sweep_record,
    make_record,
    make_sweep_record,
)
from accrete.config.known_networks import check_size_of_images, fits
from accrete.config.run import RunConfig
from accrete.config.sweep import Sweep
from accrete.core.serialization import from_json
from accrete.data.extension import extension_of
from accrete.errors import ConfigError
from accrete.steps.frame import Attempt, StepContext, one_line_errors, run_attempt
from accrete.store import keys
from accrete.store.object_store import ObjectStore


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
    from accrete.data.prepare import prepare_dataset

    def work(context: StepContext) -> dict[str, Any]:
        context.catalog.store.prove_create_only()  # before any work: nothing is safe without it
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
            prepared = prepare_dataset(
                run.source,
                run.plan,
                context.catalog,
                context.cache.work_path,
                lambda total: context.journal.meter("prepare", total, "images"),
                extension=extension_of(run, context.catalog),
                say=lambda line: context.journal.result(f"prepare: {line}"),
                check_size=_size_check(runs or [run]),
            )
            for note in prepared.notes:
                context.journal.result(f"prepare: {note}")
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
        step = keys.prepare_step_name()
        return run_attempt(Attempt(run_name=run_name, step=step, store_uri=store_uri), work)


def _size_check(runs: Sequence[RunConfig]) -> Callable[[int, int], None] | None:
    """Return what refuses a size that a network of these runs cannot take; None: they take any."""
    names = sorted({run.model.name for run in runs if not fits(run.model.name, 1)})

    def check(height: int, width: int) -> None:
        for name in names:
            check_size_of_images(name, height, width)

    return check if names else None


def _claim(
    config: RunConfig | Sweep, name: str, manifest: DatasetManifest, store: ObjectStore
) -> bytes:
    """Store the record of a run or sweep under its name; return it.

    Raises:
        RunNameTakenError: the name stands for something else.
    """
    check_name_is_free(store, name, config)
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
    image = manifest.image
    skipped = f", {manifest.skipped.count} bad images skipped" if manifest.skipped.count else ""
    return (
        f"prepare: {manifest.num_images('train'):,} training and "
        f"{manifest.num_images('test'):,} test images of {len(manifest.classes)} classes, "
        f"{'grey' if image.channels == 1 else 'colour'}, {image.width}x{image.height} px"
        f"{skipped}{', reused' if reused else ''}"
    )
