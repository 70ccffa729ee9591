"""A run of the digits whose steps are started one by one, as pods would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from digits import SOURCE, digits_run

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest, StageManifest, dump_dataset
from accrete.catalog.records import dump_record, make_record
from accrete.config.run import RunConfig
from accrete.core.serialization import to_json, without_nones
from accrete.data.prepare import prepare_dataset
from accrete.store._ports import free_ports

PROGRAM = """
import importlib, json, sys
steps = importlib.import_module(f"accrete.steps.{sys.argv[1].removesuffix('_step')}")
print(json.dumps(getattr(steps, sys.argv[1])(**json.loads(sys.argv[2]))))
"""


class Steps:
    """Starts the steps of a run of digits, each in a process as a pod would."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog, self.folder = catalog, folder
        plan = digits_run().plan
        self.dataset: DatasetManifest = prepare_dataset(
            SOURCE, plan, catalog, folder / "work", lambda _: lambda _: None
        ).manifest
        (self.port,) = free_ports(1)
        kept = {name: value for name, value in os.environ.items() if name[:8] != "ACCRETE_"}
        self.env = kept | catalog.store.settings.as_environment()
        self.env |= {"ACCRETE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def train(self, config: RunConfig, **env: str) -> "subprocess.Popen[str]":
        """Start the first training step of a configuration."""
        return self._start("train_step", env, **self.written(config))

    def written(self, config: RunConfig) -> dict[str, Any]:
        """Write that step's artifacts, and return its arguments."""
        chain = stage_chain(config, self.dataset)
        record = make_record("watched", config, self.dataset.digest, chain)
        (self.folder / "dataset").write_bytes(dump_dataset(self.dataset))
        (self.folder / "plan").write_bytes(dump_record(record))
        return {
            "run_name": "watched",
            "store_uri": str(self.catalog.store.address),
            "stages": [1.0],
            "dataset_path": str(self.folder / "dataset"),
            "plan_path": str(self.folder / "plan"),
            "parent_path": None,
            "model_path": str(self.folder / "model"),
        }

    def prepare(self, config: RunConfig, **env: str) -> "subprocess.Popen[str]":
        """Start the step that prepares a configuration's data set."""
        return self._start(
            "prepare_step",
            env,
            config=without_nones(to_json(config)),
            num_stages=len(config.plan.stage_sizes),
            dataset_path=str(self.folder / "dataset"),
            plan_path=str(self.folder / "plan"),
        )

    def spec(self, config: RunConfig) -> StageSpec:
        return stage_chain(config, self.dataset)[0]

    def manifest(self, config: RunConfig) -> StageManifest:
        manifest = self.catalog.stage(self.spec(config).digest)
        assert manifest is not None
        return manifest

    def _start(self, name: str, env: dict[str, str], **arguments: Any) -> "subprocess.Popen[str]":
        arguments |= {"run_name": "watched", "store_uri": str(self.catalog.store.address)}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, name, json.dumps(arguments)],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
