"""A run on this machine: compile, start the steps, follow them, make sure of the result."""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from accrete.catalog.catalog import Catalog
from accrete.catalog.records import check_name_is_free, stages_of
from accrete.catalog.step_documents import StepDocument, parse_document
from accrete.config.rules import shown_rule
from accrete.config.sweep import Sweep
from accrete.core.environment import ENV_HOME, ENV_PROGRESS
from accrete.core.settings import home_path
from accrete.errors import (
    AccreteError,
    RunBusyError,
    RunNotFoundError,
    StepFailedError,
    StoreError,
)
from accrete.monitoring.console import Console
from accrete.runners.local_process import RunnerRequest, start_runner
from accrete.runners.pipeline_file import Build, PipelineRequest, compile_to, send_plan
from accrete.store import keys
from accrete.store.local import describe_store
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

_POLL_S = 0.1
_STOP_TIMEOUT_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRun:
    """Files of a run on this machine."""

    folder: Path
    """Everything below is in it."""

    @property
    def pipeline(self) -> Path:
        """The compiled pipeline."""
        return self.folder / "pipeline.yaml"

    @property
    def log(self) -> Path:
        """All output of KFP and of the steps."""
        return self.folder / "run.log"

    @property
    def progress(self) -> Path:
        """Folder of the steps' documents."""
        return self.folder / "progress"

    @property
    def artifacts(self) -> Path:
        """KFP's artifact root: manifests and reports."""
        return self.folder / "artifacts"


def run_locally(
    build: Build, request: PipelineRequest, settings: StoreSettings, runner: str = "subprocess"
) -> LocalRun:
    """Run a pipeline to its end on this machine.

    Args:
        build: makes the pipeline.
        request: what for.
        settings: a store that runs.
        runner: `subprocess`, or `docker`: each step in a container of the request's image.

    Returns:
        Where the run's files are; its stages and report are in the store and were checked.

    Raises:
        RunNameTakenError: the name stands for another run.
        StepFailedError: a step failed; the message is the step's own.
        StoreError: the store cannot be used.
    """
    store = ObjectStore(settings, parse_store_uri(request.store_uri))
    store.check()
    is_known = check_name_is_free(store, request.run_name, request.config)
    send_plan(request, store)
    run = LocalRun(folder=home_path() / "runs" / request.run_name)
    with _claimed(run) as lock:
        compile_to(build(request), run.pipeline)
        asked = RunnerRequest(
            pipeline=str(run.pipeline),
            arguments={"run_name": request.run_name, "store_uri": request.store_uri},
            artifacts=str(run.artifacts),
            trains=not (is_known and _has_all_stages(store, request.run_name)),
        )
        console = Console()
        console.line(_headline(request, settings, is_known=is_known))
        with _steps_place(run, request, settings, runner) as place:
            asked = replace(asked, containers=place.containers)
            failed = _follow(run, asked, place.store, console, lock)
        console.close()
        if failed:
            raise _failure(run)
        _check_finished(store, request.run_name)
        _save_report(store, request.run_name, run)
    return run


