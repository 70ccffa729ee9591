"""The commands of a pipeline file: run it, or compile it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from accrete.cli._adapter import ENV_PREFIX, read, takes
from accrete.cli._environment import check_environment
from accrete.cli._location import refuse_local_data
from accrete.cli._options import CompileOptions, RunOptions, SpotOption, WhereOptions
from accrete.cli._placement import make_packing, make_placement, refuse_typed_here
from accrete.cli._request import make_request
from accrete.config.packing import Packing
from accrete.config.placement import Placement
from accrete.config.rules import shown_rule
from accrete.config.run import RunConfig, SourceConfig
from accrete.core.environment import ENV_KFP_CLIENT_ENDPOINT, ENV_KFP_ENDPOINT
from accrete.core.options import Given
from accrete.core.settings import kfp_endpoint, kfp_variable
from accrete.core.units import format_percent
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import (
    Build,
    PipelineRequest,
    check_output,
    compile_to,
    send_plan,
)

if TYPE_CHECKING:
    from accrete.store.settings import StoreSettings

MakeRequest = Callable[[bool], PipelineRequest]
"""Makes the request that a pipeline is for; True: the run stays on this machine."""


def run_command(build: Build) -> click.Command:
    """Return the command that runs a pipeline file."""

    @click.command(name="run", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @takes(RunOptions)
    def run(options: RunOptions) -> None:
        """Train in stages that add classes: through the compiled pipeline, here or on a cluster.

        Without an endpoint everything runs on this machine: KFP's local runner and an embedded S3
        store, both started and stopped by this command; their data stays in ~/.accrete (or
        $ACCRETE_HOME), so the same command continues where it was stopped, and reuses what it can.

        \b
        Examples:
          accrete run
          accrete run --source parquet --data cifar100/ --alpha 0.5
          accrete run --source imagefolder --data s3://bucket/images --endpoint http://kfp:8888
        """
        execute(build, partial(make_request, options), options)

    return run


class PlacedOptions(Protocol):
    """Options of a command that runs a pipeline somewhere."""

    @property
    def where(self) -> Given[WhereOptions]:
        """Here, or on a cluster."""

    @property
    def source(self) -> Given[SourceConfig]:
        """The images."""

    @property
    def cluster(self) -> Given[Placement]:
        """What its steps ask for."""

    @property
    def packing(self) -> Given[Packing]:
        """How its stages are shared out to steps."""

    @property
    def spot(self) -> Given[SpotOption]:
        """Whether spot nodes will do."""


def execute(build: Build, make: MakeRequest, options: PlacedOptions) -> None:
    """Run a pipeline here, or submit it, as the options say.

    Args:
        build: makes the pipeline.
        make: makes the request that it is for.
        options: of the command line.

    Raises:
        ConfigError: an option has no effect there.
    """
    where = options.where.alone()
    endpoint = where.endpoint or kfp_endpoint()
    if endpoint:
        if "runner" in options.where.typed:
            raise ConfigError("--runner has no effect on a run that is submitted: leave it out")
        _run_remotely(build, _sending(make), options, endpoint)
        return
    if kfp_variable(ENV_KFP_CLIENT_ENDPOINT):
        click.echo(
            f"remark: {ENV_KFP_CLIENT_ENDPOINT} is not read, this run stays here: give --endpoint "
            f"or {ENV_KFP_ENDPOINT} to submit it",
            err=True,
        )
    refuse_typed_here(options.where, options.packing)
    if isinstance(options, CompileOptions):
        make_packing(options.packing, options.costs, local=True)
    if "image" in options.cluster.typed and where.runner != "docker":
        raise ConfigError(
            "--image has no effect without --runner docker or --endpoint: leave it out"
        )
    make_placement(options.cluster, options.spot, local=True)  # refused before the store starts
    _run_here(build, make, where.runner)


def _sending(make: MakeRequest) -> MakeRequest:
    """Have the plan of a request in the store before it is submitted."""

    def made(local: bool) -> PipelineRequest:
        request = make(local)
        send_plan(request)
        return request

    return made


def compile_command(build: Build) -> click.Command:
    """Return the command that compiles a pipeline file."""

    @click.command(name="compile", context_settings={"auto_envvar_prefix": ENV_PREFIX})
    @click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        required=True,
        help="File to write, ending in .yaml.",
    )
    @takes(CompileOptions)
    def compile_(options: CompileOptions, output: Path) -> None:
        """Compile the pipeline to KFP's YAML, to upload or to keep.

        \b
        Example:
          accrete compile --source parquet --data s3://bucket/cifar100 --alpha 0.5 -o out.yaml
        """
        check_output(output)
        request = make_request(options, False)
        send_plan(request)
        compile_to(build(request), output)
        assert isinstance(request.config, RunConfig)
        num_stages = len(request.config.plan.stage_sizes)
        click.echo(f"{output}: {num_stages} stages ({shown_rule(request.config.plan.rule)})")

    return compile_


def environment_request() -> PipelineRequest:
    """Return what the environment's ACCRETE_… variables ask for, as for `compile`."""
    command = compile_command(lambda _: None)
    check_environment()
    with command.make_context("compile", ["--output", "unused.yaml"]) as context:
        return _sending(partial(make_request, read(CompileOptions, context)))(False)


