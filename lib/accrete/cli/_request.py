"""From command-line options to what a run is: source, plan, model, recipe, placement, name."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from accrete.cli._placement_options import placement_of
from accrete.config.classes import check_order, parse_order, seeded_order
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
from accrete.config.recipe import Recipe, recipe_named, resolve
from accrete.config.run import ModelConfig, RunConfig, SourceConfig, check_run_name
from accrete.core.units import parse_bytes
from accrete.core.untrusted import read_small_file
from accrete.core.validation import check_range
from accrete.data.counts import counts_of_dataset, counts_of_file, counts_of_source
from accrete.errors import ConfigError, PlanError
from accrete.runners.pipeline_file import PipelineRequest
from accrete.store.settings import default_store_uri

if TYPE_CHECKING:
    from accrete.config.cost import CostModel


def source_config(options: dict[str, Any]) -> SourceConfig:
    """Return the source that the options name.

    Raises:
        ConfigError: a value is outside its range.
    """
    return SourceConfig(
        kind=options["source"],
        location=options["data"],
        image_column=options["image_column"],
        label_column=options["label_column"],
        test_fraction=options["test_fraction"],
        validation_fraction=options["validation_fraction"],
        split_seed=options["split_seed"],
        image_size=options["image_size"],
        on_bad_image=options["on_bad_image"],
        only_classes=read_names(options["only_classes"], "class names"),
    )


def class_counts(options: dict[str, Any], source: SourceConfig, store_uri: str) -> dict[str, int]:
    """Return the counts to plan from.

    Raises:
        SourceError, StoreError: they cannot be had.
        ConfigError: two origins are named.
    """
    if options["counts"] is not None and options["dataset"] is not None:
        raise ConfigError("--counts and --dataset both say what to plan from: give one")
    if options["counts"] is not None:
        return counts_of_file(options["counts"])
    if options["dataset"] is not None:
        return counts_of_dataset(options["dataset"], store_uri)
    return counts_of_source(source)


def make_plan(options: dict[str, Any], counts: dict[str, int]) -> Plan:
    """Return the plan that the options ask for.

    Raises:
        PlanError: it does not fit the classes, or two ways to plan are named.
    """
    order = _class_order(options, counts)
    images = tuple(counts[name] for name in order)
    rule, sizes = _sizes(options, images)
    return Plan(rule=rule, class_order=order, class_images=images, stage_sizes=sizes)


def warn_about(plan: Plan) -> None:
    """Tell what is allowed but rarely meant."""
    if plan.stage_sizes[0] == 1 and len(plan.stage_sizes) > 1:
        click.echo(
            "warning: the first stage has one class: there is nothing to tell apart until stage 2",
            err=True,
        )


def _class_order(options: dict[str, Any], counts: dict[str, int]) -> tuple[str, ...]:
    path: Path | None = options["class_order"]
    order = read_names(path, "class order")
    if order is None:
        return seeded_order(counts, options["order_seed"])
    check_order(order, counts, str(path))
    return order


def read_names(path: Path | None, what: str) -> tuple[str, ...] | None:
    """Return the class names of a file, one a line; None where no file is given.

    Raises:
        PlanError: it cannot be read, or names none or one twice.
    """
    if path is None:
        return None
    try:
        text = read_small_file(path).decode("utf-8-sig")
    except ValueError as error:
        raise PlanError(f"{what} {path} cannot be read ({error})") from error
    return parse_order(text, str(path))


def _sizes(options: dict[str, Any], images: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the rule in words and the stage sizes."""
    alpha, step, sizes = options["alpha"], options["step"], options["stages"]
    given = [name for name in ("alpha", "step", "stages") if options[name] is not None]
    if len(given) > 1:
        raise PlanError(f"--{' and --'.join(given)} exclude each other: give one")
    if sizes is not None:
        if options["initial"] is not None:
            raise PlanError("--stages lists the first stage too: leave out --initial")
        listed = parse_sizes(sizes)
        check_sizes(listed, len(images))
        return f"the list {sizes}", listed
    initial = options["initial"]
    if alpha == "auto":
        return _cheapest(options, images)
    if initial is None:
        initial = default_initial(len(images))
    if step is not None:
        return f"{step} classes a stage from {initial}", sizes_by_increment(
            len(images), initial, step
        )
    ratio = parse_alpha("1" if alpha is None else alpha)
    rule = f"alpha = {describe_alpha(ratio)} from {initial} classes"
    return rule, sizes_by_alpha(images, initial, ratio)


