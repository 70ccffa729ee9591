"""A run made by its steps' own functions, in this process: quick, and to be interfered with."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from accrete.config.planned import split_config
from accrete.config.run import RunConfig
from accrete.steps.prepare import prepare_step
from accrete.steps.train import train_step
from accrete.store.object_store import ObjectStore


def enter_pod(store: ObjectStore, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of a pod, until the test ends."""
    for name, value in store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCRETE_CACHE", str(cache))
    monkeypatch.setenv("ACCRETE_RESTARTS", "0")  # or it would train in a process of its own


def run_by_steps(store: ObjectStore, name: str, config: RunConfig, *, num_stages: int = 0) -> None:
    """Prepare a run's data set and train its first stages."""
    with TemporaryDirectory() as folder:
        dataset, plan = str(Path(folder) / "dataset"), str(Path(folder) / "plan")
        editable, planned = split_config(config)
        prepare_step(
            config=editable,
            planned=planned,
            num_stages=len(config.plan.stage_sizes),
            run_name=name,
            store_uri=str(store.address),
            dataset_path=dataset,
            plan_path=plan,
        )
        if num_stages:
            train_step(
                stages=range(1, num_stages + 1),
                run_name=name,
                store_uri=str(store.address),
                dataset_path=dataset,
                plan_path=plan,
                parent_path=None,
                model_path=str(Path(folder) / "model"),
            )
