"""The commands of the sweep pipelines: compare with from scratch, and the paper's studies."""

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import click

from accrete.cli._adapter import ENV_PREFIX, Group, takes
from accrete.cli._location import refuse_local_data
from accrete.cli._options import (
    RECIPE_TITLE,
    Classes,
    Cluster,
    CompileOptions,
    CostOptions,
    Model,
    Naming,
    Packed,
    PlanOptions,
    RunOptions,
    Seed,
    Source,
    Speed,
    Spot,
    Weights,
    Where,
)
from accrete.cli._placement import make_packing, make_placement
from accrete.cli._request import run_config, tell_packed
from accrete.cli.run import execute
from accrete.config.allocation import GrowingGpus
from accrete.config.packing import Packing
from accrete.config.placement import Placement
from accrete.config.plan import Plan, parse_sizes
from accrete.config.recipe import PAPER_EPOCHS, RECIPES, Recipe, until_converged
from accrete.config.run import check_run_name
from accrete.config.schedule import budget_epochs
from accrete.config.sweep import Cell, Sweep, grid_cells, scratch_cells, seeded_cells, sweep_tasks
from accrete.core.options import Given, Option, numbers
from accrete.core.units import format_counted, parse_bytes
from accrete.core.validation import check_range
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import Build, PipelineRequest
from accrete.store.settings import default_store_uri, parse_store_uri

SCRATCH_FACTORS = (1.0, 1.25, 1.5, 2.0)
"""Default budgets from scratch, in staged budgets: a curve on which equal accuracy can be found."""

