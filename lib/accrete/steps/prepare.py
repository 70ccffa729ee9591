"""The first step of a pipeline: prepare the data set, claim the run's name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc_mark import CollectionWatch
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import DatasetManifest, dump_dataset
from accrete.catalog.plans import read_plan
from accrete.catalog.records import (
    check_name_is_free,
    create_record,
    create_sweep_record,
    dump_record,
    dump_sweep_record,
    find_record,
    find_sweep_record,
    has_record,
    make_record,
    make_sweep_record,
)
from accrete.catalog.step_documents import StepFailure
from accrete.config.known_networks import (
    check_image_sides,
    check_network,
    check_size_of_images,
    fits,
)
from accrete.config.life import resolve_life
from accrete.config.planned import join_config
from accrete.config.rules import shown_rule, sweep_with_true_rule, with_true_rule
from accrete.config.run import RunConfig
from accrete.config.sweep import Sweep
from accrete.core.serialization import from_json
from accrete.core.settings import progress_path
from accrete.data.extension import extension_of
from accrete.errors import AccreteError, ConfigError, ObjectMissingError, RunNameTakenError
from accrete.monitoring.journal import Journal
from accrete.steps.frame import Attempt, StepContext, one_line_errors, run_attempt, sigterm_as_error
from accrete.store import keys
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore, outages_told_by


def prepare_step(
    *,
    config: dict[str, Any],
    num_stages: int,
    run_name: str,
    store_uri: str,
    dataset_path: str,
    plan_path: str,
    planned: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Prepare the data set, resolve the run or sweep against it and claim its name.

    Args:
        config: what may be edited of a RunConfig or Sweep, as JSON.
        num_stages: what the pipeline was compiled for, a sweep's stages counted cell by cell.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        dataset_path: where the dataset manifest goes.
        plan_path: where the run's record goes.
        planned: what the pipeline was made for, or the reference to it; None: it was compiled
            before there was such a part, and `config` is all.

    Returns:
        Metadata of the dataset artifact.
    """
    from accrete.data.prepare import prepare_dataset, stored_dataset

    def work(context: StepContext) -> dict[str, Any]:
        context.catalog.store.prove_create_only()  # before any work: nothing is safe without it
        asked, said = _asked(config, planned, run_name, context.catalog.store)
        if said != _rule_of(asked):
            context.journal.result(
                f"prepare: the configuration says {shown_rule(said)!r} beside other stages, "
                "which are what is trained: to change them, compile the pipeline again"
            )
        runs = _runs_of(asked)
        run = runs[0]
        _check_runs(runs, int(num_stages))
        watch = CollectionWatch(context.catalog.store, context.journal.say)
        while True:
            _check_weights(run, context.catalog.store)
            if run.dataset is not None:
                prepared = stored_dataset(run.dataset, context.catalog)
            else:
                with outages_told_by(context.journal.result):  # of the source's own store
                    prepared = prepare_dataset(
                        run.source,
                        run.plan,
                        context.catalog,
                        context.cache.work_path,
                        lambda total: context.journal.meter("prepare", total, "images"),
                        extension=extension_of(run, context.catalog),
                        cache=context.cache,
                        model=run.model,
                        say=lambda line: context.journal.result(f"prepare: {line}"),
                        check_size=_size_check(runs),
                    )
            for note in (*prepared.notes, *_weights_notes(run, prepared.manifest)):
                context.journal.result(f"prepare: {note}")
            manifest = prepared.manifest
            record = _claim(asked, run_name, manifest, context.catalog.store)
            if not watch.was_disturbed():
                break  # the record stands, and protects all that it names
        Path(dataset_path).write_bytes(dump_dataset(manifest))
        Path(plan_path).write_bytes(record)
        facts = _dataset_facts(manifest, context.catalog)
        context.journal.result(_prepared_text(manifest, reused=prepared.reused), **facts)
        return facts

    with one_line_errors():
        step = keys.prepare_step_name()
        attempt = Attempt(run_name=run_name, step=step, store_uri=store_uri)
        _refuse_taken_name(config, planned, attempt)
        return run_attempt(attempt, work)


