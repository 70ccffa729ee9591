"""A look at a source for what has come since a model was trained: what to do, or to wait for.

A composer: the life of a model, the numbers of a source, its images as shards, and the record of
the run that extends the model. The record decides: of two that look at once, the second takes over
what the first recorded.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc_mark import CollectionWatch
from accrete.catalog.identity import stage_chain
from accrete.catalog.life import Life, Lived, extends, life_of, records_of
from accrete.catalog.lookup import base_of_stage
from accrete.catalog.manifests import SPLITS, DatasetManifest
from accrete.catalog.records import (
    RunRecord,
    create_record,
    find_record,
    make_record,
    run_names,
)
from accrete.catalog.step_documents import SILENT_AFTER_S, step_documents
from accrete.config.arrivals import Sight, Watch, arrival_name, is_arrival_name, sight_of
from accrete.config.given_recipe import extension_recipe
from accrete.config.known_networks import check_image_sides
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import BaseModel, RunConfig, SourceConfig
from accrete.config.schedule import resolve
from accrete.core.units import format_counted, format_seconds
from accrete.data.extension import (
    Extension,
    open_extension,
    plan_extension,
    with_validation_split,
)
from accrete.data.growing import (
    ChangedSourceError,
    Grown,
    MovedImagesError,
    grow_dataset,
)
from accrete.data.prepare import MakeMeter
from accrete.data.sources.base import Counts
from accrete.data.sources.opening import open_source
from accrete.data.splits import split_policy, split_sizes
from accrete.errors import RunNameTakenError, RunNotFoundError, SourceError
from accrete.store import keys
from accrete.store.cache import NodeCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewpoint:
    """Where a look is done from."""

    catalog: Catalog
    """The store's data sets and stages."""
    cache: NodeCache
    """This node's objects."""
    say: Callable[[str], None]
    """Told what is found, a line at a time."""
    meter: MakeMeter
    """Told how far reading is."""
    sleep: Callable[[float], None] = time.sleep
    """Waits for so many seconds."""


def look_for_arrival(watch: Watch, viewpoint: Viewpoint) -> RunRecord | None:
    """Return the run that is to be trained now, which is recorded; None: there is nothing to do.

    Args:
        watch: what is looked at, and for which model.
        viewpoint: from where.

    Raises:
        RunNotFoundError: no run began such a life.
        InputError: two runs extend the model, or a class cannot be added to it.
        SourceError: the source cannot be read as asked.
        StoreError: the store cannot be used.
    """
    catalog, say = viewpoint.catalog, viewpoint.say
    taken = frozenset(run_names(catalog.store))  # before the records: what comes later is in none
    life = life_of(catalog, records_of(catalog), watch.name)
    if not life.lived:
        say(f"waits for run {watch.name}, which has not finished")
        return None
    unfinished = _unfinished(watch, life, catalog)
    if unfinished is None:
        others = [each for each in life.begun if each.name != life.newest.record.name]
        busy = [each for each in others if each in life.underway and _is_at_work(each, catalog)]
        if busy:
            say(f"run {busy[0].name} extends this model and is being trained: waits for its end")
            return None
        for each in others:
            say(f"not finished, and left out: run {each.name}")
        return _new_arrival(checked_watch(watch, life, catalog), life, taken, viewpoint)
    if _is_at_work(unfinished, catalog):
        say(f"run {unfinished.name} is being trained: waits for its end")
        return None
    say(f"run {unfinished.name} was begun and has not ended: it goes on")
    return unfinished


def checked_watch(watch: Watch, life: Life, catalog: Catalog) -> Watch:
    """Return a watch whose source sets as many images aside as the newest model's data set.

    Args:
        watch: what is looked at.
        life: of the model; it has a newest one.
        catalog: where data sets are.

    Raises:
        ConfigError: its options can extend no model, or not this one.
        ObjectMissingError: the model's data set is gone.
    """
    newest = life.newest
    extension = Extension(
        base=_base_of(newest),
        given=newest.stage.class_names,
        old=catalog.dataset(newest.stage.dataset),
        more_images=True,
    )
    source = with_validation_split(
        watch.source,
        extension,
        catalog,
        until=watch.recipe.until,
        is_asked=bool(watch.own_validation),
    )
    plan = plan_extension(None, extension, {})
    image = newest.stage.image
    resolve(_recipe(watch, newest, plan), plan, min(image.height, image.width))
    return dataclasses.replace(watch, source=source)


