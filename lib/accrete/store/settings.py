"""Which S3 store the environment names, and how to reach it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from accrete.core.credentials import read_credential
from accrete.core.environment import (
    DEFAULT_REGION,
    DEFAULT_STORE,
    ENV_ACCESS_KEY,
    ENV_ACCESS_KEY_FILE,
    ENV_CA_BUNDLE,
    ENV_ENDPOINT,
    ENV_REGION,
    ENV_SECRET_KEY,
    ENV_SECRET_KEY_FILE,
    ENV_STORE,
)
from accrete.core.settings import split_address, without_user
from accrete.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach an S3 store."""

    endpoint: str
    """`http://host:port` or `https://host[:port]`, without a path."""
    access_key: str = field(repr=False)
    """S3 access key."""
    secret_key: str = field(repr=False)
    """S3 secret key."""
    region: str = DEFAULT_REGION
    """S3 region; most stores of one's own do not care."""
    ca_bundle: str | None = None
    """File of CA certificates for https; None: the system's."""

    def __post_init__(self) -> None:
        url = split_address(self.endpoint)
        if (
            url is None
            or url.scheme not in ("http", "https")
            or not url.hostname
            or url.path.strip("/")
        ):
            raise ConfigError(
                f"store endpoint is {without_user(self.endpoint)!r}: give http://host:port or "
                "https://host"
            )
        if "@" in url.netloc:
            raise ConfigError(
                f"store endpoint has credentials in it (…@{url.hostname}): give them in "
                f"{ENV_ACCESS_KEY} and {ENV_SECRET_KEY}"
            )

    @property
    def shown_access_key(self) -> str:
        """The access key as messages show it: enough to tell which, and no more."""
        return f"'{self.access_key[: min(4, len(self.access_key) // 2)]}…'"

    def as_environment(self) -> dict[str, str]:
        """Return the variables that give a child process the same store, whatever else it has."""
        return {
            ENV_ENDPOINT: self.endpoint,
            ENV_ACCESS_KEY: self.access_key,
            ENV_SECRET_KEY: self.secret_key,
            ENV_ACCESS_KEY_FILE: "",
            ENV_SECRET_KEY_FILE: "",
            ENV_REGION: self.region,
            ENV_CA_BUNDLE: self.ca_bundle or "",
        }


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A bucket and a key prefix in it."""

    bucket: str
    """Bucket name."""
    prefix: str
    """Key prefix, empty or ending in `/`."""

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def uri(self, key: str) -> str:
        """Return the s3:// address of a key, for messages."""
        return f"s3://{self.bucket}/{self.prefix}{key}"


def parse_store_uri(uri: str) -> StoreAddress:
    """Return bucket and prefix of `s3://bucket[/prefix]`.

    Raises:
        ConfigError: not of that form.
    """
    url = split_address(uri)
    if (
        url is None
        or url.scheme != "s3"
        or not url.netloc
        or "@" in url.netloc
        or url.query
        or url.fragment
    ):
        raise ConfigError(f"store is {without_user(uri)!r}: give s3://bucket or s3://bucket/prefix")
    prefix = url.path.strip("/")
    return StoreAddress(bucket=url.netloc, prefix=f"{prefix}/" if prefix else "")


def store_settings(env: Mapping[str, str] | None = None) -> StoreSettings | None:
    """Return the store that the environment names, None where it names none.

    Raises:
        ConfigError: an endpoint without credentials, or a file of one that cannot be used.
    """
    env = os.environ if env is None else env
    endpoint = env.get(ENV_ENDPOINT)
    if not endpoint:
        return None
    return StoreSettings(
        endpoint=endpoint.rstrip("/"),
        access_key=_credential(env, ENV_ACCESS_KEY, ENV_ACCESS_KEY_FILE),
        secret_key=_credential(env, ENV_SECRET_KEY, ENV_SECRET_KEY_FILE),
        region=env.get(ENV_REGION) or DEFAULT_REGION,
        ca_bundle=env.get(ENV_CA_BUNDLE) or None,
    )


def _credential(env: Mapping[str, str], name: str, file_name: str) -> str:
    """Return what a variable holds, or what the file holds that another one names.

    Raises:
        ConfigError: neither is set, or both are, or the file cannot be used.
    """
    value, path = env.get(name), env.get(file_name)
    if value and path:
        raise ConfigError(f"{name} and {file_name} are both set: set one of them")
    if path:
        return read_credential(path, file_name)
    if not value:
        raise ConfigError(
            f"{ENV_ENDPOINT} is set but {name} is not: set both credentials, or files of them "
            f"({file_name})"
        )
    return value


def credential_files() -> tuple[Path, ...]:
    """Return the files that the environment names for credentials."""
    given = (os.environ.get(name) for name in (ENV_ACCESS_KEY_FILE, ENV_SECRET_KEY_FILE))
    return tuple(Path(path) for path in given if path)


def require_store_settings() -> StoreSettings:
    """Return the store that the environment names.

    Raises:
        ConfigError: it names none.
    """
    settings = store_settings()
    if settings is None:
        raise ConfigError(
            f"no object store: set {ENV_ENDPOINT}, {ENV_ACCESS_KEY} and {ENV_SECRET_KEY}"
        )
    return settings


def default_store_uri() -> str:
    """Return the store address that the environment names, or `s3://accrete`."""
    return os.environ.get(ENV_STORE) or DEFAULT_STORE