def _refuse_taken_name(
    config: Mapping[str, Any], planned: Mapping[str, Any] | None, attempt: Attempt
) -> None:
    """Refuse a name that is another run's before anything is stored or pushed under it.

    A store that is away is waited for as by every step, which the console and a local run's
    launcher are told. What else is wrong comes again, and the journal tells it, where the name is
    nobody's.

    Raises:
        RunNameTakenError: it is.
        AccreteError: whose it is cannot be told, or it has a record and this cannot be its run.
    """
    journal = Journal(
        attempt.run_name, attempt.step, store=None, folder=progress_path(), attempt=attempt.name
    )
    try:
        with sigterm_as_error():
            store = ObjectStore.open(attempt.store_uri)
            store.told_by(journal.result)
            try:
                asked, _ = _asked(config, planned, attempt.run_name, store)
                check_name_is_free(store, attempt.run_name, asked)
            except RunNameTakenError:
                raise
            except AccreteError:
                if has_record(store, attempt.run_name):
                    raise
    except AccreteError as error:
        journal.fail(StepFailure.of(error))
        raise


def _asked(
    config: Mapping[str, Any], planned: Mapping[str, Any] | None, name: str, store: ObjectStore
) -> tuple[RunConfig | Sweep, str]:
    """Return what is to be run, and what its rule was said to be.

    Its rule may say what its stages are not, where a file was edited, or a parameter of a pipeline
    that was compiled when the plan was one: it is put right, but not where a run of this name was
    recorded with that text.

    Raises:
        ConfigError: it has unknown fields, lacks some, or has values out of range.
        ObjectMissingError, IntegrityError: the plan is not in the store, or was changed.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"config is {repr(config)[:60]}: it must be an object")
    whole = config if planned is None else join_config(config, read_plan(planned, store))
    if "cells" in whole:
        sweep = from_json(Sweep, whole, "config")
        recorded = find_sweep_record(store, name)
        is_recorded = recorded is not None and recorded.sweep == sweep
        return sweep if is_recorded else sweep_with_true_rule(sweep), sweep.rule
    run = from_json(RunConfig, whole, "config")
    known = find_record(store, name)
    is_known = known is not None and known.config == run
    made = run if is_known else replace(run, plan=with_true_rule(run.plan))
    return made, run.plan.rule


def _rule_of(asked: RunConfig | Sweep) -> str:
    return asked.plan.rule if isinstance(asked, RunConfig) else asked.rule


def _runs_of(asked: RunConfig | Sweep) -> list[RunConfig]:
    return [asked] if isinstance(asked, RunConfig) else [*map(asked.run_config, asked.cells)]


def _check_runs(runs: Sequence[RunConfig], num_stages: int) -> None:
    """Refuse what commands refuse before they submit: a configuration may have been edited since.

    Raises:
        ConfigError: it is for other stages, no such network is known, or the recipe does not fit.
    """
    found = sum(len(each.plan.stage_sizes) for each in runs)
    if found != num_stages:
        raise ConfigError(
            f"the pipeline was compiled for {num_stages} stages, its config has {found}: compile "
            "it again"
        )
    for run in runs:
        check_network(run.model.name)
        for recipe in (run.recipe, run.arrival):
            if recipe is not None:
                check_image_sides(run.model.name, recipe.image_sides)
        resolve_life(run, image_side=32)


def _check_weights(run: RunConfig, store: ObjectStore) -> None:
    """Refuse a run whose weights are gone before its images are read.

    Raises:
        ObjectMissingError: they are not in the store, or have another size.
    """
    weights = run.model.weights
    if weights is None:
        return
    if not store.has_object(ObjectRef(sha256=weights.sha256, num_bytes=weights.num_bytes)):
        raise ObjectMissingError(
            f"weights {weights.origin} are not at {store.uri(keys.object_key(weights.sha256))}, or "
            "have another size: submit the run again with --weights, which stores them"
        )


def _weights_notes(run: RunConfig, manifest: DatasetManifest) -> list[str]:
    """Return a line where images are far smaller than those that a run's weights were made for."""
    weights, image = run.model.weights, manifest.image
    if weights is None or weights.image_side is None or run.source.image_size is not None:
        return []
    if 2 * min(image.height, image.width) >= weights.image_side:
        return []
    return [
        f"images of {image.width}x{image.height} px stay as they are, but weights {weights.origin} "
        f"were made for {weights.image_side} px: --image-size {weights.image_side} scales the "
        "images up"
    ]


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
