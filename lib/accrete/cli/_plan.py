"""`accrete plan`: the stages of a plan, and what they cost, before anything is trained."""

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import click

from accrete.cli._adapter import ENV_PREFIX, Group, takes
from accrete.cli._inspect import store_to_read
from accrete.cli._options import Classes, Costs, Packed, Planning, Source
from accrete.cli._placement import Planned
from accrete.cli._plan_text import PlanTime, plan_json, plan_text, plan_time
from accrete.cli._request import class_counts, cost_model, make_plan, source_of, warn_about
from accrete.config.packing import IMAGES_PER_SECOND
from accrete.config.run import SourceConfig
from accrete.core.options import Option, option_fields
from accrete.core.serialization import to_json
from accrete.data.counts import counts_of_number
from accrete.errors import ConfigError
from accrete.store.settings import default_store_uri

if TYPE_CHECKING:
    from accrete.config.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualClasses:
    """Classes that are not there yet, to plan for."""

    classes: Annotated[
        int | None,
        Option(
            "Plan for N classes of equal size.",
            excludes=(
                *("counts", "dataset", "source", "data", "image-column", "label-column"),
                *("test-fraction", "validation-fraction", "split-seed", "image-size"),
                *("on-bad-image", "only-classes", "exclude", "class-level", "label-pattern"),
                "config",
            ),
        ),
    ] = None
    images_per_class: Annotated[
        int, Option("Training images of each.", needs=(("classes", ()),))
    ] = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCommandOptions:
    """What `accrete plan` shows a plan of."""

    equal: Annotated[EqualClasses, Group("Classes of equal size")]
    plan: Planning
    classes: Classes
    costs: Costs
    source: Source
    planned: Planned
    packing: Packed


@click.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
@takes(PlanCommandOptions)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def plan(options: PlanCommandOptions, as_json: bool) -> None:
    """Show the stages that a growth ratio, a fixed increment or a list gives, and what they cost.

    \b
    Examples:
      accrete plan --classes 100 --initial 10 --alpha 1
      accrete plan --source imagefolder --data images/ --step 5
      accrete plan --classes 1000 --alpha auto --stage-seconds 60
    """
    if options.equal.classes is not None:
        counts = counts_of_number(options.equal.classes, options.equal.images_per_class)
    else:
        _check_source_counts(options)
        location = options.source.values.get("location")
        with store_to_read("s3://" if options.classes.dataset else location):
            source = source_of(options.source)
            counts = class_counts(options.classes, source, default_store_uri())
    costs = options.costs.alone()
    made = make_plan(options.plan, options.classes, costs, counts)
    model = cost_model(costs) if options.plan.alpha == "auto" or costs.costs else None
    gpus = options.planned.of_stages(made)
    time = _time(options, made, gpus)
    if as_json:
        facts = plan_json(made, model, options.plan.initial, gpus)
        on_cluster = {"on_cluster": to_json(time)} if time else {}
        click.echo(json.dumps(facts | on_cluster, indent=1))
    else:
        click.echo(plan_text(made, model, options.plan.initial, gpus))
        if time:
            click.echo(time.text)
    warn_about(made)


def _time(options: PlanCommandOptions, plan: "Plan", gpus: tuple[int, ...]) -> PlanTime | None:
    """Return how long a plan takes; None: nobody says how fast training is, or asks for it."""
    speed = options.costs.values.get("images_per_second")
    if speed is None and "step_overhead_s" not in options.packing.typed:
        if options.packing.typed:
            raise ConfigError(
                "--max-steps has no effect without --images-per-second or --step-overhead: leave "
                "it out"
            )
        return None
    packing = replace(options.packing.alone(), images_per_second=speed or IMAGES_PER_SECOND)
    return plan_time(plan, packing, gpus)


def _check_source_counts(options: PlanCommandOptions) -> None:
    """Refuse a source beside counts: a plan needs nothing else of it."""
    other = next((n for n in ("counts", "dataset") if getattr(options.classes, n)), None)
    for each in option_fields(SourceConfig):
        if other and each.name in options.source.typed:
            raise ConfigError(f"--{each.flag} has no effect beside --{other}: leave it out")
