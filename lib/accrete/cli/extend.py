"""The command of the extension pipeline: add classes to a model that is trained already."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click_option_group import optgroup

from accrete.catalog.catalog import Catalog
from accrete.catalog.lookup import find_base
from accrete.cli._options import recipe_options, run_options, source_options, where_options
from accrete.cli._placement_options import placement_options
from accrete.cli._request import make_placement, make_recipe, read_names, request_for, source_config
from accrete.cli.run import ENV_PREFIX, execute
from accrete.config.classes import seeded_order
from accrete.config.image_format import Normalization
from accrete.config.plan import Plan, check_stage_sizes, parse_sizes
from accrete.config.recipe import Recipe
from accrete.config.run import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.data.counts import counts_of_source
from accrete.data.extension import Extension, open_extension
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import Build, PipelineRequest
from accrete.store.object_store import ObjectStore
from accrete.store.settings import default_store_uri, parse_store_uri, require_store_settings

if TYPE_CHECKING:
    from accrete.models.pretrained import Weights


def extend_command(build: Build) -> click.Command:
    """Return the command that runs the extension pipeline's file."""

    @click.command(name="extend", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("base", required=False, metavar="[RUN]")
    @optgroup.group("Model to extend")
    @optgroup.option("--stage", type=int, metavar="J", help="Stage J of RUN. [default: the last]")
    @optgroup.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights from elsewhere: what `accrete export` wrote, or a torchvision state file.",
    )
    @optgroup.option(
        "--weights-classes",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Class names of a state file, one a line, in the order of its outputs.",
    )
    @optgroup.option(
        "--weights-sha256", metavar="HEX", help="SHA-256 of the file; a pickle is not read without."
    )
    @optgroup.option("--model", metavar="NAME", help="Network of a state file: torchvision:NAME.")
    @optgroup.option(
        "--weights-mean",
        metavar="R,G,B",
        help="What its input was scaled by. [default: ImageNet's]",
    )
    @optgroup.option("--weights-std", metavar="R,G,B", help="Likewise. [default: ImageNet's]")
    @optgroup.option(
        "--old-dataset",
        metavar="DIGEST",
        help="Stored data set with the images of the weights' classes. [default: in the source]",
    )
    @optgroup.group("Classes to add")
    @optgroup.option(
        "--more-images",
        is_flag=True,
        help="The source may have more images of classes that the model has.",
    )
    @optgroup.option(
        "--stages", metavar="LIST", help="Add the new classes in stages of so many. [default: one]"
    )
    @source_options
    @recipe_options
    @run_options
    @where_options
    @placement_options
    def extend(**options: Any) -> None:
        """Add classes to a trained model: RUN's, or weights from a file.

        The old classes' shards are taken from the store as they are; the new images are scaled and
        normalized as the model was trained. The fast recipe gets a schedule of its own here: half
        the rate, and 2 epochs over old and new images unless --budget-epochs says otherwise.

        \b
        Examples:
          accrete extend my-run --source imagefolder --data new-classes/
          accrete extend --weights resnet18.pth --weights-sha256 f37072fd… \\
            --weights-classes names.txt --model torchvision:resnet18 \\
            --source imagefolder --data all-classes/
        """
        execute(build, make_extension, options)

    return extend


BUDGET_EPOCHS = 2.0
"""Images seen by default, in epochs over old and new images together."""

MIN_STEPS = 120
"""A small data set gets at least this many steps by default."""

LR = 0.1
"""Default peak rate: half of a new model's."""


def make_extension(options: dict[str, Any], local: bool) -> PipelineRequest:
    """Return what the options of `extend` ask for; weights from a file are stored.

    Args:
        options: of the command line.
        local: whether the run stays on this machine.

    Raises:
        InputError: of any kind; no step was started.
        StoreError: the store, which has the model, cannot be used.
    """
    store_uri = options["store"] or default_store_uri()
    placement = make_placement(options, local=local)
    catalog = Catalog(ObjectStore(require_store_settings(), parse_store_uri(store_uri)))
    catalog.store.check()
    base, model, given, source = _base(options, catalog)
    more_images = options["more_images"]
    extension = open_extension(base, given, catalog, more_images=more_images)
    plan = _plan(options, extension, counts_of_source(source))
    config = RunConfig(
        source=source,
        plan=plan,
        model=model,
        recipe=_recipe(options, source, plan),
        seed=options["seed"],
        base=base,
        more_images=more_images,
    )
    name = f"{source.kind}-extend-{plan.num_classes}-{config.digest[:8]}"
    return request_for(config, placement, options["name"] or name, store_uri)


