"""A cluster for TrainJobs, and a wait for one: what the tests of both share."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from conftest import HANGS_S
from kubernetes_api import Cluster, running_cluster

from accrete.config.placement import Placement
from accrete.core import settings
from accrete.steps._train_job_wait import TrainJobWait
from accrete.steps.train_job import Owner, train_job, train_job_spec
from accrete.steps.train_job_api import TrainJobApi

RUN = "nodes"
PLACEMENT = Placement(gpus=(2,), nodes=(2,))


@contextmanager
def cluster_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that this process is in a pod of."""
    with running_cluster(tmp_path / "account") as (cluster, env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ACCRETE_POD_NAME", "a-step")
        monkeypatch.setenv("ACCRETE_POD_UID", "0-1-2")
        monkeypatch.setenv("ACCRETE_KFP_RUN_ID", "3-4-5")
        monkeypatch.setattr(settings, "SERVICE_ACCOUNT_PATH", str(tmp_path / "account"))
        yield cluster


def job_for_tests(name: str = "accrete-nodes-1-0123456789") -> dict[str, Any]:
    return train_job(
        train_job_spec(PLACEMENT, range(1, 2)),
        name=name,
        namespace="accrete",
        owner=Owner(name="a-step", uid="0-1-2"),
        arguments=[RUN, "1"],
        store_uri="s3://accrete/x",
    )


class Waiting:
    """A wait for a job, in a thread of its own."""

    def __init__(self, wait_s: float = 60, patience_s: float = 60) -> None:
        self.lines: list[str] = []
        self.looks: list[float] = []
        self.error: BaseException | None = None
        api = TrainJobApi(settings.cluster_settings())
        self.wait = TrainJobWait(
            api,
            job_for_tests(),
            wait_s=wait_s,
            patience_s=patience_s,
            say=self.lines.append,
            looked=lambda: self.looks.append(time.monotonic()),
        )
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.wait.until_complete()
        except BaseException as error:
            self.error = error

    def ended(self) -> BaseException | None:
        self.thread.join(HANGS_S)
        assert not self.thread.is_alive(), self.lines
        return self.error


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)
