"""A store that is away for a while: who waits, who does not, and what is said of it."""

import hashlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

import pytest
from conftest import HANGS_S
from digits import digits_run
from proxy import Fault, Plan, Proxy, Request
from watched_steps import Steps

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc import collect
from accrete.config.run import ModelConfig
from accrete.core.processes import ending
from accrete.errors import (
    BucketMissingError,
    PreemptedError,
    StoreAccessError,
    StoreError,
    StoreUnreachableError,
)
from accrete.models.networks import build_model
from accrete.monitoring.status import run_states, status_text
from accrete.stages.observer import NULL_OBSERVER
from accrete.stages.snapshots import Pace, SnapshotWatcher
from accrete.store.cache import NodeCache
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri
from accrete.training.loop import TrainState
from accrete.training.optimizer import Sgd

CONTENT = b"what was stored before"


class Gate:
    """Stands before the store; while it is shut every connection is cut."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.is_shut = store, Event()
        self.proxy = Proxy(store.settings.endpoint, self._plan)
        self.told: list[str] = []

    def _plan(self, _request: Request) -> Fault | None:
        return Fault(body_bytes=0) if self.is_shut.is_set() else None

    def shut_for(self, seconds: float) -> None:
        self.is_shut.set()
        timer = Timer(seconds, self.is_shut.clear)
        timer.daemon = True
        timer.start()

    def opened(self, wait_s: float = 60.0) -> ObjectStore:
        """The store behind the gate, asked once in each try, so that a try takes no seconds."""
        settings = replace(self.store.settings, endpoint=self.proxy.endpoint)
        store = ObjectStore(settings, self.store.address, patient=False, wait_s=wait_s)
        store.told_by(self.told.append)
        return store


@pytest.fixture
def gate(store: ObjectStore) -> Iterator[Gate]:
    made = Gate(store)
    with made.proxy:
        yield made


def ref_of(data: bytes) -> ObjectRef:
    return ObjectRef(sha256=hashlib.sha256(data).hexdigest(), num_bytes=len(data))


def pulled(store: ObjectStore, folder: Path) -> bytes:
    store.pull_file(ref_of(CONTENT), folder / "pulled", "before")
    return (folder / "pulled").read_bytes()


def uploaded(store: ObjectStore, folder: Path) -> bytes | None:
    (folder / "file").write_bytes(b"x" * 100)
    heard: list[int] = []
    store.upload("file", folder / "file", heard.append)
    assert sum(heard) == 100
    return store.read_note("file")


Ask = Callable[[ObjectStore, Path], Any]
ASKED: dict[str, tuple[Ask, Any]] = {
    "check": (lambda store, _: store.check(), None),
    "size": (lambda store, _: store.size_of("before"), len(CONTENT)),
    "size of nothing": (lambda store, _: store.size_of("nothing"), None),
    "read": (lambda store, _: store.read_note("before"), CONTENT),
    "range": (lambda store, _: store.read_range("before", 5, 3), CONTENT[5:8]),
    "pull": (pulled, CONTENT),
    "hash": (lambda store, _: store.hash_object("before"), (ref_of(CONTENT).sha256, 22)),
    "list": (lambda store, _: store.list_keys("bef"), ["before"]),
    "write": (lambda store, _: (store.write_note("new", b"1"), store.read_note("new"))[1], b"1"),
    "create": (lambda store, _: store.create_note("new", b"1"), True),
    "create again": (lambda store, _: store.create_note("before", b"1"), False),
    "upload": (uploaded, b"x" * 100),
    "delete": (lambda store, _: (store.delete("before"), store.size_of("before"))[1], None),
    "clock": (lambda store, _: store.bucket.clock().year > 2000, True),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("range", "create", "upload") else pytest.mark.slow)
        for name in ASKED
    ],
)
def test_whatever_is_asked_waits_for_the_store(name: str, gate: Gate, tmp_path: Path) -> None:
    gate.store.write_note("before", CONTENT)
    ask, expected = ASKED[name]
    store = gate.opened()
    gate.shut_for(0.5)
    assert ask(store, tmp_path) == expected
    begun, ended = gate.told
    assert begun.startswith(f"the object store at {gate.proxy.endpoint} cannot be reached (")
    assert begun.endswith("; it is asked again for 1:00 (ACCRETE_STORE_WAIT)")
    assert ended.startswith("the object store answers again, after 0:0")
    assert store.traffic.num_errors == 0


def test_the_wait_has_an_end_and_the_next_request_has_none(gate: Gate) -> None:
    store = gate.opened(wait_s=1.2)
    gate.is_shut.set()
    with pytest.raises(StoreUnreachableError, match="cannot be reached"):
        store.read_note("key")
    num_tries = len(gate.proxy.requests)
    assert num_tries == 3  # at once, after a second, and in the end
    with pytest.raises(StoreUnreachableError):
        store.write_note("key", b"a journal's last word")
    assert len(gate.proxy.requests) == num_tries + 1
    gate.is_shut.clear()
    assert store.read_note("key") is None
    gate.shut_for(0.5)
    assert store.read_note("key") is None  # another outage is waited for again
    assert store.traffic.num_errors == 2
    assert len(gate.told) == 4


def test_without_a_wait_nothing_is_waited_for_or_said(gate: Gate) -> None:
    store = gate.opened(wait_s=0)
    gate.is_shut.set()
    with pytest.raises(StoreUnreachableError):
        store.read_note("key")
    assert len(gate.proxy.requests) == 1
    assert gate.told == []


@pytest.mark.parametrize(
    ("uri", "secret", "error"),
    [("s3://accrete", "wrong", StoreAccessError), ("s3://nobucket", None, BucketMissingError)],
)
def test_a_store_that_says_no_is_not_waited_for(
    uri: str, secret: str | None, error: type[StoreError], gate: Gate
) -> None:
    settings = replace(
        gate.store.settings,
        endpoint=gate.proxy.endpoint,
        secret_key=secret or gate.store.settings.secret_key,
    )
    store = ObjectStore(settings, parse_store_uri(uri), wait_s=60)
    store.told_by(gate.told.append)
    with pytest.raises(error):
        store.read_note("key")
    assert gate.told == []


@pytest.mark.parametrize(
    ("first_line", "words", "waits"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "but what does not speak HTTP: check ACCRETE_S3_ENDPOINT", False),
        (b"\x00\x00\x12\x04\x00\x00", "but what does not speak HTTP", False),  # gRPC
        (b"\x15\x03\x01\x00\x02\x02\x0a", "give https:// if that is its port for TLS", False),
        (b"HTTP/1.", "cannot be reached", True),  # cut off
        (b"", "cannot be reached", True),
    ],
)
def test_what_is_no_store_at_all_is_not_waited_for(
    first_line: bytes, words: str, waits: bool, store: ObjectStore
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as connection:
                        connection.recv(1 << 16)
                        connection.sendall(first_line)

        Thread(target=answer, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        there = ObjectStore(
            replace(store.settings, endpoint=endpoint), store.address, patient=False, wait_s=1
        )
        told: list[str] = []
        there.told_by(told.append)
        with pytest.raises(StoreError, match=words):
            there.check()
        assert bool(told) == waits
        server.shutdown(socket.SHUT_RDWR)


def test_a_store_that_is_too_busy_is_waited_for(gate: Gate) -> None:
    answers = iter([503, 500, None])

    def busy(_request: Request) -> Fault | None:
        status = next(answers, None)
        return None if status is None else Fault(status=status)

    plan: Plan = busy
    gate.proxy.plan = plan
    assert gate.opened().read_note("key") is None
    assert "keeps failing (503" in gate.told[0]
    assert len(gate.told) == 2


def test_all_threads_wait_and_one_says_so(gate: Gate) -> None:
    store = gate.opened()
    gate.shut_for(1.5)
    found: list[bytes | None] = []
    threads = [Thread(target=lambda: found.append(store.read_note("key"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [None] * 8
    assert len(gate.told) == 2


def test_nobody_waits_once_the_process_was_told_to_end(gate: Gate) -> None:
    store = gate.opened()
    gate.is_shut.set()
    Timer(0.3, ending().set).start()
    with pytest.raises(StoreUnreachableError):
        store.read_note("key")


def test_the_background_waits_without_end_until_it_is_released(gate: Gate) -> None:
    store = gate.opened(wait_s=0)
    gate.is_shut.set()
    failed: list[StoreError] = []

    meanwhile = store.in_background()

    def write() -> None:
        for _ in range(2):
            try:
                meanwhile.write_note("key", b"1")
            except StoreError as error:
                failed.append(error)

    thread = Thread(target=write)
    thread.start()
    deadline = time.monotonic() + 60
    while not gate.told and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(StoreUnreachableError):
        store.read_note("key")  # the foreground does as it was told
    assert not failed
    meanwhile.release()
    thread.join(60)
    assert len(failed) == 2  # what it asks then is not waited for either
    gate.shut_for(0.5)
    store.in_background().write_note("key", b"2")
    assert gate.store.read_note("key") == b"2"


def test_a_collection_removes_nothing_after_an_outage(gate: Gate) -> None:
    """Who relies on the store meanwhile may have taken its mark for a dead one's."""
    unnamed = f"objects/ab/ab{'0' * 62}"
    gate.store.write_note(unnamed, b"")
    time.sleep(1.1)  # by the store's clock it is old then
    gate.proxy.plan = lambda each: Fault(status=503) if each.method == "DELETE" else None
    with pytest.raises(StoreError, match="keeps failing"):
        collect(Catalog(gate.opened()), timedelta(0), dead_after_s=4)
    assert gate.store.read_note(unnamed) == b""
    assert sum(each.method == "DELETE" for each in gate.proxy.requests) == 1


