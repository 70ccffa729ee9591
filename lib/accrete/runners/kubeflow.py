"""A run on a cluster: submit the compiled pipeline to Kubeflow Pipelines and follow it."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from accrete.catalog.step_documents import StepDocument, step_documents
from accrete.core.settings import without_user
from accrete.errors import AccreteError, ConfigError, PipelineError, StepFailedError
from accrete.monitoring.console import Console
from accrete.runners.pipeline_file import Build, PipelineRequest, compile_to
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri, store_settings

_POLL_S = 5.0
_ENDED = {"SUCCEEDED", "SKIPPED", "FAILED", "CANCELED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRun:
    """A submitted run."""

    run_id: str
    """Kubeflow's id."""
    address: str
    """Its page in the Kubeflow Pipelines UI."""


class Kubeflow:
    """One Kubeflow Pipelines API."""

    def __init__(self, endpoint: str) -> None:
        """Connect.

        Raises:
            ConfigError: the endpoint is no http address.
            PipelineError: nothing answers there.
        """
        if urlsplit(endpoint).scheme not in ("http", "https") or "@" in endpoint:
            raise ConfigError(
                f"endpoint is {without_user(endpoint)!r}: give http://host:port of the KFP API"
            )
        self._endpoint = endpoint.rstrip("/")
        with self._explained(), warnings.catch_warnings():
            import kfp

            warnings.simplefilter("ignore", FutureWarning)  # about KFP 1, which we do not support
            self._client: Any = kfp.Client(host=self._endpoint)

    def submit(self, build: Build, request: PipelineRequest, experiment: str) -> RemoteRun:
        """Compile and submit a pipeline.

        Raises:
            PipelineError: the service refuses it.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            compile_to(build(request), path)
            # kfp prints addresses of its own, one of them for a UI that may be elsewhere
            with self._explained(), redirect_stdout(StringIO()):
                result = self._client.create_run_from_pipeline_package(
                    str(path),
                    arguments={"run_name": request.run_name, "store_uri": request.store_uri},
                    run_name=request.run_name,
                    experiment_name=experiment,
                    enable_caching=False,
                )
        run_id = str(result.run_id)
        return RemoteRun(run_id=run_id, address=f"{self._endpoint}/#/runs/details/{run_id}")

    def state(self, run_id: str) -> tuple[str, str]:
        """Return a run's state in Kubeflow's words, and its error if it has one."""
        with self._explained():
            run = self._client.get_run(run_id)
        message = getattr(run.error, "message", None) if run.error else None
        return str(run.state or "PENDING"), str(message or "")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the client's errors into one line."""
        import kfp_server_api
        import urllib3

        try:
            yield
        except kfp_server_api.ApiException as error:
            detail = f"{error.status} {error.reason}"
            raise PipelineError(f"Kubeflow Pipelines at {self._endpoint} says {detail}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise PipelineError(
                f"Kubeflow Pipelines at {self._endpoint} cannot be reached "
                f"({type(error).__name__}): check --endpoint"
            ) from error


def follow_remote(kubeflow: Kubeflow, run: RemoteRun, request: PipelineRequest) -> None:
    """Show how far a submitted run is until it ends.

    The steps' own words come from the object store, where this machine can reach it.

    Raises:
        StepFailedError: the run did not succeed.
    """
    console = Console()
    settings = store_settings()
    store = ObjectStore(settings, parse_store_uri(request.store_uri)) if settings else None
    try:
        state, message, documents = _follow_to_end(kubeflow, run, request.run_name, store, console)
    except KeyboardInterrupt:
        console.line(f"{request.run_name} goes on: {run.address}")
        raise
    finally:
        console.close()
    if state != "SUCCEEDED":
        failures = [document.failure for document in documents if document.failure]
        reason = failures[0].error if failures else message or "see its page"
        raise StepFailedError(f"run {request.run_name!r} {state.lower()}: {reason}")


def _follow_to_end(
    kubeflow: Kubeflow, run: RemoteRun, name: str, store: ObjectStore | None, console: Console
) -> tuple[str, str, list[StepDocument]]:
    """Show a run until it ends; return its state, its error and the steps' documents."""
    last_state = ""
    while True:
        state, message = kubeflow.state(run.run_id)
        if state != last_state:
            console.line(f"{name}: {state.lower()}")
            last_state = state
        documents = _documents(store, name)
        console.follow(documents)
        if state in _ENDED:
            return state, message, documents
        time.sleep(_POLL_S)


def _documents(store: ObjectStore | None, name: str) -> list[StepDocument]:
    if store is None:
        return []
    try:
        return step_documents(store, name)
    except AccreteError:
        return []  # not begun, or the store is not to be reached from here