STOP_GRADIENT = 0.1
"""Default norm below which a study's stage counts as converged."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GridOptions:
    """The grid of a study."""

    initial: Annotated[str, Option("n1: classes that the model starts from.", metavar="LIST")] = (
        "10,50,80"
    )
    add: Annotated[str, Option("Δn: classes that a stage adds.", metavar="LIST")] = "1,5,10,20,50"
    total: Annotated[int | None, Option("Use the first N classes only.", default="all")] = None
    seeds: Annotated[int, Option("Repetitions, from --seed on.")] = 1
    max_epochs: Annotated[
        float, Option("convergence: give a stage up after so many epochs.", metavar="E")
    ] = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """What a study is made of."""

    grid: Annotated[Given[GridOptions], Group("Grid")]
    classes: Classes
    source: Source
    model: Model
    weights: Weights
    recipe: Annotated[
        Given[Recipe],
        Group(
            RECIPE_TITLE,
            RECIPES,
            {
                "epochs": "none: give --budget-epochs or --max-epochs",
                "stop_gradient": f"convergence {STOP_GRADIENT}; increments run the budget",
            },
        ),
    ]
    seed: Seed
    naming: Naming
    where: Where
    cluster: Cluster
    packing: Packed
    speed: Speed
    spot: Spot

    def of_a_run(self) -> CompileOptions:
        """Return them as those of a run; the grid plans its own stages."""
        return CompileOptions(
            plan=PlanOptions(),
            classes=self.classes,
            costs=Given(CostOptions),
            source=self.source,
            model=self.model,
            weights=self.weights,
            recipe=self.recipe,
            seed=self.seed,
            naming=self.naming,
            cluster=self.cluster,
            packing=self.packing,
            spot=self.spot,
        )


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


def study_command(build: Build) -> click.Command:
    """Return the command that runs the study pipeline's file."""

    @click.command(name="study", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("purpose", type=click.Choice(["convergence", "increments"]))
    @takes(StudyOptions)
    def study(options: StudyOptions, purpose: str) -> None:
        """Measure stages over a grid of initial and added classes: the paper's Tables I and II.

        convergence: images until the gradient is small, at a fixed rate (--lr, --stop-gradient);
        what converged is written as costs.json, for `accrete plan --alpha auto --costs`.
        increments: the error after runs that add the same number of classes in each stage.

        \b
        Examples:
          accrete study convergence --recipe paper --lr 0.01 --source parquet --data cifar100/
          accrete study increments --initial 2,4 --add 2,4
        """
        execute(build, partial(make_study, options, purpose), options)

    return study


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
    plan, seeds = config.plan, _seeds(options.seed.seed, options.scratch.seeds)
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
    return _request(sweep, placement, packing, name, store_uri)


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


def _seeds(first: int, number: int) -> range:
    check_range("seeds", number, 1, 30)
    return range(first, first + number)


def make_study(options: StudyOptions, purpose: str, local: bool) -> PipelineRequest:
    """Return what the options of `study` ask for.

    Args:
        options: of the command line.
        purpose: `convergence` or `increments`.
        local: whether the run stays on this machine.

    Raises:
        InputError: of any kind; nothing was started.
    """
    if not local:
        refuse_local_data(options.source)
    store_uri = options.naming.values.get("store_uri", default_store_uri())
    placement = make_placement(options.cluster, options.spot, local=local)
    packing = make_packing(options.packing, options.speed, local=local)
    # Of the source only classes and counts are asked.
    config = run_config(options.of_a_run(), placement, store_uri, local=local)
    plan, grid = config.plan, options.grid.alone()
    seeds = _seeds(options.seed.seed, grid.seeds)
    total = len(plan.class_order) if grid.total is None else grid.total
    check_range("total classes", total, 2, len(plan.class_order))
    pairs = _pairs(grid, total)
    recipe = _study_recipe(options, purpose, config.recipe)
    grows_to = total if purpose == "increments" else None
    cells = grid_cells(pairs, recipe, seeds, grows_to)
    if purpose == "increments":
        cells += seeded_cells("scratch", "scratch", (total,), recipe, seeds)
    sweep = Sweep(
        purpose=purpose,
        rule=f"{format_counted(len(pairs), 'pair')} of initial and added classes, "
        f"{format_counted(grid.seeds, 'seed')}",
        source=config.source,
        class_order=plan.class_order,
        class_images=plan.class_images,
        model=config.model,
        cells=tuple(cells),
    )
    name = options.naming.values.get("run_name")
    return _request(sweep, placement, packing, name, store_uri)


def _pairs(grid: GridOptions, total: int) -> list[tuple[int, int]]:
    """Return the (n1, Δn) of the grid; those that need more classes than there are fall away."""
    initials, increments = parse_sizes(grid.initial), parse_sizes(grid.add)
    for value in (*initials, *increments):
        check_range("a number of --initial or --add", value, 1, total)
    pairs = [
        (initial, added)
        for initial in dict.fromkeys(initials)
        for added in dict.fromkeys(increments)
        if initial + added <= total
    ]
    if not pairs:
        raise ConfigError(
            f"--initial {grid.initial} and --add {grid.add} need more than the {total} "
            "classes there are: give smaller numbers"
        )
    return pairs


def _study_recipe(options: StudyOptions, purpose: str, recipe: Recipe) -> Recipe:
    """Return the recipe of a study's cells; for convergence the rate is fixed (paper, Table I)."""
    if purpose == "increments":
        if "epochs" in options.recipe:
            raise ConfigError("the runs of a study differ in their stages: give --budget-epochs")
        if "max_epochs" in options.grid.typed:
            raise ConfigError("--max-epochs has no effect on increments: leave it out")
        return recipe
    for name in ("epochs", "budget_epochs", "carry_momentum"):
        if name in options.recipe.typed:
            raise ConfigError(
                f"--{name.replace('_', '-')} has no effect on convergence: its stages end by "
                "--stop-gradient or --max-epochs, each with its own momentum; leave it out"
            )
    epochs = options.grid.alone().max_epochs
    check_range("most epochs", epochs, 1, 1e5)
    stop_gradient = recipe.stop_gradient or STOP_GRADIENT
    return until_converged(recipe, most_epochs=epochs, stop_gradient=stop_gradient)


def _request(
    sweep: Sweep, placement: Placement, packing: Packing, name: str | None, store_uri: str
) -> PipelineRequest:
    """Return a request whose parts fit each other.

    Raises:
        ConfigError: they do not.
    """
    parse_store_uri(store_uri)
    num_tasks = len(sweep_tasks(sweep, packing))  # refuses more than a pipeline holds
    if packing.step_overhead_s:
        alone = dataclasses.replace(packing, step_overhead_s=0.0)
        tell_packed(len(sweep_tasks(sweep, alone)), num_tasks, packing)
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
        run_name=check_run_name(default if name is None else name),
        store_uri=store_uri,
        packing=packing,
    )