@pytest.mark.slow
def test_a_listing_goes_on_where_it_was_cut_off(gate: Gate) -> None:
    names = [f"many/{number:04}" for number in range(1003)]
    for name in names:
        gate.store.write_note(name, b"")
    found = []
    for item in gate.opened().list_objects("many/"):
        found.append(item.key)
        if len(found) == 1000:
            gate.shut_for(0.5)
    assert found == names
    assert len(gate.told) == 2


@pytest.mark.parametrize("is_told_to_end", [False, True])
def test_a_snapshot_on_its_way_when_training_is_done_is_missed_by_nobody(
    is_told_to_end: bool, gate: Gate, catalog: Catalog, tmp_path: Path
) -> None:
    model = build_model(ModelConfig(name="small"), channels=1, num_classes=2, seed=0)
    optimizer = Sgd([], Steps(catalog, tmp_path).spec(digits_run(10)).schedule)
    notices: list[str] = []
    store = gate.opened()
    watcher = SnapshotWatcher(
        "a" * 64, store, NodeCache(tmp_path / "cache", store), pace=Pace(60.0),
        progress=lambda _done, _loss: None, observer=NULL_OBSERVER, notice=notices.append,
    )  # fmt: skip
    gate.is_shut.set()
    expected = pytest.raises(PreemptedError) if is_told_to_end else nullcontext()
    with expected, watcher.watching(model, optimizer):
        watcher.take_state(TrainState(position=1))
        while not gate.told:
            time.sleep(0.01)
        if is_told_to_end:
            os.kill(os.getpid(), signal.SIGTERM)
            watcher.take_state(TrainState(position=2))
    assert [notice.partition(" was not stored")[0] for notice in notices] == (
        ["the snapshot after step 1", "the snapshot after step 2"] if is_told_to_end else []
    )


