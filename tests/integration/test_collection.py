"""Collecting what no run names, on a real store, while runs begin and go on."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from by_steps import enter_pod, run_by_steps
from conftest import HANGS_S
from digits import digits_run

from accrete.catalog import gc
from accrete.catalog.catalog import Catalog
from accrete.catalog.gc import collect, find_collection, forget_run, keys_of_run
from accrete.catalog.gc_mark import CollectionMark, CollectionWatch
from accrete.catalog.inventory import read_inventory
from accrete.catalog.verification import Verification, verify_store
from accrete.errors import IntegrityError, RunNotFoundError, StoreError
from accrete.stages import _outputs
from accrete.steps import prepare
from accrete.store import keys
from accrete.store.object_store import ObjectStore

NOTHING, DAY = timedelta(0), timedelta(days=1)
SMALL = digits_run(2, 2, only_classes=("0", "1", "2", "3"), budget_epochs=1.0)

Run = Callable[..., None]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Makes a run by its prepare."""
    enter_pod(store, tmp_path / "cache", monkeypatch)
    return lambda name, config=SMALL, **options: run_by_steps(store, name, config, **options)


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparations that are under way protect nothing: only the mark does."""
    monkeypatch.setattr(gc, "_begun_at", lambda *_: [])


def remains(catalog: Catalog) -> set[str]:
    aside = {keys.collection_key(), keys.create_only_key()}
    return set(catalog.store.list_keys("")) - aside


def collect_soon(catalog: Catalog) -> None:
    """Collect all that no run names, written up to now: the store's clock has whole seconds."""
    time.sleep(1.1)
    collect(catalog, NOTHING, dead_after_s=4)


def forget(store: ObjectStore, name: str) -> None:
    forget_run(store, name, keys_of_run(store, name))


def verified(catalog: Catalog) -> Verification:
    inventory = read_inventory(catalog)
    return verify_store(catalog, inventory, inventory.references())


@pytest.mark.slow
def test_what_a_run_names_stays_and_goes_with_the_run(run: Run, catalog: Catalog) -> None:
    run("kept", num_stages=2)
    before = remains(catalog)
    longer = digits_run(2, 2, only_classes=("0", "1", "2", "3"), budget_epochs=2.0)
    run("other", longer, num_stages=1)
    collect_soon(catalog)
    assert len(remains(catalog)) == len(before) + 1 + 2 + 5  # stage, its objects, run with logs
    forget(catalog.store, "other")
    collect_soon(catalog)
    assert remains(catalog) == before
    assert verified(catalog).damages == ()
    forget(catalog.store, "kept")
    collect_soon(catalog)
    assert remains(catalog) == set()


def test_nothing_young_goes_and_nothing_at_all_by_default(run: Run, catalog: Catalog) -> None:
    run("gone", num_stages=1)
    forget(catalog.store, "gone")
    before = remains(catalog)
    time.sleep(1.1)
    assert {item.key for item in find_collection(catalog, NOTHING).all} == before
    assert collect(catalog, DAY, dead_after_s=4).all == ()
    assert remains(catalog) == before


@pytest.mark.slow
def test_a_young_manifest_protects_the_old_objects_that_it_names(
    run: Run, catalog: Catalog
) -> None:
    run("gone", num_stages=1)
    (key,) = catalog.store.list_keys(keys.stage_prefix())
    data = catalog.store.read_note(key)
    forget(catalog.store, "gone")
    time.sleep(6.1)
    assert data is not None
    catalog.store.write_note(key, data)
    collect(catalog, timedelta(seconds=5), dead_after_s=4)
    assert catalog.stage(key.split("/")[1]) is not None


def test_only_the_newest_snapshot_of_a_stage_to_be_finished_stays(
    run: Run, catalog: Catalog
) -> None:
    run("half", num_stages=1)
    finished, unfinished = next(iter(read_inventory(catalog).runs.values())).stages
    found = {
        (stage, position): keys.snapshot_key(stage, position, "0" * 64, 4)
        for stage in (finished, unfinished, "f" * 64)
        for position in (10, 20)
    }
    for key in found.values():
        catalog.store.write_note(key, b"snap")
    collect_soon(catalog)
    assert catalog.store.list_keys("snapshots/") == [found[unfinished, 20]]


def test_a_damaged_record_ends_it_before_anything_goes(run: Run, catalog: Catalog) -> None:
    run("damaged")
    run("gone", digits_run(2, only_classes=("8", "9")))
    forget(catalog.store, "gone")
    catalog.store.write_note(keys.run_key("damaged"), b"{}")
    before = remains(catalog)
    with pytest.raises(
        IntegrityError, match=r"nothing was removed, since .*runs/damaged/run\.json"
    ):
        collect_soon(catalog)
    assert remains(catalog) == before
    run("after")  # waits for no collector: the one that failed has taken its mark away


