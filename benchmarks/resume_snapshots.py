"""`resume.py`, part `snapshots`: the same stage with snapshots and without."""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inputs import one_stage, source_of
from record import shown, summarize, table

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import DatasetManifest
from accrete.config.recipe import Recipe
from accrete.core.processes import available_cpus
from accrete.core.settings import snapshot_interval_s
from accrete.data.prepare import prepare_dataset
from accrete.stages import run as stage
from accrete.stages.run import StageContext, run_stage
from accrete.stages.snapshots import SnapshotWatcher
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreAddress, StoreSettings
from accrete.training.device import compute_device
from accrete.training.distributed import Peers
from accrete.training.image_source import DataMemory
from accrete.training.loop import TrainState

NEVER_S = 1e5
TRIAL_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training a stage took."""

    train_s: float
    """Seconds in the training loop, the last upload's end included."""
    cpu_s: float
    """Processor seconds of all threads, in the whole stage."""
    images_per_s: float
    """Over these seconds."""
    stalls_s: tuple[float, ...]
    """How long the loop stood still for each snapshot."""


class Stages:
    """Trains the same stage, or a longer one, as often as one likes."""

    def __init__(self, options: argparse.Namespace, settings: StoreSettings, folder: Path) -> None:
        """Prepare the data set."""
        self._source = source_of(options, options.source)
        self._model = options.model
        catalog = Catalog(ObjectStore(settings, StoreAddress("accrete", "resume/")))
        plan = one_stage(self._source, self._model).plan
        self.num_images = plan.stages[-1].num_images
        dataset = prepare_dataset(
            self._source, plan, catalog, folder, lambda _: lambda _: None
        ).manifest
        self._dataset = without_tests(dataset)
        self.context = StageContext(
            catalog=catalog,
            cache=NodeCache(folder / "cache", catalog.store),
            memory=DataMemory(num_bytes=4 << 30, num_workers=available_cpus()),
            peers=Peers(compute_device()),
        )
        self._seeds = itertools.count()

    def train(self, budget_epochs: float, interval_s: float) -> Trained:
        """Train a stage that was not trained before: each one has another seed."""
        config = one_stage(self._source, self._model, budget_epochs=budget_epochs)
        (spec,) = stage_chain(replace(config, seed=next(self._seeds)), self._dataset)
        context = replace(self.context, snapshot_interval_s=interval_s)
        started_s = time.process_time()
        with stalls_timed() as stalls_s:
            manifest = run_stage(spec, self._dataset, context).manifest
        return Trained(
            train_s=manifest.times.train_s,
            cpu_s=time.process_time() - started_s,
            images_per_s=manifest.result.images_per_s,
            stalls_s=tuple(stalls_s),
        )


def without_tests(dataset: DatasetManifest) -> DatasetManifest:
    """Return a data set without its test images: evaluating on them is not what is measured."""
    return replace(dataset, classes=tuple(replace(entry, test=()) for entry in dataset.classes))


@contextmanager
def stalls_timed() -> Iterator[list[float]]:
    """Have the stages of a block note the seconds that each snapshot's copy takes."""
    stalls_s: list[float] = []

    class TimedWatcher(SnapshotWatcher):
        def take_state(self, state: TrainState) -> None:
            started = time.perf_counter()
            super().take_state(state)
            stalls_s.append(time.perf_counter() - started)

    stage.SnapshotWatcher = TimedWatcher
    try:
        yield stalls_s
    finally:
        stage.SnapshotWatcher = SnapshotWatcher


def measure(options: argparse.Namespace, settings: StoreSettings, folder: Path) -> dict[str, Any]:
    """Train all pairs and return what snapshots cost."""
    stages = Stages(options, settings, folder)
    budget = _budget_of(options.seconds, stages)
    pairs = []
    for number in range(options.rounds):
        intervals = [NEVER_S, options.interval]
        order = intervals if number % 2 == 0 else intervals[::-1]
        trained = {interval: stages.train(budget, interval) for interval in order}
        pairs.append((trained[NEVER_S], trained[options.interval]))
        print(f"pair {number + 1}: {pairs[-1]}", file=sys.stderr, flush=True)
    return _summary(pairs, budget * stages.num_images)


def _budget_of(seconds: float, stages: Stages) -> float:
    """Return the epochs that take about so many seconds, by trying fewer."""
    budget = TRIAL_STEPS * Recipe().batch_size / stages.num_images
    for part in (0.1, 1.0):
        trial = stages.train(budget, NEVER_S)
        budget = max(budget, part * seconds * trial.images_per_s / stages.num_images)
    return budget


def _summary(pairs: list[tuple[Trained, Trained]], num_images: float) -> dict[str, Any]:
    counted = [(off, on, len(on.stalls_s)) for off, on in pairs if on.stalls_s]
    each_s = [(on.train_s - off.train_s) / count for off, on, count in counted]
    default_s = snapshot_interval_s()
    return {
        "num_images": int(num_images),
        "without_s": summarize(off.train_s for off, _ in pairs),
        "with_s": summarize(on.train_s for _, on in pairs),
        "num_snapshots": summarize(len(on.stalls_s) for _, on in pairs),
        "share": summarize(on.train_s / off.train_s - 1 for off, on in pairs),
        "each_s": summarize(each_s),
        "each_cpu_s": summarize((on.cpu_s - off.cpu_s) / count for off, on, count in counted),
        "share_by_default": summarize(seconds / default_s for seconds in each_s),
        "default_interval_s": default_s,
        "stall_s": summarize(stall_s for _, on in pairs for stall_s in on.stalls_s),
    }


def as_table(result: dict[str, Any]) -> str:
    """Return a table of what snapshots cost."""
    interval_s = result["default_interval_s"]
    rows = [
        ["stage without snapshots, s", shown(result["without_s"], "{:.1f}")],
        ["stage with snapshots, s", shown(result["with_s"], "{:.1f}")],
        ["snapshots in it", shown(result["num_snapshots"], "{:.0f}")],
        ["share of time added", shown(result["share"], "{:.2%}")],
        ["added by each snapshot, s", shown(result["each_s"], "{:.3f}")],
        ["processor seconds added by each", shown(result["each_cpu_s"], "{:.3f}")],
        [f"share at one every {interval_s:g} s", shown(result["share_by_default"], "{:.2%}")],
        ["training loop stood still for each, s", shown(result["stall_s"], "{:.4f}")],
    ]
    return table(["snapshots", "median (quartiles)"], rows)
