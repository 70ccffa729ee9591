"""What `accrete doctor --store` says of stores that lack something, or keep more than is wanted.

Behind the proxy is SeaweedFS, and what it is made to lack is what a store of somebody else lacks.
"""

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from conftest import Cli
from minio.commonconfig import ENABLED, GOVERNANCE
from minio.objectlockconfig import ObjectLockConfig
from minio.versioningconfig import SUSPENDED, VersioningConfig
from proxy import Fault, Plan, Proxy, Request, reply, s3_error, without
from seaweed import ADMIN, SeaweedServer, seaweed_server, store_of
from test_store_answers import answering

from accrete.store.object_store import ObjectStore
from accrete.store.proving import prove
from accrete.store.settings import parse_store_uri

ALL = (
    *("clock", "writing", "ranges", "deleting", "large objects", "creating once", "checksums"),
    "versions",
)


def found(store: ObjectStore) -> dict[str, tuple[bool, str]]:
    return {each.what: (each.ok, each.detail) for each in prove(store)}


def test_a_store_that_can_all_is_told_so_and_left_as_it_was(store: ObjectStore) -> None:
    said = found(store)
    assert tuple(said) == ALL
    assert all(ok for ok, _ in said.values()), said
    assert store.list_keys("") == ["doctor/create-only"]


def stale() -> Plan:
    """Reads answer what was there at first: a cache that does not learn of writes."""
    kept: list[bytes] = []

    def plan(request: Request) -> Fault | None:
        if request.method == "GET" and "/doctor/" in request.path and "?" not in request.path:
            if kept:
                return Fault(answer=reply(200, b"written by accrete doctor", etag='"1"'))
            kept.append(b"")
        return None

    return plan


def whole(request: Request) -> Fault | None:
    """A store, or what is before it, that answers a range with the whole object."""
    if request.header("range") is None:
        return None
    return Fault(answer=reply(200, b"and overwritten at once", etag='"1"'))


