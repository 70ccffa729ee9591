"""The object store client against a real S3 server."""

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from accrete.core.hashing import sha256_of_bytes
from accrete.errors import (
    BucketMissingError,
    IntegrityError,
    ObjectMissingError,
    StoreAccessError,
    StoreUnreachableError,
)
from accrete.store import keys
from accrete.store._ports import free_ports
from accrete.store.cache import NodeCache
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri


def push(store: ObjectStore, folder: Path, data: bytes) -> ObjectRef:
    path = folder / sha256_of_bytes(data)
    path.write_bytes(data)
    ref = ObjectRef(sha256=sha256_of_bytes(data), num_bytes=len(data))
    store.push_file(ref, path)
    return ref


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_of_eight_racing_creators_exactly_one_wins_and_its_bytes_stay(store: ObjectStore) -> None:
    for attempt in range(5):
        key = f"race/{attempt}.json"
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n, key=key: store.create_note(key, b"%d" % n), range(8)))
        assert won.count(True) == 1
        assert store.read_note(key) == b"%d" % won.index(True)


def test_a_store_that_nobody_holds_any_more_closes_its_connections(store: ObjectStore) -> None:
    """By itself: where the collector comes late, a server would run out of open files."""
    gc.collect()
    gc.disable()
    try:
        before = num_open_files()
        used = ObjectStore(store.settings, store.address)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(used.read_note, ["a", "b", "c", "d"])) == [None] * 4
        used.write_note("a", b"a")
        assert used.create_note("b", b"b")
        assert not used.create_note("b", b"b")
        assert used.list_keys("") == ["a", "b"]
        assert num_open_files() > before
        del used
        assert num_open_files() <= before  # what an earlier test left may close meanwhile
    finally:
        gc.enable()


def test_a_note_that_does_not_exist_reads_as_none(store: ObjectStore) -> None:
    assert store.read_note("nothing/here.json") is None


def test_pushing_the_same_object_again_moves_no_byte(store: ObjectStore, tmp_path: Path) -> None:
    ref = push(store, tmp_path, b"x" * 10_000)
    pushed = store.traffic.pushed_bytes
    assert not store.push_file(ref, tmp_path / ref.sha256)
    assert store.traffic.pushed_bytes == pushed == 10_000


def test_a_large_object_comes_back_bit_for_bit(store: ObjectStore, tmp_path: Path) -> None:
    data = bytes(range(256)) * 80_000  # 20 MB: several parts of a multipart upload
    ref = push(store, tmp_path, data)
    store.pull_file(ref, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data


@pytest.mark.parametrize(
    "stored", [b"y" * 1000, b"x" * 999, b"x" * 1001, b""], ids=["flipped", "short", "long", "empty"]
)
def test_tampered_bytes_are_refused_and_leave_no_file(
    store: ObjectStore, tmp_path: Path, stored: bytes
) -> None:
    ref = push(store, tmp_path, b"x" * 1000)
    store.write_note(keys.object_key(ref.sha256), stored)
    with pytest.raises(IntegrityError, match=ref.sha256[:12]):
        store.pull_file(ref, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_missing_object_is_named(store: ObjectStore, tmp_path: Path) -> None:
    ref = ObjectRef(sha256="ab" * 32, num_bytes=1)
    with pytest.raises(ObjectMissingError, match="abab"):
        store.pull_file(ref, tmp_path / "back")


def test_wrong_credentials_are_told_without_the_secret(store: ObjectStore) -> None:
    settings = StoreSettings(
        endpoint=store.settings.endpoint, access_key="nobody", secret_key="hunter2-hunter2"
    )
    with pytest.raises(StoreAccessError, match=r"'nob…'.*check the credentials") as caught:
        ObjectStore(settings, store.address).check()
    assert "hunter2" not in str(caught.value)
    assert "nobody" not in str(caught.value)


def test_an_unreachable_endpoint_is_told(store: ObjectStore) -> None:
    port = free_ports(1)[0]
    settings = StoreSettings(endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="b")
    with pytest.raises(StoreUnreachableError, match=str(port)):
        ObjectStore(settings, store.address).check()


def test_a_missing_bucket_is_named(store: ObjectStore) -> None:
    missing = ObjectStore(store.settings, parse_store_uri("s3://no-such-bucket"))
    with pytest.raises(BucketMissingError, match="no-such-bucket"):
        missing.check()


def test_listing_stays_below_its_prefix(store: ObjectStore) -> None:
    store.write_note("a/1", b"1")
    store.write_note("a/2", b"2")
    store.write_note("b/1", b"3")
    assert store.list_keys("a/") == ["a/1", "a/2"]


def test_a_range_reads_just_that(store: ObjectStore) -> None:
    store.write_note("range", b"0123456789")
    assert store.read_range("range", 3, 4) == b"3456"


def test_the_cache_fetches_each_object_once(
    store: ObjectStore, cache: NodeCache, tmp_path: Path
) -> None:
    refs = [push(store, tmp_path, bytes([n]) * 100) for n in range(5)]
    cold = cache.fetch(refs)
    warm = cache.fetch([*refs, refs[0]])
    assert (cold.num_hits, cold.pulled_bytes) == (0, 500)
    assert (warm.num_hits, warm.pulled_bytes) == (5, 0)
    assert warm.paths[refs[3].sha256].read_bytes() == b"\x03" * 100


@pytest.mark.parametrize("damage", [b"\x01" * 99, b"\x02" * 100, b""])
def test_a_damaged_cache_file_is_fetched_again(
    store: ObjectStore, cache: NodeCache, tmp_path: Path, damage: bytes
) -> None:
    ref = push(store, tmp_path, b"\x01" * 100)
    path = cache.fetch([ref]).paths[ref.sha256]
    path.write_bytes(damage)
    again = cache.fetch([ref])
    assert again.pulled_bytes == 100
    assert path.read_bytes() == b"\x01" * 100


def test_a_failed_fetch_leaves_nothing_in_the_cache(
    store: ObjectStore, cache: NodeCache, tmp_path: Path
) -> None:
    ref = push(store, tmp_path, b"x" * 100)
    store.write_note(keys.object_key(ref.sha256), b"y" * 100)
    with pytest.raises(IntegrityError):
        cache.fetch([ref])
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