@pytest.mark.slow
def test_a_step_says_that_it_waits_and_so_does_status(
    gate: Gate, catalog: Catalog, tmp_path: Path
) -> None:
    config = digits_run(10, budget_epochs=20.0)
    steps = Steps(catalog, tmp_path)

    def plan(request: Request) -> Fault | None:
        if request.method == "GET" and "/objects/" in request.path and not gate.told:
            gate.told.append(request.path)
            gate.shut_for(6)
        return gate._plan(request)

    gate.proxy.plan = plan
    env = {"ACCRETE_S3_ENDPOINT": gate.proxy.endpoint, "ACCRETE_STORE_WAIT": "600"}
    process = steps.train(config, **env)
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, out
    assert steps.manifest(config).result.images_seen > 0
    (begun,) = [line for line in out.splitlines() if "cannot be reached" in line]
    assert begun.endswith("; it is asked again for 10:00 (ACCRETE_STORE_WAIT)")
    (state,) = run_states(catalog.store, "watched")
    shown = status_text(state)
    assert begun.partition(" ")[2] in shown
    assert "the object store answers again, after 0:" in shown


@pytest.mark.slow
def test_a_step_that_gave_up_on_its_store_waits_for_it_once(
    gate: Gate, catalog: Catalog, tmp_path: Path
) -> None:
    def plan(request: Request) -> Fault | None:
        if request.method == "GET" and "/objects/" in request.path:
            gate.is_shut.set()  # for good
        return gate._plan(request)

    gate.proxy.plan = plan
    env = {"ACCRETE_S3_ENDPOINT": gate.proxy.endpoint, "ACCRETE_STORE_WAIT": "3"}
    process = Steps(catalog, tmp_path).train(digits_run(10), **env)
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == StoreUnreachableError.exit_code, out
    assert out.count("; it is asked again for ") == 1, out
    assert "Traceback" not in out
