"""What containers of a local run are given to reach the store with."""

from pathlib import Path

import pytest

from accrete.errors import InputError
from accrete.runners._containers import container_host, with_own_keys
from accrete.store.settings import StoreSettings, store_settings

ENDPOINT = {"ACCRETE_S3_ENDPOINT": "https://s3.example.com", "HOME": "/nonexistent"}


def test_credentials_that_are_renewed_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    role = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}
    settings = store_settings(ENDPOINT | role)
    assert settings is not None
    with (
        pytest.raises(InputError, match=r"that are renewed \(web identity role arn:aws:iam::1:ro"),
        container_host("image:1", settings, tmp_path, gpus=False),
    ):
        pass


def test_keys_of_files_become_values_since_no_container_has_the_files(tmp_path: Path) -> None:
    for name in ("key", "secret", "token"):
        (tmp_path / name).write_text(f"{name}-value\n")
    settings = store_settings(
        ENDPOINT
        | {"ACCRETE_S3_ACCESS_KEY_FILE": f"{tmp_path}/key"}
        | {"ACCRETE_S3_SECRET_KEY_FILE": f"{tmp_path}/secret"}
        | {"ACCRETE_S3_SESSION_TOKEN_FILE": f"{tmp_path}/token"}
    )
    assert settings is not None
    assert with_own_keys(settings) == StoreSettings(
        endpoint="https://s3.example.com",
        access_key="key-value",
        secret_key="secret-value",
        session_token="token-value",
    )
