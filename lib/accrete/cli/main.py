"""The `accrete` command. Every expected failure is one line and an exit code."""

import signal
import sys
from pathlib import Path
from typing import Any

import click

from accrete import __version__
from accrete.cli._adapter import ENV_PREFIX
from accrete.cli._data import data
from accrete.cli._environment import check_environment
from accrete.cli._evaluate import evaluate_command
from accrete.cli._life import life
from accrete.cli._model import export, predict
from accrete.cli._plan import plan
from accrete.cli._status import status
from accrete.cli._store import forget, gc, ls, show, verify
from accrete.core.processes import TerminatedError, ending, ignore_language, leave_quickly
from accrete.errors import AccreteError, one_line
from accrete.runners.pipeline_file import load_pipeline_file, shipped_pipeline
from accrete.store import keys

_STOPPED = "stopped; the same command continues from here"


class _PipelineGroup(click.Group):
    """Commands of this package and of the pipeline files that come with it."""

    _from_pipeline = {  # noqa: RUF012  a constant
        "run": ("incremental", "run"),
        "compile": ("incremental", "compile"),
        "extend": ("extend", "run"),
        "watch": ("watch", "run"),
        "compare": ("baseline", "run"),
        "study": ("study", "run"),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._from_pipeline, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._from_pipeline:
            file, attribute = self._from_pipeline[cmd_name]
            module = load_pipeline_file(shipped_pipeline(file))
            command: click.Command = getattr(module, attribute)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=_PipelineGroup,
    commands=[
        *(plan, data, status, predict, evaluate_command, export),
        *(ls, show, life, verify, gc, forget),
    ],
    context_settings={"max_content_width": 100},
)
@click.version_option(__version__, prog_name="accrete")
def accrete() -> None:
    """Train an image classifier in stages that add classes, as a Kubeflow pipeline.

    `accrete run` needs nothing else: it trains on scikit-learn's digits, on this machine.
    """


@accrete.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
@click.argument("name")
@click.option("--step", metavar="STEP", help="One step only, e.g. stage-0003.")
@click.option("--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]")
def logs(name: str, step: str | None, store: str | None) -> None:
    """Print what a run's steps said, attempt by attempt; pods may be long gone."""
    from accrete.monitoring.status import log_texts
    from accrete.store.local import opened_store

    with opened_store(store) as objects:
        for key, text in log_texts(objects, name, step):
            click.echo(f"== {key.removeprefix(keys.log_prefix(name)).removesuffix('.log')}")
            click.echo(text, nl=False)


@accrete.command()
@click.option("--store", is_flag=True, help="Check the object store only, as a step would use it.")
def doctor(store: bool) -> None:
    """Check that this machine, or this pod, can do its part."""
    from accrete.cli._doctor import checks, store_checks

    found = store_checks() if store else checks()
    for check in found:
        click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.what}: {check.detail}")
    if not all(check.ok for check in found):
        sys.exit(1)


def run_pipeline_file(path: Path, arguments: list[str]) -> None:
    """Run a pipeline file's `run` command, as `kfp run FILE.py` does."""
    run_guarded(
        lambda: load_pipeline_file(path).run.main(
            arguments, prog_name=f"kfp run {path}", standalone_mode=False
        )
    )


def main() -> None:
    """Run the `accrete` command."""
    run_guarded(lambda: accrete.main(prog_name="accrete", standalone_mode=False))


def run_guarded(command: Any) -> None:
    """Run a command; turn what can go wrong into one line and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _ctrl_c)
    ignore_language()
    leave_quickly()
    try:
        if not {"--help", "--version"} & set(sys.argv):
            check_environment()
        command()
    except AccreteError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else error.message)
    except click.ClickException as error:
        _fail(f"{error.format_message().rstrip('.')} (see --help)", 2)
    except TerminatedError as stop:
        click.echo(str(stop) or _STOPPED, err=True)
        sys.exit(143)
    except KeyboardInterrupt as stop:
        click.echo(str(stop) or _STOPPED, err=True)
        sys.exit(130)
    except click.Abort as abort:  # click's own for Ctrl-C
        click.echo(str(abort.__cause__ or "") or _STOPPED, err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)


def _interrupt(_signum: int, _frame: object) -> None:
    ending().set()
    raise TerminatedError


def _ctrl_c(_signum: int, _frame: object) -> None:
    ending().set()
    raise KeyboardInterrupt


def _fail(message: str, exit_code: int) -> None:
    click.echo(f"accrete: error: {one_line(message)}", err=True)
    sys.exit(exit_code)
