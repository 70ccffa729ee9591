"""A pipeline becomes one run on Kubeflow: compiled, submitted once, and read again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import yaml

from accrete.core.environment import ENV_KFP_EXPERIMENT
from accrete.core.processes import TerminatedError
from accrete.core.settings import kfp_variable
from accrete.errors import PipelineAccessError, PipelineError, PipelineUnavailableError
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.runs import ENDED, KfpRun
from accrete.runners.pipeline_file import Build, PipelineRequest, compile_to

Tell = Callable[[str], None]

_TRIES = 3
_PAUSE_S = 3.0
_LOOKS_S = (0.5, 1.5, 3.0, 5.0)
_LATE_LOOKS_S = (*_LOOKS_S, 10.0, 20.0, 20.0)
"""A gateway may give up on a request that the API server still works on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRun:
    """A submitted run."""

    name: str
    """Of the run, as its user knows it."""
    run: KfpRun
    """As it was read again after it was submitted."""
    address: str
    """Its page in the Kubeflow Pipelines UI."""


def submit(
    kubeflow: Kubeflow, build: Build, request: PipelineRequest, experiment: str, tell: Tell
) -> RemoteRun:
    """Compile and submit a pipeline; return once the run was read again by its id.

    Args:
        kubeflow: to submit to.
        build: makes the pipeline.
        request: that it is for.
        experiment: of Kubeflow, to have the run in.
        tell: takes remarks, a line each.

    Raises:
        KeyboardInterrupt: who submits stops; it says that the run may be there, as does SIGTERM's.
        PipelineError: the service refuses it.
    """
    name = request.run_name
    experiment_id = kubeflow.experiment_id(kfp_variable(ENV_KFP_EXPERIMENT) or experiment)
    mark = f"submitted by accrete ({uuid4().hex[:12]})"
    body = {
        "display_name": name,
        "description": mark,
        "experiment_id": experiment_id,
        "pipeline_spec": _compiled(build, request),
        "runtime_config": {"parameters": {"run_name": name, "store_uri": request.store_uri}},
    }
    before = _known(kubeflow, name)
    for other in before or []:
        if other.state not in ENDED:
            page = kubeflow.page_of(other.run_id)
            tell(f"another run {name!r} is {other.state.lower()} on Kubeflow: {page}")
    try:
        run_id = _submitted(kubeflow, body, before, tell)
        _end_doubles(kubeflow, body, run_id, tell)
    except (KeyboardInterrupt, TerminatedError) as stop:
        raise type(stop)(str(_untold(kubeflow, body, "stopped"))) from None
    try:
        run = kubeflow.get_run(run_id)
    except PipelineError as error:
        raise type(error)(
            f"run {run_id} was created, but cannot be read again: {error}; its page is "
            f"{kubeflow.page_of(run_id)}"
        ) from None
    if run.name not in ("", name):
        raise PipelineError(
            f"Kubeflow Pipelines says that run {run_id} is {run.name!r}, not {name!r}"
        )
    return RemoteRun(name=name, run=run, address=kubeflow.page_of(run_id))


def _compiled(build: Build, request: PipelineRequest) -> dict[str, Any]:
    """Return the pipeline as the API takes it: its specification, and what is Kubernetes' own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_to(build(request), path)
        # libyaml, where it is, takes a tenth of the time: seconds, for the largest pipelines
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        pipeline, *platforms = yaml.load_all(path.read_text(), loader)
    spec = {"pipeline_spec": pipeline}
    return spec | {"platform_spec": platforms[0]} if platforms else spec


def _submitted(
    kubeflow: Kubeflow, body: dict[str, Any], before: list[KfpRun] | None, tell: Tell
) -> str:
    """Return the id of the one run that is made of a body.

    A request without an answer may have been done: who asks again blindly has two runs of one
    name. Ours is known by its mark.

    Raises:
        PipelineError: there is none, or it cannot be told.
    """
    for left in reversed(range(_TRIES)):
        try:
            return kubeflow.create_run(body)
        except PipelineError as error:
            lost = error
        may_pass = isinstance(lost, PipelineUnavailableError)
        if lost.outcome == "refused":
            if not may_pass or not left:
                raise lost
            time.sleep(_PAUSE_S)
            continue
        looks_s: tuple[float, ...] = _LOOKS_S if may_pass else _LOOKS_S[:2]
        if lost.outcome == "late":
            looks_s = _LATE_LOOKS_S
            tell(f"{lost}; the run is looked for, for {sum(looks_s):.0f} s, since it may come late")
        made = _found_after(kubeflow, body, before, lost, looks_s)
        if made is not None:
            return made
        if lost.outcome == "late":
            raise _untold(kubeflow, body, f"{lost}, and there is no such run yet")
        if not may_pass:
            raise type(lost)(f"{lost}; no run was created that could be found")
        if not left:
            raise lost
    raise AssertionError


def _untold(kubeflow: Kubeflow, body: dict[str, Any], why: str) -> PipelineError:
    return PipelineError(
        f"{why}: it cannot be told whether run {body['display_name']!r} was submitted; look at "
        f"{kubeflow.page_of_runs} before you submit it again"
    )


def _known(kubeflow: Kubeflow, name: str) -> list[KfpRun] | None:
    """Return the runs of a name; None: who may create runs may not list them."""
    try:
        return kubeflow.runs_named(name)
    except PipelineAccessError:
        return None


def _found_after(
    kubeflow: Kubeflow,
    body: dict[str, Any],
    before: list[KfpRun] | None,
    lost: PipelineError,
    looks_s: tuple[float, ...],
) -> str | None:
    """Return the id of the run that a lost request made, None where it made none."""
    name, mark = body["display_name"], body["description"]
    for pause_s in looks_s:
        time.sleep(pause_s)
        try:
            there = kubeflow.runs_named(name)
        except PipelineError as error:
            raise _untold(kubeflow, body, f"{lost}, and then {error}") from None
        ours = [run for run in there if run.description == mark]
        # An API that keeps no description has a run that was not there before.
        if before is not None:
            known = {run.run_id for run in before}
            ours += [run for run in there if not run.description and run.run_id not in known]
        if ours:
            return ours[0].run_id
    return None


def _end_doubles(kubeflow: Kubeflow, body: dict[str, Any], run_id: str, tell: Tell) -> None:
    """Terminate what else was made of the same request: gateways may send it twice."""
    for run in _known_quietly(kubeflow, body["display_name"]):
        if run.description != body["description"] or run.run_id == run_id:
            continue
        what = f"something on the way submitted {run.name} twice: run {run.run_id}"
        try:
            kubeflow.terminate_run(run.run_id)
        except PipelineError as error:
            page = kubeflow.page_of(run.run_id)
            tell(f"{what} goes on beside it ({error}): terminate it at {page}")
        else:
            tell(f"{what} was terminated")


def _known_quietly(kubeflow: Kubeflow, name: str) -> list[KfpRun]:
    try:
        return kubeflow.runs_named(name, patience_s=0)
    except PipelineError:
        return []  # the run is there all the same