@contextmanager
def _claimed(run: LocalRun) -> Iterator[IO[str]]:
    """Make a run's folder and keep other commands out of it.

    Raises:
        RunBusyError: another command runs it already.
        StoreError: the folder cannot be made.
    """
    try:
        run.progress.mkdir(parents=True, exist_ok=True)
        lock = (run.folder / "lock").open("a")
    except OSError as error:
        raise StoreError(
            f"the state folder {run.folder} cannot be used ({error.strerror}): "
            "set ACCRETE_HOME to a folder that this user can write"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunBusyError(
                f"run {run.folder.name!r} is running in another command: wait for it, "
                "or choose another --name"
            ) from None
        for document in run.progress.iterdir():
            document.unlink()
        yield lock


def _headline(request: PipelineRequest, settings: StoreSettings, *, is_known: bool) -> str:
    config = request.config
    begun = "  continues" if is_known else ""
    if isinstance(config, Sweep):
        what = f"{config.purpose}{begun}  {shown_rule(config.rule)}: {len(config.cells)} cells"
        recipe = config.cells[0].recipe
    else:
        sizes = ", ".join(str(stage.num_classes) for stage in config.plan.stages[:12])
        more = ", …" if len(config.plan.stage_sizes) > 12 else ""
        rule = shown_rule(config.plan.rule)
        what = f"run {request.run_name}{begun}  {rule}, classes by stage: {sizes}{more}"
        recipe = config.recipe
    weights = config.model.weights
    model = config.model.name + (f" from weights {weights.origin}" if weights else "")
    return f"{what}\nmodel {model}, recipe {recipe.name}, store {describe_store(settings)}"


@dataclass(frozen=True, slots=True)
class _StepsPlace:
    """Where the steps run."""

    store: StoreSettings
    """The store as they reach it."""
    containers: dict[str, Any] | None = None
    """What their containers are run with; None: they are processes."""


@contextmanager
def _steps_place(
    run: LocalRun, request: PipelineRequest, settings: StoreSettings, runner: str
) -> Iterator[_StepsPlace]:
    """Make the steps' place."""
    if runner == "subprocess":
        yield _StepsPlace(settings)
        return
    from accrete.runners._containers import container_host

    run.artifacts.mkdir(exist_ok=True)
    run.artifacts.chmod(0o777)
    placement = request.placement
    gpus = placement.wants_gpus
    with container_host(placement.image, settings, run.progress, gpus=gpus) as host:
        yield _StepsPlace(host.settings, host.arguments)


def _follow(
    run: LocalRun, asked: RunnerRequest, store: StoreSettings, console: Console, lock: IO[str]
) -> bool:
    """Run the steps and show how far they are; return whether one failed."""
    env = os.environ | store.as_environment()
    env |= {ENV_PROGRESS: str(run.progress), ENV_HOME: str(home_path()), "PYTHONUNBUFFERED": "1"}
    runner = start_runner(asked, run.log, env, lock)
    try:
        while runner.is_alive():
            console.follow(_documents(run))
            runner.join(_POLL_S)
        console.follow(_documents(run))
    finally:
        _end(runner)
    return runner.exitcode != 0


def _end(runner: BaseProcess) -> None:
    """End what is left of the run's process group."""
    assert runner.pid is not None
    for signum, patience_s in ((signal.SIGTERM, _STOP_TIMEOUT_S), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError):
            os.killpg(runner.pid, signum)
        runner.join(patience_s)
        if not runner.is_alive() and (signum == signal.SIGKILL or not _group_exists(runner.pid)):
            return


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _documents(run: LocalRun) -> list[StepDocument]:
    found = sorted(run.progress.glob("*.json"))
    return [parse_document(path.read_bytes(), str(path)) for path in found]


def _failure(run: LocalRun) -> StepFailedError:
    """Return the failed step's own message and exit code."""
    for document in _documents(run):
        if document.failure:
            return document.failure.as_error()
    return StepFailedError(f"a step ended without a word: see {run.log}")


def _has_all_stages(store: ObjectStore, name: str) -> bool:
    """Return whether nothing is left to be trained of a run that the store knows."""
    catalog = Catalog(store)
    try:
        return all(catalog.stage_manifest(digest) for digest in stages_of(store, name))
    except AccreteError:
        return False  # the steps will tell


def _check_finished(store: ObjectStore, name: str) -> None:
    """Make sure that every stage is there: a runner's word alone is not trusted.

    Raises:
        StepFailedError: a stage's manifest is not there.
    """
    catalog = Catalog(store)
    try:
        stages = stages_of(store, name)
    except RunNotFoundError as error:
        raise StepFailedError(f"run {name!r} was reported as done but has no record") from error
    for digest in dict.fromkeys(stages):
        if catalog.stage(digest) is None:
            raise StepFailedError(
                f"stage {digest[:12]}… was reported as done but is not in the store"
            )


def _save_report(store: ObjectStore, name: str, run: LocalRun) -> None:
    for filename in ("report.html", "report.json", "costs.json"):
        data = store.read_note(keys.report_key(name, filename))
        if data is not None:
            (run.folder / filename).write_bytes(data)
        elif filename.startswith("report"):
            raise StepFailedError(f"run {name!r} is done but has no {filename}")
