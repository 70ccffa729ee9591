"""`resume.py`, part `kills`: a stage that is killed again and again, and one that is not."""

import argparse
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from inputs import one_stage
from record import table

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.config.run import SourceConfig
from accrete.data.prepare import prepare_dataset
from accrete.errors import AccreteError
from accrete.store.cache import NodeCache
from accrete.store.keys import parse_snapshot_key, snapshot_prefix
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreAddress, StoreSettings

SOURCE = SourceConfig(kind="digits")
SNAPSHOT_S = 0.05
"""Between snapshots, so that a kill meets them in every phase."""
NEVER_S = 1e5
EPOCHS_PER_KILL = 8.0
"""Training between two kills that no attempt gets through; 1,438 images an epoch."""
WAIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a process of its own is to do."""

    settings: StoreSettings
    """Of the store."""
    address: StoreAddress
    """Of this run of the stage in it."""
    dataset: str
    """Digest of the data set."""
    cache: str
    """Folder of the node cache."""
    budget_epochs: float
    """Of the stage."""
    interval_s: float
    """Between snapshots."""


def run_attempt(attempt: Attempt) -> None:
    """Run the stage from where the last attempt left it; exit as a step does."""
    from accrete.stages.run import StageContext, run_stage
    from accrete.training.image_source import DataMemory

    catalog = Catalog(ObjectStore(attempt.settings, attempt.address))
    manifest = catalog.dataset(attempt.dataset)
    context = StageContext(
        catalog=catalog,
        cache=NodeCache(Path(attempt.cache), catalog.store),
        memory=DataMemory(num_bytes=1 << 30, num_workers=1),
        snapshot_interval_s=attempt.interval_s,
    )
    try:
        run_stage(only_stage(manifest, attempt.budget_epochs), manifest, context)
    except AccreteError as error:
        sys.exit(error.exit_code)


def only_stage(manifest: DatasetManifest, budget_epochs: float) -> StageSpec:
    """Return the stage: fp32, since each run would choose for itself; all ten digits."""
    config = one_stage(SOURCE, "small", budget_epochs=budget_epochs, precision="fp32")
    (spec,) = stage_chain(config, manifest)
    return spec


class Victim:
    """One run of the stage, in a prefix of the store and with a cache of its own."""

    def __init__(
        self, name: str, budget_epochs: float, settings: StoreSettings, folder: Path
    ) -> None:
        """Prepare the digits there."""
        self._address = StoreAddress("accrete", f"kills/{name}/")
        self._settings, self._cache = settings, folder / name
        self._budget_epochs = budget_epochs
        self._catalog = Catalog(ObjectStore(settings, self._address))
        plan = one_stage(SOURCE, "small").plan
        self._dataset = prepare_dataset(
            SOURCE, plan, self._catalog, folder / "work", lambda _: lambda _: None
        ).manifest
        self._stage = only_stage(self._dataset, budget_epochs).digest

    def start(
        self, interval_s: float, run: Callable[..., None] = run_attempt, *more: Any
    ) -> BaseProcess:
        """Start an attempt, forked from a process that has torch imported already.

        Args:
            interval_s: between snapshots.
            run: what the process does; called with an `Attempt` and what else is given.
            more: picklable.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["accrete.stages.run"])
        attempt = Attempt(
            settings=self._settings,
            address=self._address,
            dataset=self._dataset.digest,
            cache=str(self._cache),
            budget_epochs=self._budget_epochs,
            interval_s=interval_s,
        )
        process = context.Process(target=run, args=(attempt, *more))
        process.start()
        return process

    def finish(self) -> StageManifest:
        """Let one more attempt run to the end.

        Raises:
            RuntimeError: it failed.
        """
        process = self.start(NEVER_S)
        process.join(WAIT_S)
        manifest = self._catalog.stage(self._stage)
        if process.exitcode != 0 or manifest is None:
            raise RuntimeError(f"an attempt that nobody disturbed ended with {process.exitcode}")
        return manifest

    def position(self) -> int:
        """Return the step of the furthest snapshot, 0 where there is none."""
        listed = self._catalog.store.list_keys(snapshot_prefix(self._stage))
        return max((parsed[0] for key in listed if (parsed := parse_snapshot_key(key))), default=0)

    def wait_beyond(self, position: int, process: BaseProcess) -> None:
        """Wait for a snapshot further than this, or for the attempt's end."""
        deadline = time.monotonic() + WAIT_S
        while process.is_alive() and time.monotonic() < deadline:
            if self.position() > position:
                return
            time.sleep(0.02)


def kill_often(victim: Victim, num_kills: int) -> list[int]:
    """Kill attempts at random moments; return the furthest snapshot after each kill.

    The list is shorter than num_kills where an attempt was done before it was killed.
    """
    rng = random.Random(0)
    positions: list[int] = []
    for _ in range(num_kills):
        process = victim.start(SNAPSHOT_S)
        if rng.random() < 0.7:  # in training, at any point between two snapshots
            victim.wait_beyond(positions[-1] if positions else 0, process)
            process.join(rng.uniform(0, 0.15))
        else:  # while it pulls, builds and loads
            process.join(rng.uniform(0, 0.5))
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            break
        positions.append(victim.position())
    return positions


def measure(options: argparse.Namespace, settings: StoreSettings, folder: Path) -> dict[str, Any]:
    """Run the stage with kills and without, and compare."""
    epochs = EPOCHS_PER_KILL * (options.kills + 1)
    killed = Victim("killed", epochs, settings, folder)
    positions = kill_often(killed, options.kills)
    ended = killed.finish()
    undisturbed = Victim("undisturbed", epochs, settings, folder).finish()
    return {
        "kills": len(positions),
        "attempts": len(positions) + 1,
        "num_steps": ended.schedule.num_steps,
        "positions": positions,
        "checkpoint_sha256": ended.checkpoint.sha256,
        "undisturbed_sha256": undisturbed.checkpoint.sha256,
        "identical": ended.checkpoint == undisturbed.checkpoint
        and ended.metrics == undisturbed.metrics,
    }


def as_table(result: dict[str, Any]) -> str:
    """Return a table of how often the stage was killed and how it ended."""
    rows = [
        ["kills", str(result["kills"])],
        ["attempts", str(result["attempts"])],
        ["steps of the stage", f"{result['num_steps']:,}"],
        ["different steps that were saved last", str(len(set(result["positions"])))],
        ["checkpoint and metrics identical", "yes" if result["identical"] else "NO"],
    ]
    return table(["kills", ""], rows)
