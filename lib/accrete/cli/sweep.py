"""The commands of the sweep pipelines: compare with from scratch, and the paper's studies."""

import dataclasses
from typing import Any

import click
from click_option_group import optgroup

from accrete.cli._options import (
    class_options,
    cost_options,
    model_options,
    plan_options,
    recipe_options,
    run_options,
    source_options,
    where_options,
)
from accrete.cli._placement_options import placement_options
from accrete.cli._request import make_placement, run_config
from accrete.cli.run import ENV_PREFIX, execute
from accrete.config.allocation import GrowingGpus
from accrete.config.placement import Placement
from accrete.config.plan import Plan, parse_sizes
from accrete.config.recipe import PAPER_EPOCHS, Recipe, budget_epochs, until_converged
from accrete.config.run import check_run_name
from accrete.config.sweep import Cell, Sweep, grid_cells, scratch_cells, seeded_cells, sweep_tasks
from accrete.core.units import format_counted, parse_bytes
from accrete.core.validation import check_range
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import Build, PipelineRequest
from accrete.store.settings import default_store_uri


def compare_command(build: Build) -> click.Command:
    """Return the command that runs the comparison pipeline's file."""

    @click.command(name="compare", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @optgroup.group("From scratch")
    @optgroup.option(
        "--seeds", type=int, default=3, show_default=True, help="Repetitions, from --seed on."
    )
    @optgroup.option(
        "--scratch-epochs",
        metavar="LIST",
        help="Budgets from scratch, in epochs. [default: 1, 1.25, 1.5 and 2 staged budgets]",
    )
    @optgroup.option(
        "--figure/--no-figure",
        default=True,
        help="From scratch at each stage's number of classes too (the paper's Figure 2).",
    )
    @plan_options
    @class_options
    @cost_options
    @source_options
    @model_options
    @recipe_options
    @run_options
    @where_options
    @placement_options
    def compare(**options: Any) -> None:
        """Train in stages and from scratch with the same recipe, and set them side by side.

        Stages that exist are reused: a staged run that was made with the same options and seed is
        not trained again. The report gives the speed-up at equal accuracy, in images and seconds.

        \b
        Examples:
          accrete compare
          accrete compare --source parquet --data cifar100/ --alpha 1 --scratch-epochs 5,7,10
        """
        execute(build, make_comparison, options)

    return compare


def study_command(build: Build) -> click.Command:
    """Return the command that runs the study pipeline's file."""

    @click.command(name="study", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("purpose", type=click.Choice(["convergence", "increments"]))
    @optgroup.group("Grid")
    @optgroup.option(
        "--initial",
        default="10,50,80",
        show_default=True,
        metavar="LIST",
        help="n1: classes that the model starts from.",
    )
    @optgroup.option(
        "--add",
        default="1,5,10,20,50",
        show_default=True,
        metavar="LIST",
        help="Δn: classes that a stage adds.",
    )
    @optgroup.option(
        "--total", type=int, metavar="N", help="Use the first N classes only. [default: all]"
    )
    @optgroup.option(
        "--seeds", type=int, default=1, show_default=True, help="Repetitions, from --seed on."
    )
    @optgroup.option(
        "--max-epochs",
        type=float,
        default=50,
        show_default=True,
        help="convergence: give a stage up after so many epochs.",
    )
    @class_options
    @source_options
    @model_options
    @recipe_options
    @run_options
    @where_options
    @placement_options
    def study(**options: Any) -> None:
        """Measure stages over a grid of initial and added classes: the paper's Tables I and II.

        convergence: images until the gradient is small, at a fixed rate (--lr, --stop-gradient);
        what converged is written as costs.json, for `accrete plan --alpha auto --costs`.
        increments: the error after runs that add the same number of classes in each stage.

        \b
        Examples:
          accrete study convergence --recipe paper --lr 0.01 --source parquet --data cifar100/
          accrete study increments --initial 2,4 --add 2,4
        """
        execute(build, make_study, options)

    return study


SCRATCH_FACTORS = (1.0, 1.25, 1.5, 2.0)
"""Default budgets from scratch, in staged budgets: a curve on which equal accuracy can be found."""

STOP_GRADIENT = 0.1
"""Default norm below which a study's stage counts as converged."""


def make_comparison(options: dict[str, Any], local: bool) -> PipelineRequest:
    """Return what the options of `compare` ask for.

    Raises:
        InputError: of any kind; nothing was started.
    """
    if options["epochs"] is not None:
        raise ConfigError("compare sets budgets side by side: give --budget-epochs, not --epochs")
    store_uri = options["store"] or default_store_uri()
    placement = make_placement(options, local=local)
    config = run_config(options, placement, store_uri)
    plan, seeds = config.plan, _seeds(options)
    if len(plan.stage_sizes) == 1:
        raise ConfigError("the plan has one stage: give one of several, or there is no comparison")
    recipe = dataclasses.replace(config.recipe, budget_epochs=_budget(config.recipe, plan))
    cells = seeded_cells("staged", "staged", plan.stage_sizes, recipe, seeds)
    cells += _from_scratch(options, recipe, plan, seeds)
    sweep = Sweep(
        purpose="comparison",
        rule=f"{plan.rule}, against from scratch, {format_counted(len(seeds), 'seed')}",
        source=config.source,
        class_order=plan.class_order,
        class_images=plan.class_images,
        model=config.model,
        cells=tuple(cells),
    )
    return _request(sweep, placement, options["name"], store_uri)


def _from_scratch(options: dict[str, Any], recipe: Recipe, plan: Plan, seeds: range) -> list[Cell]:
    """Return the cells from scratch: all classes at each budget, fewer at the staged one."""
    assert recipe.budget_epochs is not None
    wanted = [(plan.num_classes, budget) for budget in _scratch_budgets(options, recipe)]
    if options["figure"]:
        wanted += [(stage.num_classes, recipe.budget_epochs) for stage in plan.stages]
    once = dataclasses.replace(recipe, image_sides=None)
    return scratch_cells(dict.fromkeys(wanted), once, seeds)


def _budget(recipe: Recipe, plan: Plan) -> float:
    """Return the staged plan's budget, in epochs over all classes."""
    if recipe.name == "paper":
        return recipe.budget_epochs or PAPER_EPOCHS
    return budget_epochs(recipe, plan.stages[-1].num_images)


def _scratch_budgets(options: dict[str, Any], recipe: Recipe) -> list[float]:
    text = options["scratch_epochs"]
    assert recipe.budget_epochs is not None
    if text is None:
        return [factor * recipe.budget_epochs for factor in SCRATCH_FACTORS]
    try:
        budgets = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"scratch epochs are {text!r}: give a list such as 5,7,10") from None
    for budget in budgets:
        check_range("scratch epochs", budget, 1e-3, 1e5)
    return budgets


def _seeds(options: dict[str, Any]) -> range:
    check_range("seeds", options["seeds"], 1, 30)
    return range(options["seed"], options["seed"] + options["seeds"])


def make_study(options: dict[str, Any], local: bool) -> PipelineRequest:
    """Return what the options of `study` ask for.

    Raises:
        InputError: of any kind; nothing was started.
    """
    store_uri = options["store"] or default_store_uri()
    placement = make_placement(options, local=local)
    purpose = options["purpose"]
    # The grid plans its own stages: of the source only classes and counts are asked.
    config = run_config(
        options | {"alpha": None, "step": None, "stages": None, "initial": None},
        placement,
        store_uri,
    )
    plan = config.plan
    total = options["total"] or len(plan.class_order)
    check_range("total classes", total, 2, len(plan.class_order))
    pairs = _pairs(options, total)
    recipe = _study_recipe(options, config.recipe)
    grows_to = total if purpose == "increments" else None
    cells = grid_cells(pairs, recipe, _seeds(options), grows_to)
    if purpose == "increments":
        cells += seeded_cells("scratch", "scratch", (total,), recipe, _seeds(options))
    sweep = Sweep(
        purpose=purpose,
        rule=f"{format_counted(len(pairs), 'pair')} of initial and added classes, "
        f"{format_counted(options['seeds'], 'seed')}",
        source=config.source,
        class_order=plan.class_order,
        class_images=plan.class_images,
        model=config.model,
        cells=tuple(cells),
    )
    return _request(sweep, placement, options["name"], store_uri)


def _pairs(options: dict[str, Any], total: int) -> list[tuple[int, int]]:
    """Return the (n1, Δn) of the grid; those that need more classes than there are fall away."""
    initials, increments = parse_sizes(options["initial"]), parse_sizes(options["add"])
    for value in (*initials, *increments):
        check_range("classes of a study's cell", value, 1, total)
    pairs = [
        (initial, added)
        for initial in dict.fromkeys(initials)
        for added in dict.fromkeys(increments)
        if initial + added <= total
    ]
    if not pairs:
        raise ConfigError(
            f"--initial {options['initial']} and --add {options['add']} need more than the {total} "
            "classes there are: give smaller numbers"
        )
    return pairs


def _study_recipe(options: dict[str, Any], recipe: Recipe) -> Recipe:
    """Return the recipe of a study's cells; for convergence the rate is fixed (paper, Table I)."""
    if options["purpose"] == "increments":
        if options["epochs"] is not None:
            raise ConfigError("the runs of a study differ in their stages: give --budget-epochs")
        return recipe
    epochs = options["max_epochs"]
    check_range("most epochs", epochs, 1, 1e5)
    stop_gradient = recipe.stop_gradient or STOP_GRADIENT
    return until_converged(recipe, most_epochs=epochs, stop_gradient=stop_gradient)


def _request(
    sweep: Sweep, placement: Placement, name: str | None, store_uri: str
) -> PipelineRequest:
    """Return a request whose parts fit each other.

    Raises:
        ConfigError: they do not.
    """
    sweep_tasks(sweep)  # refuses more than a pipeline holds
    if isinstance(placement.gpus, GrowingGpus) or len(placement.gpus) > 1:
        raise ConfigError("--gpus differs by stage: give one number for all cells of a sweep")
    if placement.has_several_nodes:
        raise ConfigError(
            "--nodes: the cells of a sweep are trained on one node each; leave it out, or run one "
            "plan with `kfp run pipelines/incremental.py`"
        )
    placement = placement.fitted([1], sweep.cells[0].recipe.batch_size)
    if placement.data_memory is not None:
        parse_bytes(placement.data_memory, "data memory")
    default = f"{sweep.source.kind}-{sweep.purpose}-{sweep.digest[:8]}"
    return PipelineRequest(
        config=sweep,
        placement=placement,
        run_name=check_run_name(name or default),
        store_uri=store_uri,
    )
