"""From the options of `extend` to a run with a base: which model grows, and by which classes."""

import dataclasses
from typing import TYPE_CHECKING, Any

from accrete.base import find_base
from accrete.catalog import Catalog
from accrete.classes import seeded_order
from accrete.config import BaseModel, ModelConfig, RunConfig, SourceConfig
from accrete.counting import counts_of_source
from accrete.errors import ConfigError
from accrete.extension import Extension, open_extension
from accrete.image_format import Normalization
from accrete.pipeline_file import PipelineRequest
from accrete.plan import Plan, check_stages, parse_sizes
from accrete.recipe import Recipe
from accrete.requests import make_placement, make_recipe, read_names, request_for, source_config
from accrete.settings import default_store_uri, parse_store_uri, require_store_settings
from accrete.store import ObjectStore

if TYPE_CHECKING:
    from accrete.weights import Weights

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
    from accrete.weights import store_weights

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
    from accrete.weights import IMAGENET, WeightsRequest, read_weights

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
        check_stages(sizes)
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
