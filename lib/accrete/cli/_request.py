"""From command-line options to what a run is: source, plan, model, recipe, placement, name."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from accrete.cli._adapter import names_in
from accrete.cli._location import normalized_location, refuse_local_data
from accrete.cli._options import ClassOptions, CompileOptions, CostOptions, PlanOptions
from accrete.cli._placement import make_packing, make_placement
from accrete.cli._weights import backbone_of, stored_backbone
from accrete.config.classes import check_order, seeded_order
from accrete.config.given_recipe import check_adds_classes, recipe_of
from accrete.config.known_networks import check_image_sides, check_image_size, check_network
from accrete.config.life import resolve_life
from accrete.config.packing import Packing, steps_of
from accrete.config.placement import Placement
from accrete.config.plan import (
    Plan,
    check_sizes,
    default_initial,
    describe_alpha,
    parse_alpha,
    parse_sizes,
    sizes_by_alpha,
    sizes_by_increment,
)
from accrete.config.run import ModelConfig, RunConfig, SourceConfig, check_run_name
from accrete.core.options import Given, option_fields
from accrete.core.units import format_counted, parse_bytes
from accrete.core.validation import check_range
from accrete.data.counts import counts_of_dataset, counts_of_file, counts_of_source
from accrete.data.sources.detection import detect_kind
from accrete.errors import ConfigError, printable
from accrete.runners.pipeline_file import PipelineRequest
from accrete.store.settings import default_store_uri, parse_store_uri

if TYPE_CHECKING:
    from accrete.config.cost import CostModel

_SIDES = {"digits": 8, "fashion-mnist": 28, "cifar10": 32, "cifar100": 32}
"""Pixels of the sources whose images are known."""


def tell(line: str) -> None:
    """Say what a source is understood to be, before it goes to a cluster."""
    click.echo(printable(line))


def class_counts(
    options: ClassOptions,
    source: SourceConfig,
    store_uri: str,
    say: Callable[[str], None] | None = None,
) -> dict[str, int]:
    """Return the counts to plan from.

    Args:
        options: where they are.
        source: of the images.
        store_uri: of the runs.
        say: told what the source is understood to be, if it is looked at.

    Raises:
        SourceError, StoreError: they cannot be had.
    """
    if options.counts is not None:
        return counts_of_file(options.counts)
    if options.dataset is not None:
        return counts_of_dataset(options.dataset, store_uri)
    return counts_of_source(source, say)


def source_of(given: Given[SourceConfig]) -> SourceConfig:
    """Return the source that the options name, the digits where they name none.

    Raises:
        ConfigError: a value is outside its range, or has no effect on such a source.
        SourceError: what lies there could be of two kinds, or of none.
    """
    values = dict(given.values)
    if "location" in values:
        values["location"] = normalized_location(values["location"])
        if "kind" not in values:
            values["kind"] = detect_kind(values["location"], values.get("exclude"))
        if values["kind"] == "digits":
            if "location" in given.typed:
                raise ConfigError("--data has no effect on --source digits: leave it out")
            del values["location"]  # a variable holds for all runs
    kind = values.get("kind", "digits")
    for each in option_fields(SourceConfig):
        kinds = dict(each.option.needs).get("source", ())
        if each.name in values and kinds and kind not in kinds:
            if each.name in given.typed:
                raise ConfigError(f"--{each.flag} has no effect on --source {kind}: leave it out")
            del values[each.name]
    return dataclasses.replace(SourceConfig(kind="digits"), **values)


def make_plan(
    options: PlanOptions, classes: ClassOptions, costs: CostOptions, counts: dict[str, int]
) -> Plan:
    """Return the plan that the options ask for.

    Raises:
        PlanError: it does not fit the classes.
    """
    order = _class_order(classes, counts)
    images = tuple(counts[name] for name in order)
    rule, sizes = _sizes(options, costs, images)
    return Plan(rule=rule, class_order=order, class_images=images, stage_sizes=sizes)


def warn_about(plan: Plan) -> None:
    """Tell what is allowed but rarely meant."""
    if plan.stage_sizes[0] == 1 and len(plan.stage_sizes) > 1:
        click.echo(
            "warning: the first stage has one class: there is nothing to tell apart until stage 2",
            err=True,
        )


def _class_order(options: ClassOptions, counts: dict[str, int]) -> tuple[str, ...]:
    if options.class_order is None:
        return seeded_order(counts, options.order_seed)
    order = names_in(options.class_order, "class order")
    check_order(order, counts, str(options.class_order))
    return order


def _sizes(
    options: PlanOptions, costs: CostOptions, images: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return the rule in words and the stage sizes."""
    initial = options.initial
    if options.stages is not None:
        listed = parse_sizes(options.stages)
        check_sizes(listed, len(images))
        return f"the list {options.stages}", listed
    if options.alpha == "auto":
        return _least_cost(costs, initial, images)
    if initial is None:
        initial = default_initial(len(images))
    if options.step is not None:
        rule = f"{options.step} classes a stage from {initial}"
        return rule, sizes_by_increment(len(images), initial, options.step)
    ratio = parse_alpha("1" if options.alpha is None else options.alpha)
    rule = f"alpha = {describe_alpha(ratio)} from {initial} classes"
    return rule, sizes_by_alpha(images, initial, ratio)