def _cheapest(options: dict[str, Any], images: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    """Return the plan of least expected cost; --initial fixes its first stage."""
    from accrete.config.cost import cheapest_sizes

    model = cost_model(options)
    bounds = {"max_stages": options["max_stages"], "min_classes": options["min_classes"]}
    sizes = cheapest_sizes(model, images, initial=options["initial"], **bounds)
    return f"alpha = auto: least cost by {model.source}", sizes


def cost_model(options: dict[str, Any]) -> "CostModel":
    """Return what stages cost: by the user's measurements, else by the paper's.

    Raises:
        ConfigError: the file of measurements cannot be used.
    """
    from accrete.config.cost import fit, paper_prior, read_measurements

    path: Path | None = options["costs"]
    model = paper_prior() if path is None else fit(read_measurements(path), source=str(path))
    check_range("seconds per stage", options["stage_seconds"], 0, 1e6)
    check_range("images per second", options["images_per_second"], 1e-3, 1e9)
    fixed = options["stage_seconds"] * options["images_per_second"]
    return dataclasses.replace(model, stage_images=fixed)


def run_config(options: dict[str, Any], placement: Placement, store_uri: str) -> RunConfig:
    """Return the configuration of a run.

    Raises:
        InputError: of any kind; nothing was started.
    """
    source = source_config(options)
    model = ModelConfig(
        name=options["model"] or _default_model(source, placement),
        width=options["width"],
        bn_after_relu=options["bn_after_relu"],
    )
    recipe = make_recipe(options, source)
    plan = make_plan(options, class_counts(options, source, store_uri))
    return RunConfig(source=source, plan=plan, model=model, recipe=recipe, seed=options["seed"])


def make_recipe(options: dict[str, Any], source: SourceConfig, **defaults: Any) -> Recipe:
    """Return the recipe that the options ask for.

    Args:
        options: of the command line.
        source: the images; digits are not mirrored.
        defaults: fields that differ from the recipe's own where no option sets them.

    Raises:
        ConfigError: a value is outside its range.
    """
    changes = defaults | {
        name: options[name]
        for name in (
            "budget_epochs",
            "batch_size",
            "lr",
            "weight_decay",
            "label_smoothing",
            "flip",
            "crop_padding",
            "carry_momentum",
            "precision",
            "compile",
            "deterministic",
            "stop_gradient",
            "stop_patience",
        )
        if options[name] is not None
    }
    if source.kind == "digits":
        changes.setdefault("flip", "none")  # a mirrored 2 is no 2
    if options["epochs"] is not None:
        changes["epochs"] = _parse_epochs(options["epochs"])
    sides = _parse_integers(options["image_sides"], "image sides", "16,16,20,24,32")
    if sides is not None:
        changes["image_sides"] = sides
    return recipe_named(options["recipe"], **changes)


def _default_model(source: SourceConfig, placement: Placement) -> str:
    return "small" if source.kind == "digits" or not placement.wants_gpus else "vgg19"


def _parse_epochs(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"epochs are {text!r}: give a list such as 3,2,1,1,5") from None


def _parse_integers(text: str | None, what: str, example: str) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{what} are {text!r}: give {example}") from None


def make_placement(options: dict[str, Any], *, local: bool) -> Placement:
    """Return what the steps ask for.

    Args:
        options: of the command line.
        local: whether the run stays on this machine, where a retry would not help.

    Raises:
        ConfigError: a value is outside its range.
    """
    default_gpus = int(not local or Path("/dev/nvidiactl").exists())
    return placement_of(options, default_gpus=default_gpus, local=local)


def default_run_name(config: RunConfig) -> str:
    """Return a name that the configuration decides: the same command resumes the same run."""
    return f"{config.source.kind}-{len(config.plan.stage_sizes)}-stages-{config.digest[:8]}"


def make_request(options: dict[str, Any], local: bool) -> PipelineRequest:
    """Return what the options of `run` ask for.

    Args:
        options: of the command line.
        local: whether the run stays on this machine.

    Raises:
        InputError: of any kind; nothing was started.
    """
    store_uri = options["store"] or default_store_uri()
    placement = make_placement(options, local=local)
    config = run_config(options, placement, store_uri)
    warn_about(config.plan)
    return request_for(config, placement, options["name"] or default_run_name(config), store_uri)


def request_for(
    config: RunConfig, placement: Placement, name: str, store_uri: str
) -> PipelineRequest:
    """Return a request whose parts fit each other.

    Raises:
        ConfigError: they do not.
    """
    check_run_name(name)
    resolve(config.recipe, config.plan, image_side=32)  # an unfit recipe shows before any step
    num_images = [stage.num_images for stage in config.plan.stages]
    placement = placement.fitted(num_images, config.recipe.batch_size)
    if placement.data_memory is not None:
        parse_bytes(placement.data_memory, "data memory")
    return PipelineRequest(config=config, placement=placement, run_name=name, store_uri=store_uri)
