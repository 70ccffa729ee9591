"""The commands of the sweep pipelines: compare with from scratch, and the paper's studies."""

from typing import Any

import click
from click_option_group import optgroup

from accrete.options import (
    class_options,
    cost_options,
    model_options,
    plan_options,
    recipe_options,
    run_options,
    source_options,
    where_options,
)
from accrete.pipeline_file import Build
from accrete.placement_options import placement_options
from accrete.run_command import ENV_PREFIX, execute
from accrete.sweep_request import make_comparison, make_study


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
