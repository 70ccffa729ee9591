"""One try of a scenario: a prefix of the store and a node cache of its own, and the verdict.

What is tried is always the same small run: handwritten digits of four classes in two stages, the
second one long enough to be killed in. Most tries begin with a copy of the store as an undisturbed
run left it, before the second stage.
"""

import dataclasses
import io
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from attempts import Done, read_lives, read_notes
from audit import Audit, read_all, wrong_in_cache
from minio import Minio
from proxy import Plan, Proxy
from warm import WarmProcess, WarmProcesses

from accrete.config.plan import Plan as StagePlan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.environment import ENV_CACHE, ENV_SNAPSHOT_INTERVAL, ENV_STORE_WAIT
from accrete.core.serialization import to_json
from accrete.data.sources.opening import open_source
from accrete.data.splits import training_counts
from accrete.store.settings import StoreSettings

BUCKET, RUN = "accrete", "faults"
NUM_STEPS = 45
"""Of the second stage."""
INTERVAL_S = 0.08
"""Between snapshots, so that a kill meets them in every phase."""
TIMEOUT_S = 600.0
"""After which an attempt counts as hung."""
_ERROR = re.compile(r"^accrete: error: (.+)$", re.MULTILINE)


def small_run() -> RunConfig:
    """Two stages of two classes each; the second has 45 steps, about half a second."""
    source = SourceConfig(kind="digits", only_classes=("0", "1", "2", "3"))
    counts = training_counts(open_source(source).counts(), source)
    plan = StagePlan(
        rule="two and two classes",
        class_order=tuple(counts),
        class_images=tuple(counts.values()),
        stage_sizes=(2, 2),
    )
    recipe = Recipe(flip="none", epochs=(2.0, 10.0), precision="fp32")
    return RunConfig(
        source=source, plan=plan, model=ModelConfig(name="small", width=0.25), recipe=recipe
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What an undisturbed run left."""

    prepared: dict[str, bytes]
    """The store once the data set is prepared, by key; logs left out."""
    parent: dict[str, bytes]
    """The same after the first stage."""
    whole: dict[str, bytes]
    """After the second."""
    prepare_requests: int
    """Requests that preparing takes."""
    prepare_s: float
    """Seconds of it."""
    train_s: float
    """Seconds of the second stage, from the start of its process."""
    artifacts: Path
    """Folder with the steps' files: `dataset`, `plan` and `model-1`."""

    @property
    def stage(self) -> str:
        """Key of the second stage's manifest."""
        (key,) = {key for key in self.whole if key.startswith("stages/")} - set(self.parent)
        return key

    @property
    def stage_objects(self) -> set[str]:
        """SHA-256 of the objects that the second stage stored."""
        new = set(self.whole) - set(self.parent)
        return {key.rpartition("/")[2] for key in new if key.startswith("objects/")}


@dataclass(slots=True)
class Verdict:
    """What a try came to."""

    struck: bool = True
    """Whether what was to happen did happen."""
    lost: list[str] = field(default_factory=list)
    """Work of more than an interval, or data; one line each."""
    wrong: list[str] = field(default_factory=list)
    """Bytes, weights, unexplained errors; one line each."""
    errors: list[str] = field(default_factory=list)
    """The errors that attempts ended with."""
    repeated_steps: int = 0
    """Steps that were done and had to be done again."""


@dataclass(slots=True)
class Attempt:
    """A step's process, and where its notes are."""

    process: WarmProcess
    notes: Path
    cache: Path


class Trial:
    """One try."""

    def __init__(
        self,
        name: str,
        seed: int,
        *,
        settings: StoreSettings,
        warm: WarmProcesses,
        folder: Path,
        reference: Reference | None = None,
    ) -> None:
        """Use a fresh prefix of the store and an empty folder."""
        self.rng = random.Random(f"{name} {seed}")
        self.settings, self.warm, self.folder = settings, warm, folder
        self.prefix = f"{re.sub('[^a-z]+', '-', name)}-{seed}-{uuid4().hex[:8]}/"
        self.verdict = Verdict()
        self._reference = reference
        self._num_attempts = 0
        self.attempts: list[Attempt] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def reference(self) -> Reference:
        """What the undisturbed run left."""
        assert self._reference is not None
        return self._reference

    @property
    def client(self) -> Minio:
        """A client of the store that no proxy stands before."""
        return Minio(
            self.settings.endpoint.removeprefix("http://"),
            access_key=self.settings.access_key,
            secret_key=self.settings.secret_key,
            secure=False,
            region=self.settings.region,
        )

    @property
    def cache(self) -> Path:
        """The node cache that attempts use unless another is named."""
        return self.folder / "cache"

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Store objects as they are."""
        client = self.client
        for key, data in objects.items():
            client.put_object(BUCKET, self.prefix + key, io.BytesIO(data), len(data))

    def stored(self) -> dict[str, bytes]:
        """Return all objects of this try, by key; what steps say of themselves left out."""
        found = read_all(self.client, BUCKET, self.prefix)
        return {
            key: data for key, data in found.items() if "/steps/" not in key and "/logs/" not in key
        }

    def delete(self, key: str) -> None:
        """Delete an object."""
        self.client.remove_object(BUCKET, self.prefix + key)

    @contextmanager
    def proxy(self, plan: Plan = lambda _request: None) -> Iterator[Proxy]:
        """Put a proxy before the store."""
        with Proxy(self.settings.endpoint, plan) as proxy:
            yield proxy

    def prepare(self, proxy: Proxy | None = None, **options: Any) -> Attempt:
        """Start the step that prepares."""
        arguments = {
            "config": to_json(small_run()),
            "num_stages": 2,
            "dataset_path": str(self.folder / "dataset"),
            "plan_path": str(self.folder / "plan"),
        }
        return self._start("prepare", arguments, proxy, **options)

    def train(
        self,
        proxy: Proxy | None = None,
        *,
        stage: int = 2,
        artifacts: Path | None = None,
        **options: Any,
    ) -> Attempt:
        """Start the step that trains a stage, by default the second."""
        files = artifacts or self.reference.artifacts
        arguments = {
            "notes": str(self.folder / f"notes-{self._num_attempts}"),
            "stages": [float(stage)],
            "dataset_path": str(files / "dataset"),
            "plan_path": str(files / "plan"),
            "parent_path": None if stage == 1 else str(files / "model-1"),
            "model_path": str(self.folder / f"model-{stage}"),
        }
        return self._start("train", arguments, proxy, **options)

    def _start(
        self,
        task: str,
        arguments: dict[str, Any],
        proxy: Proxy | None,
        *,
        cache: Path | None = None,
        settings: StoreSettings | None = None,
        run_name: str = RUN,
        warm: WarmProcesses | None = None,
        wait_s: int = 0,
    ) -> Attempt:
        settings = settings or self.settings
        if proxy is not None:
            settings = dataclasses.replace(settings, endpoint=proxy.endpoint)
        self._num_attempts += 1
        number = self._num_attempts
        env = settings.as_environment() | {
            ENV_CACHE: str(cache or self.cache),
            ENV_SNAPSHOT_INTERVAL: str(INTERVAL_S),
            ENV_STORE_WAIT: str(wait_s),
        }
        where = {"run_name": run_name, "store_uri": f"s3://{BUCKET}/{self.prefix.rstrip('/')}"}
        process = (warm or self.warm).start(
            f"attempts:{task}",
            arguments | where,
            env=env,
            output=self.folder / f"output-{number}.txt",
        )
        notes = Path(arguments.get("notes", self.folder / "none"))
        attempt = Attempt(process, notes, cache or self.cache)
        self.attempts.append(attempt)
        return attempt

    def done(self, attempt: Attempt) -> Done:
        """Return what a training attempt did so far."""
        return read_notes(attempt.notes, INTERVAL_S)

    def wait_for_steps(self, attempt: Attempt, lives: int = 1) -> bool:
        """Wait until an attempt trains, for the n-th time; return False where it ended before."""
        while not attempt.process.ended.is_set():
            if len(self.lives(attempt)) >= lives:
                return True
            time.sleep(0.01)
        return len(self.lives(attempt)) >= lives

    def lives(self, attempt: Attempt) -> list[Done]:
        """Return what each process did that trained for an attempt."""
        return read_lives(attempt.notes, INTERVAL_S)

    def ended(self, attempt: Attempt) -> int:
        """Wait for an attempt's end and return its exit code; one that hangs is wrong."""
        code = attempt.process.wait(TIMEOUT_S)
        if code is None:
            attempt.process.kill()
            attempt.process.wait(10)
            self.verdict.wrong.append(f"hung: {attempt.process.printed()[-300:]!r}")
            return -9
        self._check_words(attempt)
        return code

    def _check_words(self, attempt: Attempt) -> None:
        printed = attempt.process.printed()
        if "Traceback" in printed:
            self.verdict.wrong.append(f"a traceback: {printed[-600:]!r}")

    def error(self, attempt: Attempt, *causes: str) -> str:
        """Return the line that an attempt failed with; it must name one of the causes."""
        self.ended(attempt)
        found = _ERROR.findall(attempt.process.printed())
        line = found[-1] if found else ""
        # The names that the bench gives are no explanation.
        said = line.replace(self.prefix, "").replace(str(self.folder), "…")
        self.verdict.errors.append(said)
        if len(found) != 1 or attempt.process.code not in (1, 2, 3, 4, 75):
            self.verdict.wrong.append(f"exit code {attempt.process.code} with {len(found)} errors")
        if not any(re.search(cause, said) for cause in causes):
            self.verdict.wrong.append(f"an error that names no cause: {line!r}")
        return line

    def well(self, attempt: Attempt) -> None:
        """Hold that an attempt ends well."""
        code = self.ended(attempt)
        if code != 0:
            self.verdict.wrong.append(f"exit code {code}: {attempt.process.printed()[-600:]!r}")

    def well_or(self, attempt: Attempt, *causes: str) -> bool:
        """Hold that an attempt ends well, or with an error that names one of the causes."""
        if self.ended(attempt) == 0:
            return True
        self.error(attempt, *causes)
        return False

    def compare_attempts(self, before: Attempt, after: Attempt) -> None:
        """Hold that an attempt goes on from what the one before it, now ended, had stored."""
        earlier, later = self.done(before), self.done(after)
        if later.first is None:
            return
        if earlier.first is not None:
            repeated = earlier.last - later.first
            self.verdict.repeated_steps = max(self.verdict.repeated_steps, repeated)
            if later.first < earlier.saved:
                self.verdict.lost.append(
                    f"snapshot {earlier.saved} was stored, the next attempt began at {later.first}"
                )
        if earlier.unsaved_s > earlier.longest_step_s + 0.05:
            self.verdict.lost.append(
                f"trained {earlier.unsaved_s:.2f} s with a snapshot due and none on its way"
            )

    def compare_lives(self, attempt: Attempt) -> None:
        """Hold that each process of an attempt went on from what the one before had stored."""
        for earlier, later in pairwise(self.lives(attempt)):
            assert earlier.first is not None
            assert later.first is not None
            repeated = earlier.last - later.first
            self.verdict.repeated_steps = max(self.verdict.repeated_steps, repeated)
            if later.first < max(earlier.saved, earlier.first):
                self.verdict.lost.append(
                    f"snapshot {earlier.saved} was stored, and training began at {later.first}"
                )

    def conclude(self, *, trained: bool = True, injured: bool = False, tidy: bool = False) -> None:
        """Check the store, the caches, and that the result is the undisturbed run's.

        Args:
            trained: whether the second stage must exist; otherwise only the data set.
            injured: whether bytes were damaged on purpose in a way that may stay where it is.
            tidy: whether the last attempt could delete the snapshots, so that none may be left.
        """
        objects = self.stored()
        if not injured:
            self.verdict.wrong += Audit(objects).wrong
            for cache in {attempt.cache for attempt in self.attempts}:
                self.verdict.wrong += wrong_in_cache(cache)
        expected = self.reference.whole if trained else self.reference.prepared
        for key, data in expected.items():
            if injured and key.startswith("runs/"):
                continue
            found = objects.get(key)
            if found is None:
                self.verdict.lost.append(f"{key} is not stored")
            elif not key.startswith("stages/") and found != data:
                self.verdict.wrong.append(f"{key} is not the undisturbed run's")
        extra = {key for key in objects if key.startswith(("objects/", "stages/", "datasets/"))}
        if tidy:
            extra |= {key for key in objects if key.startswith("snapshots/")}
        for key in sorted(extra - set(self.reference.whole)):
            self.verdict.wrong.append(f"{key} is nothing that the undisturbed run stored")


def make_reference(settings: StoreSettings, warm: WarmProcesses, folder: Path) -> Reference:
    """Run everything once without disturbance.

    Raises:
        RuntimeError: it failed.
    """
    trial = Trial("reference", 0, settings=settings, warm=warm, folder=folder)
    stores: list[dict[str, bytes]] = []
    seconds = []
    with trial.proxy() as proxy:
        for start in (
            lambda: trial.prepare(proxy),
            lambda: trial.train(stage=1, artifacts=folder),
            lambda: trial.train(stage=2, artifacts=folder),
        ):
            began = time.monotonic()
            trial.well(start())
            seconds.append(time.monotonic() - began)
            stores.append(trial.stored())
    if trial.verdict.wrong or Audit(stores[-1]).wrong:
        raise RuntimeError(f"the undisturbed run failed: {trial.verdict.wrong}")
    return Reference(
        prepared=stores[0],
        parent=stores[1],
        whole=stores[2],
        prepare_requests=len(proxy.requests),
        prepare_s=seconds[0],
        train_s=seconds[2],
        artifacts=folder,
    )
