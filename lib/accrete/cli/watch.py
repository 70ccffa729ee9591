"""The command that looks for classes that have come, and extends a model by them."""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import click

from accrete.catalog.newest import ForkedLifeError, begun_by
from accrete.cli._adapter import ENV_PREFIX, Group, takes
from accrete.cli._location import refuse_local_data
from accrete.cli._options import (
    Cluster,
    EndpointOptions,
    ExtensionRecipe,
    Seed,
    Source,
    Spot,
)
from accrete.cli._placement import make_placement, refuse_typed_here
from accrete.cli._request import request_for, source_of
from accrete.cli.run import run_here
from accrete.config.arrivals import ArrivalRules, Watch, watch_parameter
from accrete.config.cron import check_cron
from accrete.config.placement import Placement
from accrete.config.recipe import Recipe, recipe_named
from accrete.core.environment import DEFAULT_STORE
from accrete.core.options import Given, Option
from accrete.core.settings import cache_path, kfp_endpoint
from accrete.core.units import parse_duration
from accrete.errors import (
    ConfigError,
    RunBusyError,
    SourceError,
    StepFailedError,
    StoreError,
    one_line,
    printable,
)
from accrete.runners.pipeline_file import Build, BuildWatch, PipelineRequest, WatchRequest
from accrete.store.settings import default_store_uri, parse_store_uri

if TYPE_CHECKING:
    from accrete.catalog.catalog import Catalog
    from accrete.runners.kubeflow.recurring import Trigger
    from accrete.store.settings import StoreSettings