def _base_of(newest: Lived) -> BaseModel:
    origin = f"stage {newest.stage.index} of run {newest.record.name}"
    return base_of_stage(newest.stage, origin)


def _recipe(watch: Watch, newest: Lived, plan: Plan) -> Recipe:
    recipe = extension_recipe(watch.asked_recipe, watch.source, plan)
    check_image_sides(newest.stage.model.architecture.name, recipe.image_sides)
    return recipe


def _new_arrival(
    watch: Watch, life: Life, taken: Container[str], viewpoint: Viewpoint
) -> RunRecord | None:
    say, newest = viewpoint.say, life.newest
    num_classes = format_counted(len(newest.stage.class_names), "class", "classes")
    say(f"newest: {newest.record.name}, {num_classes}, stage {newest.stage.digest[:12]}")
    dataset = viewpoint.catalog.dataset(newest.stage.dataset)
    sight = _sight(watch, newest, dataset)
    for line in sight.lines():
        say(line)
    if sight.taken and not _is_settled(_taken_source(watch, sight), watch, viewpoint):
        return None
    while sight.taken:
        try:
            return _recorded(watch, life, sight, taken, viewpoint)
        except ChangedSourceError as error:
            say(str(error))
            return None
        except MovedImagesError as error:
            say(str(error))
            sight = sight.without(error.name)
    say("nothing to train")
    return None


def _unfinished(watch: Watch, life: Life, catalog: Catalog) -> RunRecord | None:
    """Return a run of this watch that was begun: it has stages to train, or its report to write."""
    for record in life.underway:
        if is_arrival_name(record.name, watch.name):
            return record
    newest = life.newest.record
    report = keys.report_key(newest.name, "report.json")
    is_ours = is_arrival_name(newest.name, watch.name)
    return newest if is_ours and catalog.store.size_of(report) is None else None


def _is_at_work(record: RunRecord, catalog: Catalog) -> bool:
    """Return whether a step of a run has been heard of just now."""
    try:
        documents = step_documents(catalog.store, record.name)
    except RunNotFoundError:
        return False
    now = datetime.now(UTC)
    return any(
        each.state == "running" and (now - each.updated_at).total_seconds() < SILENT_AFTER_S
        for each in documents
    )


def _sight(watch: Watch, newest: Lived, dataset: DatasetManifest) -> Sight:
    """Compare the numbers of a source's images with those that the newest model has."""
    counts = open_source(watch.source).counts_as_they_are()
    entries = dataset.by_name
    known = {
        name: sum(entries[name].num_images(split) for split in SPLITS)
        + entries[name].num_skipped_train
        for name in newest.stage.class_names
    }
    totals = {
        name: sum(of_split.get(name, 0) for of_split in counts.values())
        for name in dict.fromkeys(name for of_split in counts.values() for name in of_split)
    }
    return sight_of(_training_images(counts, watch.source), totals, known, watch.rules)


def _training_images(counts: Counts, config: SourceConfig) -> dict[str, int]:
    """Return the training images that each class has by now, maybe none."""
    policy = split_policy(counts, config)
    of_train = counts.get("train", {})
    return {
        name: split_sizes(
            count,
            test_fraction=policy.test_fraction,
            validation_fraction=policy.validation_fraction,
            name=name,
        ).train
        if (count := of_train.get(name, 0))
        else 0
        for name in dict.fromkeys(name for of_split in counts.values() for name in of_split)
    }


