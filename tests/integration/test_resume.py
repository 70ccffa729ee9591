"""A stage that is ended at any moment goes on to the very weights it would have had."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import uuid4

import pytest
import stage_process
from conftest import HANGS_S
from digits import SOURCE
from stage_process import attempt, long_stage

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.data.prepare import prepare_dataset
from accrete.errors import PreemptedError
from accrete.store import keys
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreAddress, StoreSettings

pytestmark = pytest.mark.timeout(7200)

MOST_KILLS = 20
SHORT_S = 0.05
"""Between snapshots, so that a kill meets them in every phase."""

Start = Callable[..., BaseProcess]


@pytest.fixture
def budget_epochs() -> float:
    """How long the stage is."""
    return 30.0


@pytest.fixture
def dataset(catalog: Catalog, tmp_path: Path) -> DatasetManifest:
    plan = long_stage(1.0).plan
    return prepare_dataset(
        SOURCE, plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest


@pytest.fixture
def spec(dataset: DatasetManifest, budget_epochs: float) -> StageSpec:
    (only,) = stage_chain(long_stage(budget_epochs), dataset)
    return only


@pytest.fixture
def start(
    catalog: Catalog, dataset: DatasetManifest, budget_epochs: float, tmp_path: Path
) -> Start:
    """Starts an attempt in a process that is forked from one with torch already imported."""
    context = multiprocessing.get_context("forkserver")
    heavy = ["accrete.stages.run", stage_process.__name__]
    context.set_forkserver_preload(heavy)
    store = catalog.store

    def begin(interval_s: float = SHORT_S) -> BaseProcess:
        how = {"budget_epochs": budget_epochs, "interval_s": interval_s}
        process = context.Process(
            target=attempt,
            args=(store.settings, store.address, dataset.digest),
            kwargs=how | {"cache": str(tmp_path / "cache")},
        )
        process.start()
        return process

    return begin


@pytest.fixture(scope="module")
def train_undisturbed(
    store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[float], StageManifest]:
    """Trains a stage of some length in one go, in another prefix of the store; each once."""
    return cache(partial(train_in_one_go, store_settings, tmp_path_factory))


@pytest.fixture
def undisturbed(
    budget_epochs: float, train_undisturbed: Callable[[float], StageManifest]
) -> StageManifest:
    """The same stage, trained in one go."""
    return train_undisturbed(budget_epochs)


def train_in_one_go(
    store_settings: StoreSettings,
    tmp_path_factory: pytest.TempPathFactory,
    budget_epochs: float,
) -> StageManifest:
    address = StoreAddress("accrete", f"{uuid4().hex}/")
    catalog = Catalog(ObjectStore(store_settings, address))
    tmp_path = tmp_path_factory.mktemp("undisturbed")
    meter = lambda _: lambda _: None  # noqa: E731
    config = long_stage(budget_epochs)
    manifest = prepare_dataset(SOURCE, config.plan, catalog, tmp_path / "work", meter).manifest
    context = multiprocessing.get_context("forkserver")
    how = {"budget_epochs": budget_epochs, "interval_s": 1e5, "cache": str(tmp_path / "other")}
    process = context.Process(
        target=attempt, args=(store_settings, address, manifest.digest), kwargs=how
    )
    process.start()
    process.join(HANGS_S)
    assert process.exitcode == 0
    (spec,) = stage_chain(config, manifest)
    stage = catalog.stage(spec.digest)
    assert stage is not None
    return stage


def snapshots(store: ObjectStore) -> list[str]:
    return store.list_keys("snapshots/")


def wait_for_snapshot(store: ObjectStore, after: int = 0) -> str:
    deadline = time.monotonic() + HANGS_S
    while time.monotonic() < deadline:
        found = [key for key in snapshots(store) if position_of(key) > after]
        if found:
            return found[-1]
        time.sleep(0.02)
    raise AssertionError("no snapshot came")


def position_of(key: str) -> int:
    parsed = keys.parse_snapshot_key(key)
    assert parsed is not None
    return parsed[0]


def finished(start: Start, catalog: Catalog, spec: StageSpec) -> StageManifest:
    """Let one more attempt run to the end."""
    last = start(1e5)
    last.join(HANGS_S)
    assert last.exitcode == 0
    stage = catalog.stage(spec.digest)
    assert stage is not None
    return stage


@pytest.mark.parametrize(
    ("budget_epochs", "num_kills"),
    [(30.0, 3), pytest.param(120.0, MOST_KILLS, marks=pytest.mark.slow)],
)
def test_a_stage_killed_at_any_moments_ends_bit_identical(
    num_kills: int, start: Start, catalog: Catalog, spec: StageSpec, undisturbed: StageManifest
) -> None:
    rng = random.Random(0)
    furthest = [0]
    for _ in range(num_kills):
        process = start()
        if rng.random() < 0.7:  # in training, at any point between two snapshots
            wait_for_snapshot(catalog.store, after=furthest[-1])
            process.join(rng.uniform(0, 0.15))
        else:  # while it pulls, builds and loads
            process.join(rng.uniform(0, 0.5))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "too short a stage to be killed so often"
        furthest += [max(map(position_of, snapshots(catalog.store)), default=furthest[-1])]
    assert furthest == sorted(furthest)  # no attempt lost what one before had stored
    assert len(set(furthest)) > num_kills // 2  # and most got further
    stage = finished(start, catalog, spec)
    assert stage.checkpoint.sha256 == undisturbed.checkpoint.sha256
    assert stage.metrics.sha256 == undisturbed.metrics.sha256
    assert snapshots(catalog.store) == []


@pytest.mark.slow
def test_sigterm_saves_once_more_and_ends_with_a_code_of_its_own(
    start: Start, catalog: Catalog, spec: StageSpec, undisturbed: StageManifest
) -> None:
    process = start(0.5)
    before = position_of(wait_for_snapshot(catalog.store))
    process.terminate()
    process.join(HANGS_S)
    assert process.exitcode == PreemptedError.exit_code == 75
    (saved,) = snapshots(catalog.store)
    assert position_of(saved) > before
    stage = finished(start, catalog, spec)
    assert stage.checkpoint.sha256 == undisturbed.checkpoint.sha256


@pytest.mark.slow
@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"\x7f", lambda data: data[:-1]])
def test_a_damaged_snapshot_is_passed_over(
    damage: Callable[[bytes], bytes],
    start: Start,
    catalog: Catalog,
    spec: StageSpec,
    undisturbed: StageManifest,
) -> None:
    process = start(0.3)
    wait_for_snapshot(catalog.store)
    process.kill()
    process.join()
    key = snapshots(catalog.store)[-1]
    data = catalog.store.read_note(key)
    assert data is not None
    catalog.store.write_note(key, damage(data))
    stage = finished(start, catalog, spec)
    assert stage.checkpoint.sha256 == undisturbed.checkpoint.sha256
