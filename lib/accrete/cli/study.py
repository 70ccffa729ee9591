"""The command of the study pipeline: the paper's Tables I and II, and the life of a model."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import click

from accrete.cli._adapter import ENV_PREFIX, Group, takes
from accrete.cli._life_options import LifeOptions, lifecycle_of, with_validation
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
    Seed,
    Source,
    Speed,
    Spot,
    Weights,
    Where,
)
from accrete.cli._placement import make_packing, make_placement
from accrete.cli._request import run_config
from accrete.cli._sweep_request import seeds_from, sweep_request
from accrete.cli.run import execute
from accrete.config.contestants import schedule_text
from accrete.config.plan import parse_sizes
from accrete.config.recipe import RECIPES, Recipe, until_converged
from accrete.config.sweep import Cell, Sweep, grid_cells, seeded_cells
from accrete.core.options import Given, Option, option_fields
from accrete.core.units import format_counted
from accrete.core.validation import check_range
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import Build, PipelineRequest
from accrete.store.settings import default_store_uri

LIFECYCLE_SEEDS = 3
"""Default repetitions of a lifecycle: with fewer its ratio has no interval."""

STOP_GRADIENT = 0.1
"""Default norm below which a study's stage counts as converged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridOptions:
    """The grid of a study."""

    initial: Annotated[str, Option("n1: classes that the model starts from.", metavar="LIST")] = (
        "10,50,80"
    )
    add: Annotated[str, Option("Δn: classes that a stage adds.", metavar="LIST")] = "1,5,10,20,50"
    total: Annotated[int | None, Option("Use the first N classes only.", default="all")] = None
    seeds: Annotated[
        int, Option("Repetitions, from --seed on.", default=f"1; lifecycle {LIFECYCLE_SEEDS}")
    ] = 1
    max_epochs: Annotated[
        float, Option("convergence: give a stage up after so many epochs.", metavar="E")
    ] = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """What a study is made of."""

    grid: Annotated[Given[GridOptions], Group("Grid")]
    life: Annotated[Given[LifeOptions], Group("Life (of the lifecycle)")]
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
                "stop_gradient": f"convergence {STOP_GRADIENT}; the others run the budget",
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


def study_command(build: Build) -> click.Command:
    """Return the command that runs the study pipeline's file."""

    @click.command(name="study", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.argument("purpose", type=click.Choice(["convergence", "increments", "lifecycle"]))
    @takes(StudyOptions)
    def study(options: StudyOptions, purpose: str) -> None:
        """Measure stages over a grid (the paper's Tables I and II), or the life of a model.

        convergence: images until the gradient is small, at a fixed rate (--lr, --stop-gradient);
        what converged is written as costs.json, for `accrete plan --alpha auto --costs`.
        increments: the error after runs that add the same number of classes in each stage.
        lifecycle: what it takes, as classes keep arriving, to be as good at every arrival as a
        model that is trained from scratch on all classes so far; ways to extend side by side.

        \b
        Examples:
          accrete study convergence --recipe paper --lr 0.01 --source parquet --data cifar100/
          accrete study increments --initial 2,4 --add 2,4
          accrete study lifecycle --schedules 2*5/4,2*3 --seeds 1
        """
        execute(build, partial(make_study, options, purpose), options)

    return study


def make_study(options: StudyOptions, purpose: str, local: bool) -> PipelineRequest:
    """Return what the options of `study` ask for.

    Args:
        options: of the command line.
        purpose: `convergence`, `increments` or `lifecycle`.
        local: whether the run stays on this machine.

    Raises:
        InputError: of any kind; nothing was started.
    """
    _refuse_others(options, purpose)
    if not local:
        refuse_local_data(options.source)
    store_uri = options.naming.values.get("store_uri", default_store_uri())
    placement = make_placement(options.cluster, options.spot, local=local)
    packing = make_packing(options.packing, options.speed, local=local)
    if purpose == "lifecycle":
        options = replace(options, source=with_validation(options.source))
    # Of the source only classes and counts are asked.
    config = run_config(options.of_a_run(), placement, store_uri, local=local)
    plan, grid = config.plan, options.grid.alone()
    total = len(plan.class_order) if grid.total is None else grid.total
    check_range("total classes", total, 2, len(plan.class_order))
    make = _lifecycle if purpose == "lifecycle" else partial(_grid, purpose=purpose)
    cells, rule = make(options, config.recipe, total)
    sweep = Sweep(
        purpose=purpose,
        rule=rule,
        source=config.source,
        class_order=plan.class_order,
        class_images=plan.class_images,
        model=config.model,
        cells=tuple(cells),
    )
    name = options.naming.values.get("run_name")
    return sweep_request(sweep, placement, packing, name, store_uri)


def _refuse_others(options: StudyOptions, purpose: str) -> None:
    """Refuse what was typed for a study of another purpose.

    Raises:
        ConfigError: names the option.
    """
    if purpose == "lifecycle":
        theirs = (
            "whose contestants differ in it: leave it out, and choose among them with --contestants"
        )
        whole = "which measures what whole budgets come to: leave it out"
        why = dict.fromkeys(("replay", "head_init", "trained"), theirs)
        why |= dict.fromkeys(("stop_gradient", "stop_patience"), whole)
        for name, reason in why.items():
            if name in options.recipe.typed:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} has no effect on lifecycle, {reason}")
    given: Given[Any] = options.grid if purpose == "lifecycle" else options.life
    for each in option_fields(given.kind):
        if each.name in given.typed and each.name not in ("total", "seeds"):
            raise ConfigError(f"--{each.flag} has no effect on {purpose}: leave it out")


def _grid(
    options: StudyOptions, recipe: Recipe, total: int, *, purpose: str
) -> tuple[list[Cell], str]:
    """Return the cells of one of the paper's tables, and what they are."""
    grid = options.grid.alone()
    seeds = seeds_from(options.seed.seed, grid.seeds)
    pairs = _pairs(grid, total)
    recipe = _study_recipe(options, purpose, recipe)
    grows_to = total if purpose == "increments" else None
    cells = grid_cells(pairs, recipe, seeds, grows_to)
    if purpose == "increments":
        cells += seeded_cells("scratch", "scratch", (total,), recipe, seeds)
    rule = f"{format_counted(len(pairs), 'pair')} of initial and added classes"
    return cells, f"{rule}, {format_counted(grid.seeds, 'seed')}"


def _lifecycle(options: StudyOptions, recipe: Recipe, total: int) -> tuple[list[Cell], str]:
    """Return the cells of a lifecycle, and what they are."""
    for name in ("epochs", "budget_epochs", "image_sides"):
        if name in options.recipe.typed:
            raise ConfigError(
                f"--{name.replace('_', '-')} has no effect on lifecycle, whose budgets are "
                "--scratch-epochs, --first-epochs and --budgets: leave it out"
            )
    life = lifecycle_of(options.life.alone(), recipe, total)
    number = options.grid.values.get("seeds", LIFECYCLE_SEEDS)
    cells = life.cells(seeds_from(options.seed.seed, number))
    shown = "/".join(map(schedule_text, life.schedules))
    names = ", ".join(each.name for each in life.contestants)
    return cells, f"classes arrive {shown}: {names} and from scratch, " + format_counted(
        number, "seed"
    )


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
