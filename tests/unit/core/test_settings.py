"""What the environment says."""

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from accrete.config.placement import Placement
from accrete.core import settings
from accrete.errors import ConfigError
from accrete.store.settings import default_store_uri


def test_folders_and_addresses_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCRETE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ACCRETE_STORE", "s3://other/prefix")
    monkeypatch.setenv("ACCRETE_PROGRESS_DIR", str(tmp_path))
    monkeypatch.setenv("ACCRETE_SNAPSHOT_INTERVAL_S", "7.5")
    monkeypatch.setenv("KFP_ENDPOINT", "http://kfp")
    monkeypatch.delenv("ACCRETE_CACHE", raising=False)
    assert settings.home_path() == tmp_path / "home"
    assert settings.cache_path() == tmp_path / "home" / "cache"
    assert default_store_uri() == "s3://other/prefix"
    assert settings.progress_path() == tmp_path
    assert settings.snapshot_interval_s() == 7.5
    assert settings.kfp_endpoint() == "http://kfp"
    monkeypatch.setenv("ACCRETE_CACHE", str(tmp_path / "elsewhere"))
    assert settings.cache_path() == tmp_path / "elsewhere"


def test_empty_environment_has_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ACCRETE_HOME", "ACCRETE_CACHE", "ACCRETE_STORE", "ACCRETE_PROGRESS_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ACCRETE_SNAPSHOT_INTERVAL_S", "KFP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.home_path() == tmp_path / ".accrete"
    assert default_store_uri() == "s3://accrete"
    assert settings.progress_path() is None
    assert settings.snapshot_interval_s() == 60
    assert settings.kfp_endpoint() is None


def test_home_that_is_relative_becomes_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCRETE_HOME", "state")
    assert settings.home_path() == tmp_path / "state"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("ACCRETE_SNAPSHOT_INTERVAL_S", settings.snapshot_interval_s),
        ("ACCRETE_STORE_LINGER_S", settings.store_linger_s),
    ],
)
@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_seconds_that_are_no_time_are_refused(
    text: str, name: str, read: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"{name} is '{text}': give seconds"):
        read()


@pytest.mark.parametrize("seconds", ["0", "900", "1000000", "2592000"])
def test_a_wait_for_the_store_that_can_be_compiled_can_be_run(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Placement(gpus=(1,), store_wait_s=int(seconds)).store_wait_s == int(seconds)
    monkeypatch.setenv("ACCRETE_STORE_WAIT", seconds)
    assert settings.store_wait_s() == int(seconds)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e3", "0.5", "2592001"])
def test_a_wait_for_the_store_is_whole_seconds_of_a_month(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCRETE_STORE_WAIT", text)
    with pytest.raises(ConfigError, match=f"STORE_WAIT is '{text}': give whole seconds from 0 to"):
        settings.store_wait_s()
    with suppress(ValueError), pytest.raises(ConfigError, match="seconds to wait for the store is"):
        Placement(gpus=(1,), store_wait_s=int(text))


def test_the_embedded_store_lingers_for_a_minute_unless_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ACCRETE_STORE_LINGER_S")
    assert settings.store_linger_s() == 60
    monkeypatch.setenv("ACCRETE_STORE_LINGER_S", "0")
    assert settings.store_linger_s() == 0


@pytest.mark.parametrize(("text", "expected"), [(None, None), ("", None), ("1", 1), ("64", 64)])
def test_number_of_training_processes_comes_from_the_environment(
    text: str | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACCRETE_PROCESSES", raising=False)
    if text is not None:
        monkeypatch.setenv("ACCRETE_PROCESSES", text)
    assert settings.training_processes() == expected


@pytest.mark.parametrize("text", ["0", "65", "-1", "2.0", "two", " 2", "²"])
def test_number_of_training_processes_that_cannot_be_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCRETE_PROCESSES", text)
    match = f"ACCRETE_PROCESSES is {text!r}: give a number from 1 to 64"
    with pytest.raises(ConfigError, match=match):
        settings.training_processes()


@pytest.mark.parametrize(
    ("in_pod", "host"),
    [(None, "127.0.0.1"), ("10.0.0.1", "0.0.0.0")],  # noqa: S104
)
def test_metrics_are_served_on_loopback_and_in_a_pod_on_every_interface(
    in_pod: str | None, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if in_pod is not None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", in_pod)
    monkeypatch.delenv("ACCRETE_METRICS_PORT", raising=False)
    assert settings.metrics_address() is None
    monkeypatch.setenv("ACCRETE_METRICS_PORT", "9464")
    assert settings.metrics_address() == (host, 9464)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "9464.0", ":9464", "http", "²"])
def test_metrics_port_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCRETE_METRICS_PORT", text)
    match = re.escape(f"ACCRETE_METRICS_PORT is {text!r}: give a port from 1 to 65535")
    with pytest.raises(ConfigError, match=match):
        settings.metrics_address()


@pytest.mark.parametrize(
    ("text", "url", "username", "password"),
    [
        ("http://gateway:9091", "http://gateway:9091", None, None),
        ("http://gateway:9091/", "http://gateway:9091", None, None),
        ("https://gateway/some/path/", "https://gateway/some/path", None, None),
        ("https://me:p%40ss@gateway:1", "https://gateway:1", "me", "p@ss"),
        ("http://me@[::1]:9091", "http://[::1]:9091", "me", None),
    ],
)
def test_pushgateway_is_an_address_with_or_without_credentials(
    text: str,
    url: str,
    username: str | None,
    password: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ACCRETE_PUSHGATEWAY", raising=False)
    assert settings.pushgateway_settings() is None
    monkeypatch.setenv("ACCRETE_PUSHGATEWAY", text)
    found = settings.pushgateway_settings()
    assert found == settings.PushgatewaySettings(url=url, username=username, password=password)
    assert password is None or password not in repr(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gateway:9091", "gateway:9091"),
        ("ftp://gateway", "ftp://gateway"),
        ("http://", "http://"),
        ("http://gateway:port", "http://gateway:port"),
        ("http://gateway?job=x", "http://gateway?job=x"),
        ("ftp://me:secret@gateway", "…@gateway"),
        ("http://me:secret@gateway:port", "…@gateway:port"),
        ("http://me:sec@ret@", "…@"),
    ],
)
def test_pushgateway_that_is_no_address_is_refused_without_its_credentials(
    text: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCRETE_PUSHGATEWAY", text)
    match = re.escape(f"ACCRETE_PUSHGATEWAY is {shown!r}: give http://[user:password@]host:port")
    with pytest.raises(ConfigError, match=match):
        settings.pushgateway_settings()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ACCRETE_CACHE", "/cache", False),
        ("ACCRETE_FETCH_AHEAD", "0", False),
        ("ACCRETE_FETCH_AHEAD", "", False),
        ("ACCRETE_FETCH_AHEAD", "1", True),
        ("ACCRETE_PROGRESS_DIR", "/somewhere", True),
    ],
)
def test_next_stage_is_fetched_in_a_local_run_or_where_the_cache_is_a_volume(
    name: str, value: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("ACCRETE_CACHE", "ACCRETE_FETCH_AHEAD", "ACCRETE_PROGRESS_DIR"):
        monkeypatch.delenv(other, raising=False)
    assert settings.fetches_ahead() is False
    monkeypatch.setenv(name, value)
    assert settings.fetches_ahead() is expected


def test_place_among_peers_is_the_one_that_torchrun_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert settings.peer_place() == (5, 1, 8)