def _least_cost(
    costs: CostOptions, initial: int | None, images: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    """Return the plan of least expected cost; `initial` fixes its first stage."""
    from accrete.config.cost import cheapest_sizes

    model = cost_model(costs)
    sizes = cheapest_sizes(
        model,
        images,
        initial=initial,
        max_stages=costs.max_stages,
        min_classes=costs.min_classes,
    )
    return f"alpha = auto: least cost by {model.source}", sizes


def cost_model(options: CostOptions) -> "CostModel":
    """Return what stages cost: by the user's measurements, else by the paper's.

    Raises:
        ConfigError: the file of measurements cannot be used.
    """
    from accrete.config.cost import fit, paper_prior, read_measurements

    path = options.costs
    model = paper_prior() if path is None else fit(read_measurements(path), source=str(path))
    check_range("seconds per stage", options.stage_seconds, 0, 1e6)
    check_range("images per second", options.images_per_second, 1e-3, 1e9)
    fixed = options.stage_seconds * options.images_per_second
    return dataclasses.replace(model, stage_images=fixed)


def run_config(
    options: CompileOptions, placement: Placement, store_uri: str, *, local: bool
) -> RunConfig:
    """Return the configuration of a run; on a cluster, say first what its source is.

    Raises:
        InputError: of any kind; nothing was started.
    """
    if "costs" in options.costs.typed and options.plan.alpha != "auto":
        raise ConfigError("--costs has no effect without --alpha auto: leave it out")
    if "until" in options.recipe.typed:
        raise ConfigError(
            "--until ends extensions of a trained model: it goes with `accrete extend` and "
            "`accrete watch`, leave it out"
        )
    source = source_of(options.source)
    recipe = recipe_of(options.recipe.without({"until"}), source)
    backbone = backbone_of(options.weights, options.model)
    known = backbone.model if backbone else None
    model = model_of(options.model, source, placement, known)
    check_image_sides(model.name, recipe.image_sides)
    counts = class_counts(options.classes, source, store_uri, None if local else tell)
    if len(counts) == 1:
        raise ConfigError(
            f"{source.location or source.kind} has one class, {next(iter(counts))!r}: there is "
            "nothing to tell apart; give the folder of all classes' folders, or say with "
            "--class-level which folder of a path is the class"
        )
    plan = make_plan(options.plan, options.classes, options.costs.alone(), counts)
    check_adds_classes(options.recipe, plan)
    return RunConfig(
        source=source,
        plan=plan,
        model=model if backbone is None else stored_backbone(backbone, store_uri),
        recipe=recipe,
        seed=options.seed.seed,
    )


def model_of(
    given: Given[ModelConfig],
    source: SourceConfig,
    placement: Placement,
    known: ModelConfig | None,
) -> ModelConfig:
    """Return the network: where none is named, one that the images and the machine are fit for.

    Args:
        given: what the user says of it.
        source: of the images.
        placement: where it is trained.
        known: the network that trained weights are of; None: it begins from random ones.

    Raises:
        ConfigError: a value is outside its range, or has no effect on this network; there is no
            such network, or it does not take such images.
    """
    is_small = source.kind == "digits" or not placement.wants_gpus
    model = known or given.over(ModelConfig(name="small" if is_small else "vgg19"))
    check_network(model.name)
    side = _SIDES.get(source.kind)
    check_image_size(model.name, source.image_size, None if side is None else (source.kind, side))
    if "width" in given.typed and model.name not in ("small", "vgg19"):
        raise ConfigError(f"--width has no effect on {model.name}: leave it out")
    if "bn_after_relu" in given.typed and model.name != "vgg19":
        raise ConfigError(f"--bn-after-relu has no effect on {model.name}: leave it out")
    return model


def default_run_name(config: RunConfig) -> str:
    """Return a name that the configuration decides: the same command resumes the same run."""
    return f"{config.source.kind}-{len(config.plan.stage_sizes)}-stages-{config.digest[:8]}"


def make_request(options: CompileOptions, local: bool) -> PipelineRequest:
    """Return what the options of a staged run ask for.

    Args:
        options: of the command line.
        local: whether the run stays on this machine.

    Raises:
        InputError: of any kind; nothing was started.
    """
    if not local:
        refuse_local_data(options.source)
    store_uri = options.naming.values.get("store_uri", default_store_uri())
    placement = make_placement(options.cluster, options.spot, local=local)
    packing = make_packing(options.packing, options.costs, local=local)
    config = run_config(options, placement, store_uri, local=local)
    warn_about(config.plan)
    name = options.naming.values.get("run_name", default_run_name(config))
    return packed(request_for(config, placement, name, store_uri), packing)


def packed(request: PipelineRequest, packing: Packing) -> PipelineRequest:
    """Return a request whose stages are shared out to steps so, and say where short ones share."""
    request = dataclasses.replace(request, packing=packing)
    config, placement = request.config, request.placement
    if packing.step_overhead_s and isinstance(config, RunConfig):
        alone = dataclasses.replace(packing, step_overhead_s=0.0)
        before, after = (len(steps_of(config, placement, each)) for each in (alone, packing))
        tell_packed(before, after, packing)
    return request


def tell_packed(before: int, after: int, packing: Packing) -> None:
    """Say that there are fewer training steps, if there are, and what makes them as many."""
    if after < before:
        tell(
            f"{after} in place of {format_counted(before, 'training step')}: what trains for less "
            f"than the {packing.step_overhead_s:g} s that a step costs Kubeflow shares one "
            "(--step-overhead 0: none does)"
        )


def request_for(
    config: RunConfig, placement: Placement, name: str, store_uri: str
) -> PipelineRequest:
    """Return a request whose parts fit each other.

    Raises:
        ConfigError: they do not.
    """
    check_run_name(name)
    parse_store_uri(store_uri)
    resolve_life(config, image_side=32)  # an unfit recipe shows before any step
    num_images = [stage.num_images for stage in config.plan.stages]
    placement = placement.fitted(num_images, config.recipe.batch_size)
    if placement.data_memory is not None:
        parse_bytes(placement.data_memory, "data memory")
    return PipelineRequest(config=config, placement=placement, run_name=name, store_uri=store_uri)
