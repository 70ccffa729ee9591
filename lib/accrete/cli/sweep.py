"""The command of the comparison pipeline: compare with from scratch."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import click

from accrete.cli._adapter import ENV_PREFIX, Group, takes
from accrete.cli._location import refuse_local_data
from accrete.cli._options import RunOptions
from accrete.cli._placement import make_packing, make_placement
from accrete.cli._request import run_config
from accrete.cli._sweep_request import seeds_from, sweep_request
from accrete.cli.run import execute
from accrete.config.plan import Plan
from accrete.config.recipe import PAPER_EPOCHS, Recipe
from accrete.config.schedule import budget_epochs
from accrete.config.sweep import Cell, Sweep, scratch_cells, seeded_cells
from accrete.core.options import Option, numbers
from accrete.core.units import format_counted
from accrete.core.validation import check_range
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import Build, PipelineRequest
from accrete.store.settings import default_store_uri

SCRATCH_FACTORS = (1.0, 1.25, 1.5, 2.0)
"""Default budgets from scratch, in staged budgets: a curve on which equal accuracy can be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchOptions:
    """What a staged run is compared with."""

    seeds: Annotated[int, Option("Repetitions, from --seed on.")] = 3
    scratch_epochs: Annotated[
        tuple[float, ...] | None,
        Option(
            "Budgets from scratch, in epochs.",
            metavar="LIST",
            parse=numbers(float, "scratch epochs", "5,7,10"),
            default="1, 1.25, 1.5 and 2 staged budgets",
        ),
    ] = None
    figure: Annotated[
        bool,
        Option(
            "From scratch at each stage's number of classes too (the paper's Figure 2).",
            off="no-figure",
            default="figure",
        ),
    ] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions(RunOptions):
    """A staged run, and what it is compared with."""

    scratch: Annotated[ScratchOptions, Group("From scratch")]


def compare_command(build: Build) -> click.Command:
    """Return the command that runs the comparison pipeline's file."""

    @click.command(name="compare", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @takes(CompareOptions)
    def compare(options: CompareOptions) -> None:
        """Train in stages and from scratch with the same recipe, and set them side by side.

        Stages that exist are reused: a staged run that was made with the same options and seed is
        not trained again. The report gives the speed-up at equal accuracy, in images and seconds.

        \b
        Examples:
          accrete compare
          accrete compare --source parquet --data cifar100/ --alpha 1 --scratch-epochs 5,7,10
        """
        execute(build, partial(make_comparison, options), options)

    return compare


def make_comparison(options: CompareOptions, local: bool) -> PipelineRequest:
    """Return what the options of `compare` ask for.

    Raises:
        InputError: of any kind; nothing was started.
    """
    if "epochs" in options.recipe:
        raise ConfigError("compare sets budgets side by side: give --budget-epochs, not --epochs")
    if not local:
        refuse_local_data(options.source)
    store_uri = options.naming.values.get("store_uri", default_store_uri())
    placement = make_placement(options.cluster, options.spot, local=local)
    packing = make_packing(options.packing, options.costs, local=local)
    config = run_config(options, placement, store_uri, local=local)
    plan, seeds = config.plan, seeds_from(options.seed.seed, options.scratch.seeds)
    if len(plan.stage_sizes) == 1:
        raise ConfigError("the plan has one stage: give one of several, or there is no comparison")
    recipe = dataclasses.replace(config.recipe, budget_epochs=_budget(config.recipe, plan))
    cells = seeded_cells("staged", "staged", plan.stage_sizes, recipe, seeds)
    cells += _from_scratch(options.scratch, recipe, plan, seeds)
    sweep = Sweep(
        purpose="comparison",
        rule=f"{plan.rule}, against from scratch, {format_counted(len(seeds), 'seed')}",
        source=config.source,
        class_order=plan.class_order,
        class_images=plan.class_images,
        model=config.model,
        cells=tuple(cells),
    )
    name = options.naming.values.get("run_name")
    return sweep_request(sweep, placement, packing, name, store_uri)


def _from_scratch(options: ScratchOptions, recipe: Recipe, plan: Plan, seeds: range) -> list[Cell]:
    """Return the cells from scratch: all classes at each budget, fewer at the staged one."""
    assert recipe.budget_epochs is not None
    wanted = [
        (plan.num_classes, budget) for budget in _scratch_budgets(options.scratch_epochs, recipe)
    ]
    if options.figure:
        wanted += [(stage.num_classes, recipe.budget_epochs) for stage in plan.stages]
    once = dataclasses.replace(recipe, image_sides=None)
    return scratch_cells(dict.fromkeys(wanted), once, seeds)


def _budget(recipe: Recipe, plan: Plan) -> float:
    """Return the staged plan's budget, in epochs over all classes."""
    if recipe.name == "paper":
        return recipe.budget_epochs or PAPER_EPOCHS
    return budget_epochs(recipe, plan.stages[-1].num_images)


def _scratch_budgets(given: tuple[float, ...] | None, recipe: Recipe) -> list[float]:
    assert recipe.budget_epochs is not None
    if given is None:
        return [factor * recipe.budget_epochs for factor in SCRATCH_FACTORS]
    for budget in given:
        check_range("scratch epochs", budget, 1e-3, 1e5)
    return list(given)
