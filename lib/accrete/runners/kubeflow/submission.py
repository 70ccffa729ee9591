"""A pipeline becomes one run on Kubeflow: compiled, submitted once, and read again."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from accrete.runners.kubeflow.runs import ENDED, KfpRun, run_of
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


class UnreadRunError(PipelineError):
    """A run was submitted, and cannot be read again now."""

    def __init__(self, message: str, remote: RemoteRun) -> None:
        """Have what is known of it."""
        super().__init__(message)
        self.remote = remote


class UndecidedRunError(PipelineError):
    """Whether a run was submitted cannot be told."""

    def __init__(self, message: str, settle: Callable[[], RemoteRun] | None = None) -> None:
        """Have how it is told later.

        Args:
            message: says it.
            settle: looks for the run by its mark, and submits it where it certainly is not there;
                None: that cannot be told later either.
        """
        super().__init__(message)
        self.settle = settle


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
        UnreadRunError: it is there, and cannot be read now.
        UndecidedRunError: it may be there.
        PipelineError: the service refuses it.
    """
    name = request.run_name
    experiment_id = kubeflow.experiment_id(kfp_variable(ENV_KFP_EXPERIMENT) or experiment)
    mark = f"submitted by accrete ({uuid4().hex[:12]})"
    body = {
        "display_name": name,
        "description": mark,
        "experiment_id": experiment_id,
        "pipeline_spec": specification(build(request)),
        "runtime_config": {"parameters": {"run_name": name, "store_uri": request.store_uri}},
    }
    before = _known(kubeflow, name)
    for other in before or []:
        if other.state not in ENDED:
            page = kubeflow.page_of(other.run_id)
            tell(f"another run {name!r} is {other.state.lower()} on Kubeflow: {page}")
    return _Submission(kubeflow, body, before, tell).made()


def specification(pipeline: Any) -> dict[str, Any]:
    """Return a pipeline as the API takes it: its specification, and what is Kubernetes' own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_to(pipeline, path)
        # libyaml, where it is, takes a tenth of the time: seconds, for the largest pipelines
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        compiled, *platforms = yaml.load_all(path.read_text(), loader)
    spec = {"pipeline_spec": compiled}
    return spec | {"platform_spec": platforms[0]} if platforms else spec


class _Submission:
    """One request to submit, of which one run comes: it is known by its mark."""

    def __init__(
        self, kubeflow: Kubeflow, body: dict[str, Any], before: list[KfpRun] | None, tell: Tell
    ) -> None:
        self._kubeflow, self._body, self._before, self._tell = kubeflow, body, before, tell
        self._name: str = body["display_name"]

    def made(self) -> RemoteRun:
        """Return the run, as it was read again.

        Raises:
            PipelineError: as `submit`.
        """
        try:
            run_id = self._submitted()
            _end_doubles(self._kubeflow, self._body, run_id, self._tell)
        except (KeyboardInterrupt, TerminatedError) as stop:
            raise type(stop)(str(self._undecided("stopped"))) from None
        return self._read(run_id)

    def _read(self, run_id: str) -> RemoteRun:
        page = self._kubeflow.page_of(run_id)
        try:
            run = self._kubeflow.get_run(run_id)
        except (KeyboardInterrupt, TerminatedError) as stop:
            raise type(stop)(f"{self._name} was submitted, and goes on: {page}") from None
        except PipelineError as error:
            run = run_of({"run_id": run_id, "display_name": self._name})
            raise UnreadRunError(
                f"run {run_id} was created, but cannot be read again: {error}; its page is {page}",
                RemoteRun(name=self._name, run=run, address=page),
            ) from None
        if run.name not in ("", self._name):
            other = PipelineError(
                f"Kubeflow Pipelines says that run {run_id} is {run.name!r}, not {self._name!r}"
            )
            other.outcome = "refused"
            raise other
        return RemoteRun(name=self._name, run=run, address=page)

    def _submitted(self) -> str:
        """Return the id of the one run that is made of the body.

        A request without an answer may have been done: who asks again blindly has two runs of one
        name.

        Raises:
            PipelineError: there is none, or it cannot be told.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._kubeflow.create_run(self._body)
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
                looks_s, for_s = _LATE_LOOKS_S, sum(_LATE_LOOKS_S)
                self._tell(
                    f"{lost}; the run is looked for, for {for_s:.0f} s, since it may come late"
                )
            found = self._found_after(lost, looks_s)
            if found is not None:
                return found
            if lost.outcome == "late":
                raise self._undecided(f"{lost}, and there is no such run yet")
            if not may_pass:
                raise type(lost)(f"{lost}; no run was created that could be found")
            if not left:
                raise lost
        raise AssertionError

    def _found_after(self, lost: PipelineError, looks_s: tuple[float, ...]) -> str | None:
        """Return the id of the run that a lost request made, None where it made none."""
        for pause_s in looks_s:
            time.sleep(pause_s)
            try:
                there = self._kubeflow.runs_named(self._name)
            except PipelineAccessError as error:
                raise self._undecided(f"{lost}, and then {error}") from None
            except PipelineError as error:
                raise self._undecided(f"{lost}, and then {error}", lost) from None
            ours = [run for run in there if run.description == self._body["description"]]
            # An API that keeps no description has a run that was not there before.
            if self._before is not None:
                known = {run.run_id for run in self._before}
                ours += [run for run in there if not run.description and run.run_id not in known]
            if ours:
                return ours[0].run_id
        return None

    def _settled(self, lost: PipelineError) -> RemoteRun:
        """Return the run that a lost request made, or make it now."""
        try:
            found = self._found_after(lost, _LATE_LOOKS_S if lost.outcome == "late" else _LOOKS_S)
        except (KeyboardInterrupt, TerminatedError) as stop:
            raise type(stop)(str(self._undecided("stopped"))) from None
        if found is not None:
            return self._read(found)
        if lost.outcome == "late":
            raise self._undecided(f"{lost}, and there is no such run yet")
        return self.made()

    def _undecided(self, why: str, lost: PipelineError | None = None) -> UndecidedRunError:
        return UndecidedRunError(
            f"{why}: it cannot be told whether run {self._name!r} was submitted; look at "
            f"{self._kubeflow.page_of_runs} before you submit it again",
            None if lost is None else partial(self._settled, lost),
        )


def _known(kubeflow: Kubeflow, name: str) -> list[KfpRun] | None:
    """Return the runs of a name; None: who may create runs may not list them."""
    try:
        return kubeflow.runs_named(name)
    except PipelineAccessError:
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
