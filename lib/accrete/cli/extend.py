"""The command of the extension pipeline: add classes to a model that is trained already."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click

from accrete.catalog.catalog import Catalog
from accrete.catalog.life import check_no_fork
from accrete.catalog.lookup import dataset_digest, find_base
from accrete.catalog.newest import is_latest
from accrete.cli._adapter import ENV_PREFIX, Group, names_in, takes
from accrete.cli._location import refuse_local_data
from accrete.cli._notes import note
from accrete.cli._options import (
    Cluster,
    ExtensionRecipe,
    Naming,
    Packed,
    Seed,
    Source,
    Speed,
    Spot,
    Where,
)
from accrete.cli._placement import make_packing, make_placement
from accrete.cli._request import packed, request_for, source_of, tell
from accrete.cli._weights import scaling_in
from accrete.cli.run import execute
from accrete.config.given_recipe import check_adds_classes, extension_recipe
from accrete.config.known_networks import check_image_sides, check_image_size, check_network
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.core.options import Given, Option, option_fields
from accrete.data.counts import counts_of_source
from accrete.data.extension import open_extension, plan_extension, with_validation_split
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import Build, PipelineRequest
from accrete.store.object_store import ObjectStore
from accrete.store.settings import default_store_uri

if TYPE_CHECKING:
    from accrete.models.pretrained import Weights


_WITH_RUN = "a run's name"
_WITH_WEIGHTS = "--weights"
_ONE_MODEL = "extend needs one model: a run's name, or --weights FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseOptions:
    """Which model grows: of a run, named as the command's argument, or weights from a file."""

    stage: Annotated[int | None, Option("Stage J of RUN.", metavar="J", default="the last")] = None
    weights: Annotated[
        Path | None,
        Option(
            "A model from elsewhere that grows, with its classes: what `accrete export` wrote, or "
            "a torchvision state file. (A run of other classes begins from it by `accrete run "
            "--weights`.)"
        ),
    ] = None
    weights_classes: Annotated[
        Path | None,
        Option(
            "Class names of a state file, one a line, in the order of its outputs.",
        ),
    ] = None
    weights_sha256: Annotated[
        str | None, Option("SHA-256 of the file; a pickle is not read without.", metavar="HEX")
    ] = None
    model: Annotated[str | None, Option("Network of a state file: torchvision:NAME.")] = None
    weights_mean: Annotated[
        str | None, Option("What its input was scaled by.", metavar="R,G,B", default="ImageNet's")
    ] = None
    weights_std: Annotated[
        str | None, Option("Likewise.", metavar="R,G,B", default="ImageNet's")
    ] = None
    old_dataset: Annotated[
        str | None,
        Option(
            "Stored data set with the images of the weights' classes.",
            metavar="DIGEST",
            default="in the source",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedOptions:
    """Which classes are added, and in which stages."""

    more_images: Annotated[
        bool, Option("The source may have more images of classes that the model has.")
    ] = False
    stages: Annotated[
        str | None,
        Option("Add the new classes in stages of so many.", metavar="LIST", default="one"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendOptions:
    """What a model is extended by."""

    base: Annotated[Given[BaseOptions], Group("Model to extend")]
    added: Annotated[AddedOptions, Group("Classes to add")]
    source: Source
    recipe: ExtensionRecipe
    seed: Seed
    naming: Naming
    where: Where
    cluster: Cluster
    packing: Packed
    speed: Speed
    spot: Spot


def extend_command(build: Build) -> click.Command:
    """Return the command that runs the extension pipeline's file."""

    @click.command(name="extend", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("run", required=False, metavar="[RUN]")
    @takes(ExtendOptions)
    def extend(options: ExtendOptions, run: str | None) -> None:
        """Add classes to a trained model: RUN's, or weights from a file.

        The old classes' shards are taken from the store as they are; the new images are scaled and
        normalized as the model was trained. The fast recipe is another one here: 2 epochs over
        old and new images unless --budget-epochs says otherwise, at a rate that goes with them,
        half of the old images in each, or rounds of 3, 6, 12, 24 until validation accuracy says
        that it is enough (--until). RUN@latest is the newest model of the life that RUN began.

        \b
        Examples:
          accrete extend my-run --source imagefolder --data new-classes/
          accrete extend --weights resnet18.pth --weights-sha256 f37072fd… \\
            --weights-classes names.txt --model torchvision:resnet18 \\
            --source imagefolder --data all-classes/
        """
        make = partial(make_extension, options, run)
        execute(build, make, options)

    return extend


def make_extension(options: ExtendOptions, run: str | None, local: bool) -> PipelineRequest:
    """Return what the options of `extend` ask for; weights from a file are stored.

    Args:
        options: of the command line.
        run: whose model grows; None: the weights of a file.
        local: whether the run stays on this machine.

    Raises:
        InputError: of any kind; no step was started.
        StoreError: the store, which has the model, cannot be used.
    """
    _check_named(options, run)
    if not local:
        refuse_local_data(options.source)
    store_uri = options.naming.values.get("store_uri", default_store_uri())
    placement = make_placement(options.cluster, options.spot, local=local)
    packing = make_packing(options.packing, options.speed, local=local)
    catalog = Catalog(ObjectStore.open(store_uri))
    catalog.store.check()
    base, model, given, source = _base(options, run, catalog)
    more_images = options.added.more_images
    extension = open_extension(base, given, catalog, more_images=more_images)
    source = with_validation_split(
        source,
        extension,
        catalog,
        until=options.recipe.values.get("until"),
        is_asked="validation_fraction" in options.source.values,
    )
    counts = counts_of_source(source, None if local else tell)
    plan = plan_extension(options.added.stages, extension, counts)
    check_adds_classes(options.recipe, plan)
    recipe = extension_recipe(options.recipe, source, plan)
    check_image_sides(model.name, recipe.image_sides)
    config = RunConfig(
        source=source,
        plan=plan,
        model=model,
        recipe=recipe,
        seed=options.seed.seed,
        base=base,
        more_images=more_images,
    )
    if run is not None and is_latest(run):
        check_no_fork(catalog, base, config)
    name = f"{source.kind}-extend-{plan.num_classes}-{config.digest[:8]}"
    run_name = options.naming.values.get("run_name", name)
    return packed(request_for(config, placement, run_name, store_uri), packing)


def _check_named(options: ExtendOptions, run: str | None) -> None:
    """Refuse what shows before the store is asked.

    Raises:
        ConfigError: no model or no images are named, or a network that cannot be used.
    """
    if run is None and "weights" not in options.base:
        raise ConfigError(_ONE_MODEL)
    if not {"kind", "location"} & options.source.values.keys():
        raise ConfigError(
            "extend needs the images of the new classes: give --data, or --source digits"
        )
    network = options.base.values.get("model")
    if run is None and network is not None:
        check_network(network)
        check_image_size(network, _weights_side(options.source), None)


def _weights_side(source: Given[SourceConfig]) -> int:
    """Return the side of the images that a state file's network takes."""
    side: int = source.values.get("image_size") or 224
    return side


def _base(
    options: ExtendOptions, run: str | None, catalog: Catalog
) -> tuple[BaseModel, ModelConfig, tuple[str, ...], SourceConfig]:
    """Return the model that grows, what it is, its classes, and where the new images are."""
    source, given = source_of(options.source), options.base
    if run is not None and "weights" not in given.typed:
        given = _of(given, _WITH_WEIGHTS, {"stage"})
        base, model, names = find_base(catalog, run, given.alone().stage, note)
        return base, model, names, source
    if run is not None or "weights" not in given:
        raise ConfigError(_ONE_MODEL)
    base_options = _of(given, _WITH_RUN, given.values.keys() - {"stage"}).alone()
    old = base_options.old_dataset and dataset_digest(catalog, base_options.old_dataset)
    from accrete.models.pretrained import store_weights
    from accrete.training.device import on_one_thread

    with on_one_thread():  # a run on this machine is forked from this process
        weights = _weights(base_options, _weights_side(options.source))
        base = store_weights(weights, catalog, old)
    # Of another shape than a square, the images are brought to the model's own size anyway.
    is_cropped = weights.image.preprocessing != "none"
    is_square = weights.image.height == weights.image.width
    if base.dataset is None and source.image_size is None and is_cropped and is_square:
        source = dataclasses.replace(source, image_size=weights.image.height)
    return base, weights.model, weights.class_names, source


def _of(given: Given[BaseOptions], other: str, kept: Collection[str]) -> Given[BaseOptions]:
    """Return what says which model grows, in one way; refuse what was typed for the other."""
    for each in option_fields(BaseOptions):
        if each.name in given.typed and each.name not in kept:
            raise ConfigError(f"--{each.flag} goes with {other} only: leave it out")
    return given.without(given.values.keys() - set(kept))


def _weights(options: BaseOptions, side: int) -> "Weights":
    """Read the file of weights, of a network that takes images of a side.

    Raises:
        InputError, IntegrityError, CheckpointMismatchError: it cannot be used.
    """
    from accrete.models.pretrained import WeightsRequest, read_weights

    names = None
    if options.weights_classes is not None:
        names = names_in(options.weights_classes, "classes of the weights")
    assert options.weights is not None
    return read_weights(
        WeightsRequest(
            path=options.weights,
            sha256=options.weights_sha256,
            class_names=names,
            model=None if options.model is None else ModelConfig(name=options.model),
            side=side,
            normalization=scaling_in(options.weights_mean, options.weights_std),
        )
    )
