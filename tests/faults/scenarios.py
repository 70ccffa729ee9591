"""All scenarios by name, and the workshop that they are tried in."""

import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import damage
import kills
import network
import resources
import together
from trial import Reference, Trial, Verdict, make_reference
from warm import WarmProcesses

from accrete.store.settings import StoreSettings

PREPARING = (
    "accrete.steps.prepare",
    "accrete.steps.train",
    "accrete.data.prepare",
    "minio",
    "pyarrow",
    "sklearn.datasets",
    "attempts",
)
TRAINING = (*PREPARING, "accrete.stages.run")


class Workshop:
    """What tries share: the store, warm processes, the undisturbed run; each made when needed."""

    def __init__(self, settings: StoreSettings, folder: Path) -> None:
        """Use a store, and an empty folder for all that is local."""
        self.settings, self.folder = settings, folder
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @cached_property
    def warm(self) -> WarmProcesses:
        """Processes that have imported all that training needs."""
        return self._held.enter_context(WarmProcesses(TRAINING, self._env))

    @cached_property
    def reference(self) -> Reference:
        """The undisturbed run."""
        return make_reference(self.settings, self.warm, self.folder / "reference")

    @cached_property
    def own_store(self) -> resources.OwnStore:
        """A store that may be ended."""
        return self._held.enter_context(resources.OwnStore(self.folder / "own-store"))

    @cached_property
    def volume_store(self) -> tuple[resources.OwnStore, resources.Volume]:
        """A store on a disk of its own."""
        return self._held.enter_context(resources.own_volume_store(self.folder))

    @cached_property
    def clock(self) -> resources.Clock:
        """The clock of `clock_warm`."""
        return resources.Clock(self.folder / "clock")

    @cached_property
    def clock_warm(self) -> WarmProcesses:
        """The same processes, with a clock that can be set."""
        return self._held.enter_context(WarmProcesses(TRAINING, self._env | self.clock.environment))

    @property
    def _env(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}

    def attempt(self, scenario: "Scenario", seed: int) -> tuple[Verdict, float]:
        """Do one try; return what came of it and its seconds. Its folder stays where it failed."""
        reference, began = self.reference, time.monotonic()
        folder = self.folder / scenario.name.replace(" ", "-") / str(seed)
        trial = Trial(
            scenario.name,
            seed,
            settings=self.settings,
            warm=self.warm,
            folder=folder,
            reference=reference,
        )
        try:
            scenario.run(trial, self)
        except Exception:  # the bench's own failure is not the product's, but hides what it did
            trial.verdict.wrong.append(f"the bench failed: {traceback.format_exc()}")
        finally:
            for attempt in trial.attempts:
                attempt.process.kill()
        if not trial.verdict.wrong and not trial.verdict.lost:
            shutil.rmtree(folder)
        return trial.verdict, time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that happens to a run."""

    name: str
    """For people, and in results."""
    run: Callable[[Trial, Workshop], None]
    """One try of it."""
    why_not: Callable[[], str | None] = lambda: None
    """Says why it cannot be tried here, None where it can."""


def _of(name: str, run: Callable[[Trial], None], **options: Callable[[], str | None]) -> Scenario:
    return Scenario(name, lambda trial, _workshop: run(trial), **options)


SCENARIOS = (
    _of("kill in prepare", kills.kill_in_prepare),
    _of("kill in pull", kills.kill_in_pull),
    _of("kill in training", kills.kill_in_training),
    _of("kill in snapshot", kills.kill_in_snapshot),
    _of("kill in push", kills.kill_in_push),
    _of("kill in publish", kills.kill_in_publish),
    _of("kill inside a step", kills.kill_inside_a_step),
    _of("kill above training", kills.kill_above_training),
    _of("terminate in a second", kills.terminate_in_a_second),
    _of("terminate in time", kills.terminate_in_time),
    _of("store answers 500 and 503", network.failing_store),
    _of("connections cut", network.cut_connections),
    _of("slow network", network.slow_network),
    _of("bad network", network.bad_network),
    _of("store away", network.store_away),
    _of("store away for long", network.store_away_for_long),
    Scenario("store restarted", lambda t, w: resources.store_restarts(t, w.own_store)),
    _of("credentials stop", network.credentials_stop),
    _of("shard damaged in store", damage.damaged_shard),
    _of("checkpoint damaged in store", damage.damaged_checkpoint),
    _of("manifest damaged in store", damage.damaged_manifest),
    _of("run record damaged in store", damage.damaged_record),
    _of("snapshot damaged in store", damage.damaged_snapshot),
    _of("node cache damaged", damage.damaged_cache),
    _of("same stage twice at once", together.twin_stages),
    _of("same data set twice at once", together.twin_prepares),
    _of("retry beside a living attempt", together.retry_beside_the_living),
    _of("retry while publishing", together.retry_while_publishing),
    _of("cache disk full", resources.cache_is_full, why_not=resources.why_no_mounts),
    Scenario(
        "store disk full",
        lambda t, w: resources.store_is_full(t, *w.volume_store),
        resources.why_no_mounts,
    ),
    Scenario(
        "clock jumps",
        lambda t, w: resources.clock_jumps(t, w.clock_warm, w.clock),
        resources.why_no_clock,
    ),
)
