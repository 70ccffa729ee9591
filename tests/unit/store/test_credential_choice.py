"""Which source of credentials an environment names."""

import re
from pathlib import Path

import pytest

from accrete.errors import ConfigError
from accrete.store.credentials import (
    ContainerSource,
    InstanceSource,
    KeysSource,
    ProfileSource,
    WebIdentitySource,
)
from accrete.store.settings import StoreSettings, store_settings

ENDPOINT = {"ACCRETE_S3_ENDPOINT": "https://s3.example.com", "HOME": "/nonexistent"}
OURS = {"ACCRETE_S3_ACCESS_KEY": "AKIAOURS0000", "ACCRETE_S3_SECRET_KEY": "our-secret-value"}
OURS_TOKEN = {"ACCRETE_S3_SESSION_TOKEN": "our-session-token"}
AWS_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAAWS00000", "AWS_SECRET_ACCESS_KEY": "aws-secret-value"}
WEB = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}
AGENT = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
         "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/auth"}  # fmt: skip
SECRETS = ("our-secret", "aws-secret", "our-session")


def settings_of(*parts: dict[str, str]) -> StoreSettings:
    """Return the store that an environment names."""
    env = {name: value for part in (ENDPOINT, *parts) for name, value in part.items()}
    settings = store_settings(env)
    assert settings is not None
    return settings


def profile(
    folder: Path, name: str = "default", keys: str = "aws_access_key_id = A\n"
) -> dict[str, str]:
    """Write a home folder with a profile that has keys."""
    (folder / ".aws").mkdir()
    (folder / ".aws" / "credentials").write_text(f"[{name}]\n{keys}aws_secret_access_key = s\n")
    return {"HOME": str(folder)}


def test_each_source_is_taken_by_its_variables_and_named(tmp_path: Path) -> None:
    expected = [
        ((OURS,), KeysSource, "access key 'AKIA…' of ACCRETE_S3_ACCESS_KEY"),
        ((OURS, OURS_TOKEN), KeysSource, "access key 'AKIA…' of ACCRETE_S3_ACCESS_KEY"),
        ((AWS_KEYS,), KeysSource, "access key 'AKIA…' of AWS_ACCESS_KEY_ID"),
        ((WEB,), WebIdentitySource, "web identity role arn:aws:iam::1:role/r"),
        ((AGENT,), ContainerSource, "the container's credentials of 169.254.170.23"),
        ((profile(tmp_path),), ProfileSource, f"profile default of {tmp_path}/.aws/credentials"),
        (({"ACCRETE_S3_CREDENTIALS": "instance"},), InstanceSource,
         "the role of this EC2 instance (http://169.254.169.254)"),
    ]  # fmt: skip
    for parts, kind, text in expected:
        settings = settings_of(*parts)
        assert isinstance(settings.credentials, kind)
        assert str(settings.credentials) == text
        shown = repr(settings) + repr(settings.credentials) + text
        assert not [secret for secret in SECRETS if secret in shown]
        assert "AKIAOURS" not in shown


def test_the_first_of_aws_s_order_is_taken(tmp_path: Path) -> None:
    parts = [OURS, AWS_KEYS, WEB, profile(tmp_path), AGENT]
    kinds = [KeysSource, KeysSource, WebIdentitySource, ProfileSource, ContainerSource]
    for first, kind in enumerate(kinds):
        assert isinstance(settings_of(*parts[first:]).credentials, kind)
    assert isinstance(
        settings_of(*parts[2:], {"ACCRETE_S3_CREDENTIALS": "aws"}, OURS).credentials,
        WebIdentitySource,
    )
    with pytest.raises(ConfigError, match="ACCRETE_S3_ACCESS_KEY is not: set both"):
        settings_of(*parts[1:], {"ACCRETE_S3_CREDENTIALS": "keys"})