def _base(
    options: dict[str, Any], catalog: Catalog
) -> tuple[BaseModel, ModelConfig, tuple[str, ...], SourceConfig]:
    """Return the model that grows, what it is, its classes, and where the new images are."""
    source = source_config(options)
    name, path = options["base"], options["weights"]
    if (name is None) == (path is None):
        raise ConfigError("extend needs one model: a run's name, or --weights FILE")
    if name is not None:
        _refuse(options, "weights_sha256", "weights_classes", "model", "old_dataset")
        base, model, given = find_base(catalog, name, options["stage"])
        return base, model, given, source
    _refuse(options, "stage")
    weights = _weights(options)
    from accrete.models.pretrained import store_weights

    base = store_weights(weights, catalog, options["old_dataset"])
    is_cropped = weights.image.preprocessing != "none"
    if base.dataset is None and source.image_size is None and is_cropped:
        source = dataclasses.replace(source, image_size=weights.image.height)
    return base, weights.model, weights.class_names, source


def _refuse(options: dict[str, Any], *names: str) -> None:
    for name in names:
        if options[name] is not None:
            option = "--" + name.replace("_", "-")
            other = "--weights" if option != "--stage" else "a run's name"
            raise ConfigError(f"{option} goes with {other} only: leave it out")


def _weights(options: dict[str, Any]) -> "Weights":
    """Read the file of weights.

    Raises:
        InputError, IntegrityError, CheckpointMismatchError: it cannot be used.
    """
    from accrete.models.pretrained import IMAGENET, WeightsRequest, read_weights

    normalization = IMAGENET
    if options["weights_mean"] is not None or options["weights_std"] is not None:
        normalization = Normalization(
            mean=_three(options["weights_mean"], "weights mean"),
            std=_three(options["weights_std"], "weights std"),
        )
    model = options["model"]
    return read_weights(
        WeightsRequest(
            path=options["weights"],
            sha256=options["weights_sha256"],
            class_names=read_names(options["weights_classes"], "classes of the weights"),
            model=None if model is None else ModelConfig(name=model),
            side=options["image_size"] or 224,
            normalization=normalization,
        )
    )


def _three(text: str | None, what: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in (text or "").split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(0 < value <= 1 for value in values):
        raise ConfigError(f"{what} is {text!r}: give three numbers of 0..1, as 0.485,0.456,0.406")
    return values


def _plan(options: dict[str, Any], extension: Extension, counts: dict[str, int]) -> Plan:
    """Return the plan of an extension: the given classes first, then the new ones."""
    merged = extension.planned_counts(counts)
    new = seeded_order((name for name in counts if name not in extension.given), 0)
    order = (*extension.given, *new)
    if not new and not extension.more_images:
        raise ConfigError(
            f"the source has no class that {extension.base.origin} does not have: nothing to add"
        )
    sizes: tuple[int, ...] = (len(new),)
    if options["stages"] is not None:
        sizes = parse_sizes(options["stages"])
        check_stage_sizes(sizes)
        if sum(sizes) != len(new):
            raise ConfigError(
                f"--stages {options['stages']} adds {sum(sizes)} classes, but the source has "
                f"{len(new)} new ones: make the list add up"
            )
    return Plan(
        rule=f"{extension.base.origin}, {len(extension.given)} classes, and {len(new)} more",
        class_order=order,
        class_images=tuple(merged[name] for name in order),
        stage_sizes=sizes,
        num_given=len(extension.given),
    )


def _recipe(options: dict[str, Any], source: SourceConfig, plan: Plan) -> Recipe:
    """Return the recipe: the fast one gets a schedule for a model that is trained already."""
    if options["recipe"] != "fast":
        return make_recipe(options, source)
    batch_size = options["batch_size"] or Recipe().batch_size
    budget = max(BUDGET_EPOCHS, MIN_STEPS * batch_size / plan.stages[-1].num_images)
    return make_recipe(options, source, budget_epochs=budget, lr=LR)
