"""Which S3 store the environment names, and how to reach it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accrete.core.environment import (
    DEFAULT_REGION,
    DEFAULT_STORE,
    ENV_ACCESS_KEY,
    ENV_ADDRESSING,
    ENV_CA_BUNDLE,
    ENV_ENDPOINT,
    ENV_REGION,
    ENV_SECRET_KEY,
    ENV_SESSION_TOKEN,
    ENV_STORE,
)
from accrete.core.settings import (
    refuse_blanks,
    refuse_control,
    shown_address,
    split_address,
    without_user,
)
from accrete.core.validation import check_choice
from accrete.errors import ConfigError
from accrete.store._credential_choice import find_source
from accrete.store.credentials import CredentialSource, KeyPart, KeysSource, ProfileSource

ADDRESSING = ("auto", "path", "virtual")

_REGION = re.compile(r"(?![-_])[a-z0-9_-]{1,63}(?<![-_])")
_AWS_HOST = re.compile(
    r"s3[.-](?:fips[.-])?(?:dualstack\.)?([a-z]{2}(?:-[a-z]+)+-[0-9])\.amazonaws\.com(?:\.cn)?"
)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach an S3 store."""

    endpoint: str
    """`http(s)://host[:port][/path]`."""
    access_key: str | None = field(default=None, repr=False)
    """S3 access key; None: `source` gives it."""
    secret_key: str | None = field(default=None, repr=False)
    """S3 secret key, where there is an access key."""
    session_token: str | None = field(default=None, repr=False)
    """What makes temporary keys valid; None: they are no such keys."""
    source: CredentialSource | None = None
    """What is asked for keys, again and again; None: they are the ones above."""
    region: str = DEFAULT_REGION
    """S3 region; most stores of one's own do not care."""
    addressing: str = "auto"
    """One of ADDRESSING: whether the bucket is part of the path or of the host's name."""
    ca_bundle: str | None = None
    """File of CA certificates for https; None: the system's."""

    def __post_init__(self) -> None:
        assert (self.source is None) == bool(self.access_key and self.secret_key), "either"
        if "@" in self.endpoint:  # behind a "/" of a secret it is no part of the host
            raise ConfigError(
                f"store endpoint has credentials in it ({without_user(self.endpoint)}): give them "
                f"in {ENV_ACCESS_KEY} and {ENV_SECRET_KEY}"
            )
        refuse_blanks("store endpoint", self.endpoint)
        url = split_address(self.endpoint)
        if url is None or url.scheme not in ("http", "https") or not url.hostname:
            raise ConfigError(
                f"store endpoint is {without_user(self.endpoint)!r}: give http://host:port or "
                "https://host"
            )
        if url.query or url.fragment:
            raise ConfigError(
                f"store endpoint is {self.endpoint!r}: leave out what follows the path ('?', '#')"
            )
        check_choice(ENV_ADDRESSING, self.addressing, ADDRESSING)
        if not _REGION.fullmatch(self.region):
            raise ConfigError(
                f"{ENV_REGION} is {self.region!r}: a region has lower-case letters, digits and "
                "'-', such as eu-central-1"
            )
        named = region_in_host(url.hostname)
        if named is not None and named != self.region:
            raise ConfigError(
                f"{ENV_REGION} is {self.region}, and {ENV_ENDPOINT} is one of {named}: make them "
                "agree, or leave the first out"
            )

    @property
    def credentials(self) -> CredentialSource:
        """What is asked for keys; as text, what messages call it."""
        if self.source is not None:
            return self.source
        values = (self.access_key, self.secret_key, self.session_token)
        variables = (ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN)
        parts = [
            KeyPart(variable=variable, value=value)
            for variable, value in zip(variables, values, strict=True)
            if value is not None
        ]
        token = parts[2] if len(parts) > 2 else None
        return KeysSource(access_key=parts[0], secret_key=parts[1], session_token=token)

    def as_environment(self) -> dict[str, str]:
        """Return the variables that give a child process the same store, whatever else it has.

        Of credentials it is told where they come from: temporary ones would not outlive a stage.
        """
        return self.credentials.environment() | {
            ENV_ENDPOINT: self.endpoint,
            ENV_REGION: self.region,
            ENV_ADDRESSING: self.addressing,
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
    refuse_control("store", uri)
    url = split_address(uri)
    if (
        url is None
        or url.scheme != "s3"
        or not url.netloc
        or "@" in url.netloc
        or url.query
        or url.fragment
    ):
        raise ConfigError(
            f"store is {shown_address(uri)!r}: give s3://bucket or s3://bucket/prefix"
        )
    if not _BUCKET.fullmatch(url.netloc) or ".." in url.netloc:
        raise ConfigError(
            f"bucket is {url.netloc!r}: its name has 3 to 63 letters, digits, '-' and '.', and a "
            "letter or digit at both ends"
        )
    prefix = url.path.strip("/")
    return StoreAddress(bucket=url.netloc, prefix=f"{prefix}/" if prefix else "")


def region_in_host(host: str) -> str | None:
    """Return the region that a host of AWS's S3 names, None where it names none."""
    match = _AWS_HOST.fullmatch(host.lower())
    return match[1] if match else None


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
        endpoint=endpoint.strip().rstrip("/"),
        **_credentials(env),
        region=env.get(ENV_REGION) or _default_region(endpoint),
        addressing=env.get(ENV_ADDRESSING) or "auto",
        ca_bundle=env.get(ENV_CA_BUNDLE) or None,
    )


def _default_region(endpoint: str) -> str:
    url = split_address(endpoint)
    return (region_in_host(url.hostname or "") if url else None) or DEFAULT_REGION


def _credentials(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a store's credentials: keys that stay as they are, or their source."""
    source = find_source(env)
    ours = (ENV_ACCESS_KEY, ENV_SECRET_KEY, ENV_SESSION_TOKEN)
    if not isinstance(source, KeysSource) or any(p.variable not in ours for p in source.parts):
        return {"source": source}
    values = [part.value for part in source.parts]
    return dict(zip(("access_key", "secret_key", "session_token"), values, strict=False))


def credential_files() -> tuple[Path, ...]:
    """Return the files that the environment names for credentials and that hold a secret."""
    settings = store_settings()
    match settings and settings.credentials:
        case KeysSource() as keys:
            return tuple(Path(part.path) for part in keys.parts if part.path is not None)
        case ProfileSource(files=files):
            return (files.credentials,)
        case _:
            return ()


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
