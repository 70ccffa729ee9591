"""Which store the environment names."""

import re
from pathlib import Path

import pytest

from accrete.core.credentials import exposed_to
from accrete.errors import ConfigError
from accrete.store.credentials import KeysSource
from accrete.store.settings import (
    StoreAddress,
    StoreSettings,
    parse_store_uri,
    require_store_settings,
    store_settings,
)

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
    ["", "127.0.0.1:8333", "s3://x", "ftp://x", "http://", "http://[::1"],
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
    assert str(settings.credentials) == f"access key {shown} of ACCRETE_S3_ACCESS_KEY"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_endpoint_with_credentials_in_it_is_refused_without_them(scheme: str) -> None:
    with pytest.raises(ConfigError, match=r"credentials in it \(…@host:1\): give") as caught:
        make_settings(f"{scheme}://somebody:very-secret@host:1")
    assert "very-secret" not in str(caught.value)
    assert "somebody" not in str(caught.value)


@pytest.mark.parametrize(
    "user", ["AKIA1:/very-secret", "AKIA1/very-secret", "AKIA1:12#very-secret"]
)
def test_a_secret_with_a_slash_in_it_is_no_part_of_a_path(user: str) -> None:
    with pytest.raises(ConfigError, match=r"has credentials in it \(…@host:9000\): give") as caught:
        make_settings(f"http://{user}@host:9000")
    assert "AKIA1" not in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", " "])
def test_what_stands_around_an_endpoint_does_not_count(end: str) -> None:
    settings = store_settings({**ENV, "ACCRETE_S3_ENDPOINT": f"{end}http://host:1/{end}"})
    assert settings is not None
    assert settings.endpoint == "http://host:1"


@pytest.mark.parametrize(
    "endpoint", ["http://lo\ncal:1", "http://a b", "http://a\tb", "http://a\x7f"]
)
def test_a_blank_in_an_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"^store endpoint is .*: it has a (blank|line end)"):
        make_settings(endpoint)


def test_a_line_end_in_a_store_s_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="it has a line end"):
        parse_store_uri("s3://accrete/a\nb")


@pytest.mark.parametrize("uri", ["s3://me:very-secret@bucket", "http://me:very-secret@host/bucket"])
def test_store_uri_with_credentials_in_it_is_refused_without_them(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"store is '[a-z0-9]+://…@") as caught:
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
    settings = store_settings(env)
    assert settings is not None
    assert isinstance(settings.credentials, KeysSource)
    assert [part.read() for part in settings.credentials.parts] == [ENV[name] for name in FILES]


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
        (b"very secret", "has a blank as character 5 of 11: give the value without it"),
        (b"very\nsecret", "has a line end as character 5 of 11"),
        (b"\xef\xbb\xbfvery-secret", "has a byte order mark as character 1 of 12"),
        ("very-s€cret".encode(), "has a character that is not ASCII as character 7 of 11"),
        (b"very\0secret", "has a control character as character 5 of 11"),
        (b"\xff\xfe", "holds no credential"),
        (b"x" * 70_000, "has 65,537 characters, which is no credential"),
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
        require_store_settings()