@pytest.mark.parametrize(
    "given",
    [OURS, OURS | OURS_TOKEN, AWS_KEYS, AWS_KEYS | {"AWS_SESSION_TOKEN": "t0ken-t0ken"}, WEB, AGENT,
     WEB | {"AWS_REGION": "cn-north-1", "AWS_ROLE_SESSION_NAME": "me", "AWS_CA_BUNDLE": "/ca"},
     {"ACCRETE_S3_CREDENTIALS": "instance"},
     {"ACCRETE_S3_CREDENTIALS": "instance", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://h:1"},
     {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/abc"},
     {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "https://agent/x?y=z",
      "AWS_CONTAINER_AUTHORIZATION_TOKEN": "auth-token"}],
)  # fmt: skip
def test_a_child_process_has_the_same_source_whatever_else_it_has(given: dict[str, str]) -> None:
    settings = settings_of(given)
    inherited = OURS | OURS_TOKEN | AWS_KEYS | {"AWS_SESSION_TOKEN": "an-old-one"}
    assert store_settings(ENDPOINT | inherited | settings.as_environment()) == settings
    assert store_settings(ENDPOINT | WEB | settings.as_environment()) == settings


def test_a_child_process_has_the_same_profile_and_files(tmp_path: Path) -> None:
    for name in ("key", "secret"):
        (tmp_path / name).write_text("x" * 12)
    files = {
        "ACCRETE_S3_ACCESS_KEY_FILE": f"{tmp_path}/key",
        "ACCRETE_S3_SECRET_KEY_FILE": f"{tmp_path}/secret",
    }
    for given in (profile(tmp_path), profile_named(tmp_path), files):
        settings = settings_of(given)
        inherited = ENDPOINT | OURS | AWS_KEYS | WEB | {"HOME": "/elsewhere"}
        assert store_settings(inherited | settings.as_environment()) == settings


def profile_named(folder: Path) -> dict[str, str]:
    (folder / ".aws" / "config").write_text(
        "[default]\nregion = x\n[profile my dev]\ncredential_process = /bin/true\n"
    )
    return {"HOME": str(folder), "AWS_PROFILE": "my dev"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "ACCRETE_S3_ACCESS_KEY is not: set both credentials, or files of them (ACCRETE_S3_"
             "ACCESS_KEY_FILE), or one of AWS's sources (docs/security.md)"),
        (OURS_TOKEN, "ACCRETE_S3_ACCESS_KEY is not: set both"),
        (OURS | {"ACCRETE_S3_SECRET_KEY": ""}, "ACCRETE_S3_SECRET_KEY is not: set both"),
        ({"ACCRETE_S3_CREDENTIALS": "iam"}, "is 'iam': give keys, aws or instance"),
        ({"ACCRETE_S3_CREDENTIALS": "aws"}, "is aws, but none of its sources is there: give AWS_"),
        ({"AWS_ACCESS_KEY_ID": "A"}, "AWS_SECRET_ACCESS_KEY is not: set AWS_ACCESS_KEY_ID and"),
        ({"AWS_SESSION_TOKEN": "A"}, "AWS_SESSION_TOKEN is set but AWS_ACCESS_KEY_ID is not"),
        ({"AWS_ROLE_ARN": "arn"}, "AWS_ROLE_ARN is set but AWS_WEB_IDENTITY_TOKEN_FILE is not"),
        (WEB | {"AWS_ROLE_ARN": ""}, "FILE is set but AWS_ROLE_ARN is not: set both, or neither"),
        (WEB | {"AWS_ROLE_ARN": "a b"}, "AWS_ROLE_ARN has a blank as character 2 of 3"),
        (WEB | {"AWS_REGION": "eu central"}, "AWS_REGION is 'eu central': give one of AWS's"),
        (WEB | {"AWS_ROLE_SESSION_NAME": "a/b"}, "AWS_ROLE_SESSION_NAME is 'a/b': give 2 to 64"),
        (WEB | {"AWS_ENDPOINT_URL_STS": "http://u:hidden@h"}, "STS is '…@h': give http"),
        ({"AWS_PROFILE": "dev"}, "AWS_PROFILE is 'dev', but neither /nonexistent/.aws/credentials "
                                 "nor /nonexistent/.aws/config has that profile: they have none"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://10.0.0.1/x"},
         "is at 10.0.0.1: without TLS credentials are asked for at loopback and at 169.254.170.2"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "ftp://h"}, "FULL_URI is 'ftp://h': give http(s)"),
        ({"ACCRETE_S3_CREDENTIALS": "instance", "AWS_EC2_METADATA_DISABLED": "TRUE"},
         "is instance, but AWS_EC2_METADATA_DISABLED is true: unset one"),
    ],
)  # fmt: skip
def test_what_is_given_by_half_or_is_none_is_one_line(given: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        settings_of(given)
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", [*OURS, *OURS_TOKEN, *AWS_KEYS, "AWS_SESSION_TOKEN"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("sécret-value-of-mine", "has a character that is not ASCII as character 2 of 20: give"),
        ("secret-value-of-mine\n", "has a line end at its end: give the value without it"),
        ("secret-value-of-mine\r", "has a line end at its end"),
        (" secret-value-of-mine", "has a blank at its beginning"),
        ("secret-value-of-mine \n", "has a blank at its end"),
        ("secret value-of-mine", "has a blank as character 7 of 20"),
        ("secret\tvalue", "has a blank as character 7 of 12"),
        ("secret\xa0value", "has a blank as character 7 of 12"),
        ("secret\x7fvalue", "has a control character as character 7 of 12"),
        ("secret\u200bvalue", "has a character that is not ASCII as character 7 of 12"),
        ("\udcffsecret", "has a character that is not ASCII as character 1 of 7"),
    ],
)
def test_a_credential_that_cannot_be_sent_is_refused_by_its_place(
    name: str, value: str, said: str
) -> None:
    base = OURS | OURS_TOKEN if name.startswith("ACC") else AWS_KEYS
    with pytest.raises(ConfigError, match=re.escape(f"{name} {said}")) as caught:
        settings_of(base, {name: value})
    assert not re.search("secret|cret|value|mine", str(caught.value).replace("the value with", ""))


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ("aws_secret_access_key = hidden-secret\n", "line 1 is neither [profile] nor name = value"),
        ("[dev]\nhidden-secret\n", "line 2 is neither [profile] nor name = value"),
        ("[dev]\nregion = x\n", "AWS_PROFILE is 'dev', but that profile names no credentials"),
        ("\xff", None),
    ],
)  # fmt: skip
def test_a_profile_s_file_that_cannot_be_read_is_named_and_not_repeated(
    credentials: str, said: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(credentials.encode("latin-1"))
    env = {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_PROFILE": "dev"}
    with pytest.raises(ConfigError, match=re.escape(said or "it is no text in UTF-8")) as caught:
        settings_of(env)
    chain = [caught.value, caught.value.__cause__, caught.value.__suppress_context__]
    assert "hidden" not in str(chain)