_EVERY = "10m"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookOptions:
    """How often a source is looked at."""

    once: Annotated[bool, Option("Look once.", excludes=("every", "recurring"))] = False
    every: Annotated[
        str,
        Option(
            "Time between two looks, such as 10m or 6h; with --endpoint Kubeflow does them, as a "
            "recurring run.",
            metavar="TIME",
            excludes=("recurring",),
        ),
    ] = _EVERY
    recurring: Annotated[
        str | None,
        Option(
            "When Kubeflow looks: minute, hour, day, month, weekday, such as '0 * * * *'.",
            metavar="CRON",
            on_cluster=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.interval < timedelta(seconds=1):
            raise ConfigError(f"--every is {self.every!r}: give at least 1s")
        if self.recurring is not None:
            check_cron(self.recurring)

    @property
    def interval(self) -> timedelta:
        """Time between two looks."""
        return parse_duration(self.every, "--every")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOption:
    """Which store the model is in."""

    store_uri: Annotated[
        str | None,
        Option(
            "s3://bucket[/prefix] of shards and checkpoints.",
            flag="store",
            metavar="URI",
            default=DEFAULT_STORE,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleOptions(EndpointOptions):
    """Here, or on a cluster."""

    experiment: Annotated[str, Option("KFP experiment.", on_cluster=True)] = "accrete"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """What is looked at, when, and how a model is extended by it."""

    look: Annotated[Given[LookOptions], Group("When to look")]
    rules: Annotated[ArrivalRules, Group("When to extend")]
    source: Source
    recipe: ExtensionRecipe
    seed: Seed
    store: Annotated[StoreOption, Group("Run")]
    where: Annotated[Given[ScheduleOptions], Group("Where")]
    cluster: Cluster
    spot: Spot

    @property
    def store_uri(self) -> str:
        """Which store the model is in."""
        return self.store.store_uri or default_store_uri()


class NewsTeller:
    """Says what a look finds, and nothing where it finds what the look before it found."""

    def __init__(self) -> None:
        """Have said nothing yet."""
        self._before: list[str] = []
        self._now: list[str] = []
        self._is_new = True

    def begin(self) -> None:
        """Begin a look."""
        if not self._is_new and len(self._now) < len(self._before):
            self._tell_all()  # it ended sooner than the one before
        self._before, self._now, self._is_new = self._now, [], False

    def say(self, line: str) -> None:
        """Say a line, or keep it until the look says something else than the one before."""
        self._now.append(line)
        if self._is_new:
            click.echo(printable(line))
        elif self._before[: len(self._now)] != self._now:
            self._tell_all()

    def _tell_all(self) -> None:
        self._is_new = True
        for line in self._now:
            click.echo(printable(line))


def watch_command(build_extension: Build, build_watch: BuildWatch) -> click.Command:
    """Return the command that runs the watching pipeline's file.

    Args:
        build_extension: makes the pipeline of one extension, for a run on this machine.
        build_watch: makes the pipeline that looks, and extends where there is reason to.
    """

    @click.command(name="watch", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("name")
    @takes(WatchOptions)
    def watch(options: WatchOptions, name: str) -> None:
        """Extend the newest model of the life that run NAME began, when classes have come.

        The source is one to which classes and images are added: a new class is taken when it has
        enough images, and named as waited for before that. Images that are stored already are left
        out. Run it as often as you like: the same images lead to the same run.

        \b
        Examples:
          accrete watch animals --data animals/ --once
          accrete watch animals --data animals/ --every 10m
          accrete watch animals --data s3://bucket/animals --endpoint http://kfp:8888 \\
            --recurring '0 * * * *'
        """
        if not {"kind", "location"} & options.source.values.keys():
            raise ConfigError(
                "watch needs a place where images come: give --data, or --source digits"
            )
        look, name = options.look.alone(), begun_by(name)
        endpoint = options.where.alone().endpoint or kfp_endpoint()
        if endpoint:
            _schedule(build_watch, options, name, endpoint)
            return
        refuse_typed_here(options.look, options.where)
        if "image" in options.cluster.typed:
            raise ConfigError("--image has no effect without --endpoint: leave it out")
        make_placement(options.cluster, options.spot, local=True)
        news = NewsTeller()
        while True:
            news.begin()
            try:
                _look_here(build_extension, options, name, news)
            except (ForkedLifeError, SourceError, StoreError, StepFailedError) as error:
                if look.once:
                    raise
                again = f"accrete: error: {one_line(str(error))}; looks again in {look.every}"
                click.echo(again, err=True)
            if look.once:
                return
            time.sleep(look.interval.total_seconds())

    return watch


def _asked(given: Given[Recipe]) -> Given[Recipe]:
    """Return the recipe's fields that arrivals are to have, without variables that cannot be meant.

    Whoever looks later cannot tell a variable, which all commands see, from what was typed.
    """
    if "until" not in given:
        return given
    idle = {"stop_gradient", "stop_patience"} - given.typed
    if given.values.get("name", "fast") != "fast" and "until" not in given.typed:
        idle |= {"until"}
    return given.without(idle)


def _watch_of(options: WatchOptions, name: str) -> Watch:
    recipe = options.recipe.over(recipe_named(options.recipe.values.get("name", "fast")))
    return Watch(
        name=name,
        source=source_of(options.source),
        rules=options.rules,
        recipe=recipe,
        given_recipe=tuple(sorted(_asked(options.recipe).values)),
        seed=options.seed.seed,
        own_validation="validation_fraction" in options.source.values or None,
    )


def _look_here(build: Build, options: WatchOptions, name: str, news: NewsTeller) -> None:
    """Look once, and extend the model on this machine where there is reason to."""
    from accrete.store.local import local_store

    with local_store() as settings:
        found = _looked(options, name, settings, news)
        if found is None:
            return
        try:
            run_here(build, found, settings)
        except RunBusyError:
            news.say(f"run {found.run_name} is being trained by another command here")


def _looked(
    options: WatchOptions, name: str, settings: "StoreSettings", news: NewsTeller
) -> PipelineRequest | None:
    """Look once; return what is to be run, None: there is nothing."""
    from accrete.catalog.catalog import Catalog
    from accrete.data.arrivals import Viewpoint, look_for_arrival
    from accrete.store.cache import NodeCache
    from accrete.store.object_store import ObjectStore

    store = ObjectStore(settings, parse_store_uri(options.store_uri))
    store.check()
    store.prove_create_only()
    viewpoint = Viewpoint(
        catalog=Catalog(store),
        cache=NodeCache(cache_path(), store),
        say=news.say,
        meter=lambda _total: lambda _done: None,
    )
    record = look_for_arrival(_watch_of(options, name), viewpoint)
    if record is None:
        return None
    placement = make_placement(options.cluster, options.spot, local=True)
    return request_for(record.config, placement, record.name, options.store_uri)


def _schedule(build: BuildWatch, options: WatchOptions, name: str, endpoint: str) -> None:
    """Have Kubeflow look, again and again."""
    from accrete.catalog.catalog import Catalog
    from accrete.catalog.plans import store_plan
    from accrete.runners.kubeflow.client import Kubeflow
    from accrete.runners.kubeflow.recurring import schedule
    from accrete.store.object_store import ObjectStore

    look = options.look.alone()
    if look.once:
        raise ConfigError(
            "--once has no effect with an endpoint, where looks recur: leave it out, or leave the "
            "endpoint out to look from here"
        )
    refuse_local_data(options.source)
    where = options.where.alone()
    kubeflow = Kubeflow(endpoint, where.access)
    watch = _watch_of(options, name)
    catalog = Catalog(ObjectStore.open(options.store_uri))
    catalog.store.check()
    placement = _placement(options, watch, catalog)
    store_plan(watch_parameter(watch), catalog.store)
    request = WatchRequest(watch=watch, placement=placement, store_uri=options.store_uri)
    done = schedule(kubeflow, build, request, _trigger(look), where.experiment)
    click.echo(f"{done.what} {done.name}: {done.address}")


def _placement(options: WatchOptions, watch: Watch, catalog: "Catalog") -> Placement:
    """Return what the steps ask for; GPUs that grow are those of the newest model's images.

    Raises:
        RunNotFoundError: there is no such run, or it was not prepared yet.
    """
    from accrete.catalog.life import life_of, records_of
    from accrete.data.arrivals import checked_watch

    records = records_of(catalog)
    life = life_of(catalog, records, watch.name)
    if life.lived:
        checked_watch(watch, life, catalog)
    record = life.newest.record if life.lived else records[watch.name]
    placement = make_placement(options.cluster, options.spot, local=False)
    return placement.fitted([record.config.plan.stages[-1].num_images], watch.recipe.batch_size)


def _trigger(look: LookOptions) -> "Trigger":
    from accrete.runners.kubeflow.recurring import Trigger

    if look.recurring is None:
        return Trigger(interval_s=int(look.interval.total_seconds()))
    fields = look.recurring.split()
    return Trigger(cron=" ".join(fields if len(fields) == 6 else ["0", *fields]))