def unlisted(request: Request) -> Fault | None:
    """A listing that is behind."""
    empty = (
        "<ListBucketResult><Name>accrete</Name><IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    is_listing = "list-type" in request.path
    return Fault(answer=reply(200, empty, content_type="application/xml")) if is_listing else None


def kept(request: Request) -> Fault | None:
    """Deletions that are not done yet."""
    return Fault(answer=reply(204)) if request.method == "DELETE" else None


def no_parts(request: Request) -> Fault | None:
    """A store without uploads in parts."""
    asked = request.method == "POST"
    return Fault(answer=s3_error(501, "NotImplemented")) if asked else None


def at(**off: float) -> Plan:
    """A store whose clock is off."""

    def plan(request: Request) -> Fault | None:
        date = format_datetime(datetime.now(UTC) + timedelta(**off), usegmt=True)
        asked = request.method == "GET" and request.path.endswith("doctor/create-only")
        return Fault(answer=s3_error(404, "NoSuchKey", date=date)) if asked else None

    return plan


def overlooking(request: Request) -> Fault | None:
    """A store that knows no If-None-Match."""
    return Fault(rewrite=without("if-none-match")) if request.method == "PUT" else None


def together(*plans: Plan) -> Plan:
    """The first plan that has something to say of a request."""

    def plan(request: Request) -> Fault | None:
        return next(filter(None, (each(request) for each in plans)), None)

    return plan


@pytest.mark.parametrize(
    ("plan", "lacks"),
    [
        (
            together(whole, no_parts, overlooking, kept, at(minutes=-7)),
            {
                "clock": r"^this machine's is 4\d\d s ahead of the store's, and from 900 s on",
                "ranges": r"answered a request for 11 bytes with all of it: images are read by r",
                "large objects": r"^not tried, since nothing that is written here can be deleted",
                "creating once": r"overwrites an object that it was asked to create only where",
                "deleting": r"is still there just after it was deleted: a run needs a store that",
            },
        ),
        (
            together(unlisted, at(hours=1), no_parts),
            {
                "large objects": r"the store answered NotImplemented: by plan$",
                "clock": r"^this machine's is 3,\d\d\d s behind the store's, and from 900 s on",
                "writing": r"is not in the listing just after it was written: a run needs a store",
            },
        ),
        pytest.param(
            stale(),
            {"writing": r"reads as something else just after it was written: a run needs"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_store_lacks_is_a_line_that_says_what_to_do(
    plan: Plan, lacks: dict[str, str], store: ObjectStore
) -> None:
    with answering(store, plan) as (seen, _):
        said = found(seen)
    assert tuple(said) == ALL
    for what, words in lacks.items():
        ok, detail = said[what]
        assert not ok
        assert re.search(words, detail), detail
        assert "\n" not in detail
    if "clock" in lacks:
        assert {what for what, (ok, _) in said.items() if not ok} == set(lacks)


@pytest.mark.slow
def test_a_clock_that_is_a_little_off_is_a_remark(store: ObjectStore) -> None:
    with answering(store, at(seconds=100)) as (seen, _):
        ok, detail = found(seen)["clock"]
    assert ok
    assert detail.endswith("behind the store's; from 900 s on requests are refused")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    with seaweed_server(tmp_path_factory.mktemp("keeping")) as running:
        yield running


@pytest.fixture
def keeping(server: SeaweedServer, request: pytest.FixtureRequest) -> ObjectStore:
    """A bucket that keeps old versions; `locked`: and every object for 30 days."""
    name = str(request.param)
    client = store_of(server, ADMIN)._client
    if not client.bucket_exists(name):
        client.make_bucket(name, object_lock=name == "locked")
        client.set_bucket_versioning(name, VersioningConfig(ENABLED))
        if name == "locked":
            client.set_object_lock_config(name, ObjectLockConfig(GOVERNANCE, 30, "Days"))
    return ObjectStore(store_of(server, ADMIN).settings, parse_store_uri(f"s3://{name}/runs"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keeping", "words"),
    [
        ("versioned", "the bucket keeps what is deleted or overwritten as old versions: `accrete"),
        ("locked", "object lock keeps every object for 30 days, and what is deleted or"),
    ],
    indirect=["keeping"],
)  # fmt: skip
def test_a_bucket_that_keeps_more_is_told_and_takes_all(keeping: ObjectStore, words: str) -> None:
    said = found(keeping)
    assert all(ok for ok, _ in said.values()), said
    assert said["versions"][1].startswith(words)


@pytest.mark.slow
@pytest.mark.parametrize("keeping", ["suspended"], indirect=True)
def test_versions_from_before_a_suspension_are_told(keeping: ObjectStore) -> None:
    suspended = VersioningConfig(SUSPENDED)
    keeping._client.set_bucket_versioning(keeping.address.bucket, suspended)
    assert found(keeping)["versions"][1].startswith("new ones are not kept, but those from before")


@pytest.mark.slow
@pytest.mark.parametrize("keeping", ["versioned"], indirect=True)
def test_gc_says_that_nothing_is_freed(keeping: ObjectStore, cli: Cli) -> None:
    keeping.write_note(f"objects/00/{'0' * 64}", b"nobody's")
    while keeping.list_objects("objects/").__next__().modified_at >= keeping.bucket.clock():
        time.sleep(0.1)  # both are whole seconds
    env = keeping.settings.as_environment() | {"ACCRETE_STORE": str(keeping.address)}
    for option, verb in (((), "would remove"), (("--delete",), "removed")):
        done = cli("gc", "--keep", "0s", *option, **env)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{verb} 1 objects; 8 bytes in all\n")
        assert done.stdout.endswith(
            "the bucket keeps what is deleted as old versions: nothing is freed before those "
            "expire (docs/store.md)\n"
        )


@pytest.mark.slow
def test_where_versions_are_nobody_s_to_ask_that_is_said(store: ObjectStore) -> None:
    def plan(request: Request) -> Fault | None:
        asked = request.path.endswith("?versioning=")
        return Fault(answer=s3_error(403, "AccessDenied")) if asked else None

    with answering(store, plan) as (seen, _):
        assert found(seen)["versions"] == (
            True,
            "whether old ones are kept is not to be told (s3:GetBucketVersioning)",
        )


@pytest.mark.slow
def test_doctor_exits_with_an_error_where_one_thing_lacks(
    store: ObjectStore, cli: Cli, tmp_path: Path
) -> None:
    with Proxy(store.settings.endpoint, overlooking) as proxy:
        endpoint = proxy.endpoint
        done = cli("doctor", "--store", ACCRETE_S3_ENDPOINT=endpoint)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("ok    store: s3://accrete")
    assert f" at {endpoint}, region us-east-1" in lines[0]
    assert [line[:6].strip() for line in lines].count("FAIL") == 1
    assert "FAIL  store, creating once: the object store at" in done.stdout


def test_a_run_is_refused_before_any_work_where_two_would_overwrite_each_other(
    store: ObjectStore, cli: Cli
) -> None:
    with Proxy(store.settings.endpoint, overlooking) as proxy:
        done = cli("run", "--name", "first", ACCRETE_S3_ENDPOINT=proxy.endpoint)
    assert done.returncode == 3
    assert "it overlooks If-None-Match" in done.stderr.splitlines()[-1]
    assert not store.list_keys("datasets/")
    assert not store.list_keys("objects/")