def test_what_a_preparation_under_way_found_is_kept_for_it(
    run: Run, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("first")
    forget(catalog.store, "first")
    before = set(catalog.store.list_keys(keys.object_prefix()))
    claim, times = prepare._claim, []

    def late_claim(*arguments: object) -> bytes:
        if not times:
            collect_soon(catalog)
        times.append(time.monotonic())
        assert set(catalog.store.list_keys(keys.object_prefix())) == before
        return claim(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "_claim", late_claim)
    run("second")
    assert len(times) == 2  # to be sure
    assert verified(catalog).damages == ()


@pytest.mark.usefixtures("unheard")
def test_a_data_set_that_goes_before_its_run_is_named_is_prepared_again(
    run: Run, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("first")
    forget(catalog.store, "first")
    claim, times = prepare._claim, []

    def late_claim(*arguments: object) -> bytes:
        """Claim the name after a collection took the data set that was found."""
        if not times:
            collect_soon(catalog)
            assert catalog.store.list_keys(keys.object_prefix()) == []
        times.append(time.monotonic())
        return claim(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "_claim", late_claim)
    run("second")
    assert len(times) == 2
    assert verified(catalog).damages == ()
    assert verified(catalog).num_objects > 0


@pytest.mark.usefixtures("unheard")
@pytest.mark.slow
def test_a_run_that_begins_in_the_midst_of_a_collection_waits_and_has_all(
    run: Run, catalog: Catalog
) -> None:
    run("first")
    forget(catalog.store, "first")
    others: list[Thread] = []

    def begin_a_run(_done: int, _total: int) -> None:
        if not others:
            others.append(Thread(target=run, args=("second",)))
            others[0].start()
            time.sleep(3)

    time.sleep(1.1)
    assert collect(catalog, NOTHING, report=begin_a_run, dead_after_s=20).all
    others[0].join(HANGS_S)
    assert not others[0].is_alive()
    found = verified(catalog)
    assert found.damages == ()
    assert found.num_objects > 0


def test_what_a_stage_pushed_is_pushed_again_if_it_went(
    run: Run, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    push, pushed = _outputs._push, []

    def slow_push(*arguments: object) -> object:
        """Push, and let a collection take what was pushed."""
        ref = push(*arguments)  # type: ignore[arg-type]
        pushed.append(ref)
        if len(pushed) == 2:
            collect_soon(catalog)
            assert not catalog.store.has_object(ref)
        return ref

    monkeypatch.setattr(_outputs, "_push", slow_push)
    run("run", num_stages=1)
    assert len(pushed) == 4
    assert verified(catalog).damages == ()


@pytest.mark.slow
@pytest.mark.usefixtures("unheard")
@pytest.mark.parametrize("seed", [0, 1])
def test_runs_that_come_and_go_among_collections_lack_nothing(
    run: Run, catalog: Catalog, seed: int
) -> None:
    """Three writers and a collector without mercy, until enough has come and gone."""
    sources = [digits_run(2, only_classes=("0", str(other))) for other in range(1, 10)]
    ends_at, begun, removed = time.monotonic() + HANGS_S, [0, 0, 0], [0]

    def is_over() -> bool:
        return (min(begun) >= 3 and removed[0] > 0) or time.monotonic() > ends_at

    def come_and_go(writer: int) -> None:
        draws = random.Random(f"{seed}-{writer}")
        while not is_over():
            name = f"run-{writer}-{begun[writer]}"
            run(name, draws.choice(sources))
            begun[writer] += 1
            if draws.random() < 0.8:
                forget(catalog.store, name)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(come_and_go, writer) for writer in range(3)]
        while not is_over():
            removed[0] += len(collect(catalog, NOTHING, dead_after_s=8).all)
            time.sleep(0.5)
        for writer in writers:
            writer.result()
    assert min(begun) >= 3
    assert removed[0] > 0
    assert verified(catalog).damages == ()


@pytest.mark.slow
def test_two_collections_do_not_run_at_once(catalog: Catalog) -> None:
    mark = CollectionMark(catalog.store, dead_after_s=6)
    beating = Thread(target=lambda: [time.sleep(0.4) or mark._renew() for _ in range(12)])
    beating.start()
    with pytest.raises(StoreError, match="another collection is at work"):
        CollectionMark(catalog.store, dead_after_s=6)
    beating.join()
    mark.end()
    CollectionMark(catalog.store, dead_after_s=6).end()


@pytest.mark.slow
def test_a_killed_collector_s_mark_holds_nobody_for_long(catalog: Catalog) -> None:
    CollectionMark(catalog.store, dead_after_s=4)
    watch = CollectionWatch(catalog.store, dead_after_s=4)
    assert not watch.was_disturbed()
    began = time.monotonic()
    assert not watch.was_disturbed()
    assert time.monotonic() - began < 3  # it was seen for long enough by now
    CollectionMark(catalog.store, dead_after_s=4).end()
    assert watch.was_disturbed()
    assert not watch.was_disturbed()


def test_a_collector_that_was_held_up_removes_nothing_more(catalog: Catalog) -> None:
    mark = CollectionMark(catalog.store, dead_after_s=1)
    time.sleep(0.6)
    with pytest.raises(StoreError, match="was held up for 1 s"):
        mark.beat()


@pytest.mark.slow
def test_a_collector_whose_mark_another_took_over_ends(catalog: Catalog) -> None:
    mark = CollectionMark(catalog.store, dead_after_s=2)
    CollectionMark(catalog.store, dead_after_s=2)
    with pytest.raises(StoreError, match="another collection began"):
        mark._renew()


def test_a_running_run_is_not_forgotten_and_an_unknown_one_is_told(
    run: Run, catalog: Catalog
) -> None:
    run("done")
    assert keys_of_run(catalog.store, "done")[0] == keys.run_key("done")
    with pytest.raises(RunNotFoundError, match="no run 'never'"):
        keys_of_run(catalog.store, "never")
