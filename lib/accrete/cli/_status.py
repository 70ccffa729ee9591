"""`accrete status`: how a run stands, by the object store, and by Kubeflow where it is named."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from accrete.cli._adapter import ENV_PREFIX, takes
from accrete.cli._options import EndpointOptions, StatusOptions
from accrete.core.settings import kfp_endpoint
from accrete.errors import AccreteError, ConfigError, RunNotFoundError

if TYPE_CHECKING:
    from accrete.monitoring.status import RunState
    from accrete.runners.kubeflow.standing import Standing


@click.command(context_settings={"auto_envvar_prefix": ENV_PREFIX})
@click.argument("name", required=False)
@click.option("--store", metavar="URI", help="s3://bucket[/prefix]. [default: s3://accrete]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@takes(StatusOptions)
def status(options: StatusOptions, name: str | None, store: str | None, as_json: bool) -> None:
    """Tell how a run stands, or list the runs: from the object store, wherever they run.

    With --endpoint or $KFP_ENDPOINT a run's name is looked up on Kubeflow too, which knows what has
    not begun, and why it waits.
    """
    from accrete.monitoring.status import list_text, run_states, status_text
    from accrete.store.local import opened_store

    if options.where.typed and name is None:
        raise ConfigError("what says where Kubeflow is has no effect on the list: give a NAME too")
    missing: RunNotFoundError | None = None
    states: list[RunState] = []
    with opened_store(store) as objects:
        try:
            states = run_states(objects, name)
        except RunNotFoundError as error:
            missing = error
    standing, is_unknown = _standing(options.where.alone(), name) if name else (None, False)
    if missing is not None and standing is None:
        raise missing
    if standing is not None:
        if standing.remark:
            click.echo(f"remark: {standing.remark}", err=True)
        standing, state = _merged(states[0] if states else None, standing, str(name))
        states = [state]
    if as_json:
        on_kubeflow = {"kubeflow": standing.as_json()} if standing else {}
        click.echo(json.dumps([state.as_json() | on_kubeflow for state in states], indent=1))
        return
    click.echo(status_text(states[0]) if name else list_text(states))
    if is_unknown and states[0].state in ("running", "stopped"):
        click.echo("  on Kubeflow: no run of this name: it was deleted there, or runs elsewhere")
    if standing is not None:
        place = f"on Kubeflow: {standing.run.state.lower()}, {standing.address}"
        for line in (*standing.waiting, place):
            click.echo(f"  {line}")


def _standing(where: EndpointOptions, name: str) -> tuple["Standing | None", bool]:
    """Return how a run stands on Kubeflow, and whether Kubeflow knows no such run.

    None: no Kubeflow is named, or it does not say, or does not know the run.
    """
    endpoint = where.endpoint or kfp_endpoint()
    if not endpoint:
        return None, False
    from accrete.runners.kubeflow.standing import standing_of

    try:
        standing = standing_of(endpoint, where.access, name)
    except AccreteError as error:
        click.echo(f"remark: by the object store alone: {error}", err=True)
        return None, False
    return standing, standing is None


def _merged(
    state: "RunState | None", standing: "Standing", name: str
) -> tuple["Standing", "RunState"]:
    from accrete.monitoring.status import RunState
    from accrete.runners.kubeflow.standing import is_outlived, merged_state

    known = state or RunState(name=name, state="pending", num_stages=None, documents=[])
    if is_outlived(known, standing.run):
        standing = replace(standing, waiting=())  # what an earlier run was lost of
    return standing, replace(known, state=merged_state(state, standing))