def _is_settled(source: SourceConfig, watch: Watch, viewpoint: Viewpoint) -> bool:
    """Return whether two looks at a source's content agree, some time apart."""
    settle_s = watch.rules.settle_s
    if not settle_s:
        return True
    before = open_source(source).content()
    viewpoint.say(f"looks again in {format_seconds(settle_s)}, to see that nothing is being copied")
    viewpoint.sleep(settle_s)
    with suppress(SourceError):  # a class may be gone by now
        if open_source(source).content() == before:
            return True
    viewpoint.say("the source is changing: it is looked at again later (--settle)")
    return False


def _taken_source(watch: Watch, sight: Sight) -> SourceConfig:
    return dataclasses.replace(watch.source, only_classes=sight.taken)


def _recorded(
    watch: Watch, life: Life, sight: Sight, taken: Container[str], viewpoint: Viewpoint
) -> RunRecord | None:
    """Store what has come and record the run that trains on it, under the first number from the
    life's length on whose name is not taken; None: there is nothing new."""
    catalog, newest = viewpoint.catalog, life.newest
    base, source = _base_of(newest), _taken_source(watch, sight)
    collections = CollectionWatch(catalog.store, viewpoint.say)
    while True:
        extension = open_extension(base, newest.stage.class_names, catalog, more_images=True)
        grown = grow_dataset(
            source,
            extension,
            catalog,
            viewpoint.cache,
            viewpoint.meter,
            fewer=sight.fewer,
            say=viewpoint.say,
        )
        for note in grown.notes:
            viewpoint.say(note)
        if not grown.num_train:
            viewpoint.say("all these images are stored already: nothing to train")
            return None
        if not sight.ready and not sight.are_enough(grown.num_stored):
            has_come = format_counted(grown.num_stored, "image")
            viewpoint.say(f"{has_come} of these are new, the others stored already: too few")
            return None
        config = _config(watch, source, extension, newest, grown)
        if other := _other_since(life, watch, catalog):
            viewpoint.say(
                f"run {other.name} was recorded meanwhile: this arrival waits for its end"
            )
            return None
        names = (arrival_name(watch.name, number) for number in itertools.count(len(life.lived)))
        free = (name for name in names if name not in taken)
        record = _claimed(free, config, grown.manifest, viewpoint)
        viewpoint.say(
            f"{format_counted(config.plan.stages[-1].num_new_classes, 'class', 'classes')} and "
            f"{format_counted(grown.num_train, 'training image')} have come: run {record.name}"
        )
        if not collections.was_disturbed():
            return record


def _other_since(life: Life, watch: Watch, catalog: Catalog) -> RunRecord | None:
    """Return a run that somebody else recorded since as an extension of the newest model: beside
    it, another would fork the life. Other looks record theirs under the name that is claimed."""
    known = {each.name for each in life.begun}
    for record in records_of(catalog).values():
        is_new = record.name not in known and not is_arrival_name(record.name, watch.name)
        if is_new and extends(record, life.newest.stage.digest):
            return record
    return None


def _config(
    watch: Watch, source: SourceConfig, extension: Extension, newest: Lived, grown: Grown
) -> RunConfig:
    plan = plan_extension(None, extension, grown.counts)
    return RunConfig(
        source=source,
        plan=plan,
        model=newest.stage.model.architecture,
        recipe=_recipe(watch, newest, plan),
        seed=watch.seed,
        base=extension.base,
        more_images=True,
        dataset=grown.manifest.digest,
    )


def _claimed(
    names: Iterable[str], config: RunConfig, dataset: DatasetManifest, viewpoint: Viewpoint
) -> RunRecord:
    """Return the record of the first free name: this run's, or that of whoever was first to
    extend the model."""
    store = viewpoint.catalog.store
    base, chain = config.base, stage_chain(config, dataset)
    assert base is not None
    for name in names:
        record = make_record(name, config, dataset.digest, chain)
        try:
            create_record(store, record)
        except RunNameTakenError:
            found = find_record(store, name)
            if found is None or not extends(found, base.identity):
                continue
            viewpoint.say(
                f"run {name} was recorded meanwhile, by another look: it is what is trained"
            )
            return found
        return record
    raise AssertionError("names do not end")
