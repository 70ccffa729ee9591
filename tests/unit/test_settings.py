"""What the environment says: store addresses, credentials, folders."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from accrete import settings
from accrete.credentials import exposed_to
from accrete.errors import ConfigError
from accrete.settings import StoreAddress, StoreSettings, parse_store_uri, store_settings

ENV = {
    "ACCRETE_S3_ENDPOINT": "http://127.0.0.1:8333/",
    "ACCRETE_S3_ACCESS_KEY": "somebody",
    "ACCRETE_S3_SECRET_KEY": "very-secret",
}


def make_settings(endpoint: str) -> StoreSettings:
    """Return the settings of a store at an endpoint."""
    return StoreSettings(endpoint=endpoint, access_key="somebody", secret_key="very-secret")


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://accrete", "accrete", ""),
        ("s3://accrete/", "accrete", ""),
        ("s3://accrete/a", "accrete", "a/"),
        ("s3://accrete/a/b/", "accrete", "a/b/"),
    ],
)
def test_store_uri_is_a_bucket_and_a_prefix(uri: str, bucket: str, prefix: str) -> None:
    address = parse_store_uri(uri)
    assert address == StoreAddress(bucket, prefix)
    assert parse_store_uri(str(address)) == address
    assert str(address) == uri.rstrip("/")


@pytest.mark.parametrize(
    "uri", ["", "accrete", "/images/x", "s3:", "s3://", "s3:///key", "http://a", "s3://[a/b"]
)
def test_store_uri_of_another_form_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"store is {uri!r}: give s3://bucket")):
        parse_store_uri(uri)


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:8333", "https://s3.example.com", "http://[::1]:9000", "http://minio:9000/"],
)
def test_endpoint_of_http_or_https_is_accepted(endpoint: str) -> None:
    assert make_settings(endpoint).endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    ["", "127.0.0.1:8333", "s3://x", "ftp://x", "http://", "http://host/path", "http://[::1"],
)
def test_endpoint_of_another_form_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"store endpoint is {endpoint!r}: give")):
        make_settings(endpoint)


def test_repr_hides_both_keys() -> None:
    text = repr(make_settings("http://host:1"))
    assert "http://host:1" in text
    assert "somebody" not in text
    assert "very-secret" not in text


@pytest.mark.parametrize(
    ("key", "shown"), [("AKIAIOSFODNN7EXAMPLE", "'AKIA…'"), ("abcd", "'ab…'"), ("a", "'…'")]
)
def test_messages_show_at_most_the_first_letters_of_an_access_key(key: str, shown: str) -> None:
    settings = StoreSettings(endpoint="http://host", access_key=key, secret_key="b")
    assert settings.shown_access_key == shown


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_endpoint_with_credentials_in_it_is_refused_without_them(scheme: str) -> None:
    with pytest.raises(ConfigError, match=r"credentials in it \(…@host\): give") as caught:
        make_settings(f"{scheme}://somebody:very-secret@host:1")
    assert "very-secret" not in str(caught.value)
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://me:very-secret@bucket", "http://me:very-secret@host/bucket"])
def test_store_uri_with_credentials_in_it_is_refused_without_them(uri: str) -> None:
    with pytest.raises(ConfigError, match="store is '…@") as caught:
        parse_store_uri(uri)
    assert "very-secret" not in str(caught.value)


FILES = ("ACCRETE_S3_ACCESS_KEY", "ACCRETE_S3_SECRET_KEY")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  \n\n"])
def test_credentials_come_from_files_too(end: str, tmp_path: Path) -> None:
    env = {"ACCRETE_S3_ENDPOINT": ENV["ACCRETE_S3_ENDPOINT"]}
    for name in FILES:
        path = tmp_path / name
        path.write_text(ENV[name] + end)
        env[f"{name}_FILE"] = str(path)
    assert store_settings(env) == store_settings(ENV)


@pytest.mark.parametrize("name", FILES)
def test_credential_in_a_variable_and_in_a_file_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} and {name}_FILE are both set: set one") as error:
        store_settings(ENV | {f"{name}_FILE": str(tmp_path / "any")})
    assert ENV[name] not in str(error.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        (b"", "holds no credential: put the value in it, one line and nothing else"),
        (b" \n", "holds no credential"),
        (b"very secret", "holds no credential"),
        (b"very\nsecret", "holds no credential"),
        (b"\xff\xfe", "holds no credential"),
        (b"x" * 5000, "holds no credential"),
    ],
)
@pytest.mark.parametrize("name", FILES)
def test_file_that_holds_no_credential_is_named(
    name: str, content: bytes | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    env = {key: value for key, value in ENV.items() if key != name} | {f"{name}_FILE": str(path)}
    with pytest.raises(ConfigError, match=f"{name}_FILE is {path}, which {problem}") as caught:
        store_settings(env)
    assert "secret" not in str(caught.value).replace(str(path), "")


def test_file_of_a_credential_that_is_a_folder_is_named(tmp_path: Path) -> None:
    env = {key: value for key, value in ENV.items() if "SECRET" not in key}
    with pytest.raises(ConfigError, match="Is a directory"):
        store_settings(env | {"ACCRETE_S3_SECRET_KEY_FILE": str(tmp_path)})


def test_child_process_with_files_of_its_own_gets_the_given_store(tmp_path: Path) -> None:
    given = make_settings("http://host")
    inherited = {f"{name}_FILE": str(tmp_path / "other") for name in FILES}
    inherited |= {"ACCRETE_S3_CA_BUNDLE": "/of/another/store"}
    assert store_settings(inherited | given.as_environment()) == given


def test_credential_file_outside_of_a_pod_that_others_can_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("k")
    for mode, who in ((0o600, None), (0o400, None), (0o640, "its group"), (0o644, "every user")):
        path.chmod(mode)
        assert exposed_to(path) == who
    assert exposed_to(tmp_path / "nothing") is None


def test_store_settings_come_from_the_environment() -> None:
    found = store_settings(ENV)
    assert found == make_settings("http://127.0.0.1:8333")
    assert (found.region, found.ca_bundle) == ("us-east-1", None)


def test_region_and_ca_bundle_come_from_the_environment() -> None:
    found = store_settings(
        ENV | {"ACCRETE_S3_REGION": "eu-west-1", "ACCRETE_S3_CA_BUNDLE": "/etc/ca.pem"}
    )
    assert found is not None
    assert (found.region, found.ca_bundle) == ("eu-west-1", "/etc/ca.pem")


@pytest.mark.parametrize("env", [{}, {"ACCRETE_S3_ENDPOINT": ""}])
def test_environment_without_an_endpoint_names_no_store(env: dict[str, str]) -> None:
    assert store_settings(env) is None


@pytest.mark.parametrize("name", ["ACCRETE_S3_ACCESS_KEY", "ACCRETE_S3_SECRET_KEY"])
@pytest.mark.parametrize("value", [None, ""])
def test_endpoint_without_a_credential_is_refused_by_its_variable(
    name: str, value: str | None
) -> None:
    env = {key: item for key, item in ENV.items() if key != name}
    env |= {} if value is None else {name: value}
    with pytest.raises(ConfigError, match=f"ACCRETE_S3_ENDPOINT is set but {name} is not"):
        store_settings(env)


@pytest.mark.parametrize("ca_bundle", [None, "/etc/ca.pem"])
def test_child_process_gets_the_same_store(ca_bundle: str | None) -> None:
    given = StoreSettings(
        endpoint="https://host",
        access_key="a",
        secret_key="b",
        region="eu-west-1",
        ca_bundle=ca_bundle,
    )
    assert store_settings(given.as_environment()) == given


def test_required_store_that_is_not_named_says_which_variables_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ACCRETE_S3_ENDPOINT", raising=False)
    with pytest.raises(ConfigError, match="no object store: set ACCRETE_S3_ENDPOINT"):
        settings.require_store_settings()


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
    assert settings.default_store_uri() == "s3://other/prefix"
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
    assert settings.default_store_uri() == "s3://accrete"
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


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("1000000", 1_000_000),
        ("1M", 1_000_000),
        ("1000K", 1_000_000),
        ("977Ki", 1_000_448),
        ("512Mi", 536_870_912),
        ("4G", 4_000_000_000),
        ("1.5Gi", 1_610_612_736),
        ("0.5T", 500_000_000_000),
        (" 2Ti ", 2_199_023_255_552),
    ],
)
def test_quantity_becomes_bytes(text: str, num_bytes: int) -> None:
    assert settings.parse_bytes(text, "data memory") == num_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "much",
        "-4G",
        "4g",
        "4 G",
        "4GB",
        "4Gib",
        "1e9",
        ".5G",
        "5.G",
        "G",
        "nan",
        "inf",
        "4G\n4",
    ],
)
def test_quantity_of_another_form_is_refused(text: str) -> None:
    match = re.escape(f"data memory is {text!r}: give at least 1M, in a form such as 512M")
    with pytest.raises(ConfigError, match=match):
        settings.parse_bytes(text, "data memory")


@pytest.mark.parametrize("text", ["0", "999999", "0.9M", "999K", "976Ki"])
def test_quantity_under_a_megabyte_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"data memory is {text!r}: give at least 1M")):
        settings.parse_bytes(text, "data memory")
