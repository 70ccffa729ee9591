"""The proxy does to a real store's traffic what its plan says, and nothing where there is none."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proxy import Fault, Plan, Proxy, Request

from accrete.errors import StoreAccessError, StoreError
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings

DATA = bytes(range(256)) * 4096  # 1 MiB


@contextmanager
def through(
    store: ObjectStore, plan: Plan = lambda _request: None
) -> Iterator[tuple[Proxy, ObjectStore]]:
    """The test's store, seen through a proxy."""
    settings = store.settings
    with Proxy(settings.endpoint, plan) as proxy:
        seen = StoreSettings(
            endpoint=proxy.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
        )
        yield proxy, ObjectStore(seen, store.address)


def once(number: int, fault: Fault) -> Plan:
    return lambda request: fault if request.number == number else None


def a_file(tmp_path: Path) -> tuple[ObjectRef, Path]:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return ObjectRef(sha256=hashlib.sha256(DATA).hexdigest(), num_bytes=len(DATA)), path


def test_signed_and_presigned_requests_pass_unchanged(store: ObjectStore, tmp_path: Path) -> None:
    ref, path = a_file(tmp_path)
    with through(store) as (proxy, seen):
        assert seen.push_file(ref, path)
        assert seen.create_note("note", b"first")
        assert not seen.create_note("note", b"second")
        seen.pull_file(ref, tmp_path / "back")
        assert seen.read_range("note", 1, 3) == b"irs"
        assert (
            sorted(seen.list_keys("")) == [f"objects/{ref.sha256[:2]}/{ref.sha256}", "note"][::-1]
        )
        seen.delete("note")
        assert {request.method for request in proxy.requests} == {"HEAD", "PUT", "GET", "DELETE"}
    assert (tmp_path / "back").read_bytes() == DATA
    assert store.read_note("note") is None


def test_an_answer_in_the_store_s_place_never_reaches_the_store(store: ObjectStore) -> None:
    with through(store, lambda _: Fault(status=403)) as (_, seen):
        with pytest.raises(StoreAccessError, match="refuses access"):
            seen.write_note("note", b"data")
        with pytest.raises(StoreAccessError, match="refuses access"):
            seen.create_note("note", b"data")
    assert store.read_note("note") is None
    with through(store, once(1, Fault(status=503))) as (proxy, seen):
        seen.write_note("note", b"data")
        assert [request.method for request in proxy.requests] == ["PUT", "PUT"]
    assert store.read_note("note") == b"data"


@pytest.mark.parametrize("fault", [Fault(body_bytes=500_000), Fault(body_bytes=0)])
def test_a_body_that_is_cut_is_sent_again(fault: Fault, store: ObjectStore, tmp_path: Path) -> None:
    ref, path = a_file(tmp_path)
    with through(store, once(2, fault)) as (proxy, seen):
        assert seen.push_file(ref, path)
        assert [request.num_bytes for request in proxy.requests] == [0, len(DATA), len(DATA)]
    store.pull_file(ref, tmp_path / "back")


def test_a_body_that_is_always_cut_is_never_stored(store: ObjectStore, tmp_path: Path) -> None:
    ref, path = a_file(tmp_path)

    def plan(request: Request) -> Fault | None:
        return Fault(body_bytes=900_000) if request.num_bytes else None

    with through(store, plan) as (_, seen), pytest.raises(StoreError, match="cannot be reached"):
        seen.push_file(ref, path)
    assert store.list_keys("") == []


@pytest.mark.parametrize("answer_bytes", [0, 20, 300_000])
def test_an_answer_that_is_cut_is_asked_for_again(
    answer_bytes: int, store: ObjectStore, tmp_path: Path
) -> None:
    ref, path = a_file(tmp_path)
    store.push_file(ref, path)
    with through(store, once(1, Fault(answer_bytes=answer_bytes))) as (proxy, seen):
        seen.pull_file(ref, tmp_path / "back")
        assert len(proxy.requests) == 2
    assert (tmp_path / "back").read_bytes() == DATA


@pytest.mark.parametrize("answer_bytes", [1, 9, 17, 40, 60, 90, 120, 160, 200])
def test_a_head_that_is_cut_is_no_empty_answer(
    answer_bytes: int, store: ObjectStore, tmp_path: Path
) -> None:
    ref, path = a_file(tmp_path)
    store.push_file(ref, path)
    store.write_note("note", b"words")

    def plan(request: Request) -> Fault | None:
        return Fault(answer_bytes=answer_bytes) if request.number % 2 else None

    with through(store, plan) as (proxy, seen):
        assert seen.read_note("note") == b"words"
        assert seen.read_range("note", 0, 4) == b"word"
        assert seen.has_object(ref)
        assert len(seen.list_keys("")) == 2
        assert not seen.create_note("note", b"others")
        seen.write_note("more", b"words")
        seen.upload("again", path)
        seen.pull_file(ref, tmp_path / "back")
        seen.delete("more")
        seen.check()
        assert len(proxy.requests) > 11  # those eleven, and some of them again


def test_a_fault_s_call_comes_when_so_many_bytes_have_passed(
    store: ObjectStore, tmp_path: Path
) -> None:
    ref, path = a_file(tmp_path)
    called: list[int] = []
    fault = Fault(answer_bytes=0, then=lambda: called.append(1), cut=False)
    with through(store, once(2, fault)) as (_, seen):
        assert seen.push_file(ref, path)
    assert called == [1]


def test_delay_and_throttle_take_their_time(store: ObjectStore, tmp_path: Path) -> None:
    ref, path = a_file(tmp_path)
    with through(store, once(2, Fault(delay_s=0.2, bytes_per_s=4e6))) as (_, seen):
        began = time.monotonic()
        seen.push_file(ref, path)
        assert time.monotonic() - began > 0.2 + len(DATA) / 4e6
    store.pull_file(ref, tmp_path / "back")