def _run_here(build: Build, make: MakeRequest, runner: str) -> None:
    from accrete.store.local import local_store

    with local_store() as settings:
        run_here(build, make(True), settings, runner)


def run_here(
    build: Build, request: PipelineRequest, settings: "StoreSettings", runner: str = "subprocess"
) -> None:
    """Run a pipeline on this machine and say what came of it.

    Args:
        build: makes the pipeline.
        request: what for.
        settings: a store that runs.
        runner: as of `run_locally`.

    Raises:
        AccreteError: as of `run_locally`.
    """
    from accrete.runners.local import run_locally

    folder = run_locally(build, request, settings, runner).folder
    if isinstance(request.config, RunConfig):
        _print_stages(folder)
    click.echo(f"report: {folder / 'report.html'}")
    click.echo(f"log:    {folder / 'run.log'}")


def _run_remotely(build: Build, make: MakeRequest, options: PlacedOptions, endpoint: str) -> None:
    from accrete.runners.kubeflow.client import Kubeflow
    from accrete.runners.kubeflow.resubmission import follow_remote
    from accrete.runners.kubeflow.submission import UnreadRunError, submit

    where = options.where.alone()
    if options.source.values.get("location"):
        refuse_local_data(options.source)
        kubeflow = Kubeflow(endpoint, where.access)  # reading the images may take minutes
        request = make(False)
    else:
        request = make(False)
        kubeflow = Kubeflow(endpoint, where.access)
    submitted = partial(submit, kubeflow, build, request, where.experiment, _remark)
    try:
        run = submitted()
    except UnreadRunError as unread:
        if not where.watch:
            raise
        _remark(f"{unread}; it is followed all the same")
        run = unread.remote
    click.echo(f"submitted {request.run_name}: {run.address}")
    if where.watch:
        follow_remote(kubeflow, run, request, submitted, where.resubmit)


def _remark(words: str) -> None:
    click.echo(f"remark: {words}", err=True)


def _print_stages(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    names = ("classes", "top-1", "old", "new")
    click.echo(f"stage {' '.join(f'{name:>8}' for name in names)} {'images':>10} {'train':>9}")
    for stage in report["stages"]:
        click.echo(
            f"{stage['index']:>5} {stage['num_classes']:>8} {format_percent(stage['top1']):>8} "
            f"{format_percent(stage['top1_old']):>8} {format_percent(stage['top1_new']):>8} "
            f"{stage['images_seen']:>10,} {stage['train_s']:>7.1f} s"
            f"{'  reused' if stage['reused'] else ''}"
        )
    totals = report["totals"]
    click.echo(
        f"{'all':>5} {report['stages'][-1]['num_classes']:>8} {format_percent(totals['top1']):>8} "
        f"{'':>8} {'':>8} {totals['images_seen']:>10,} {totals['train_s']:>7.1f} s"
    )
