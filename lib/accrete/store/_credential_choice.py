"""Which source of credentials the environment names: one, by rules, or an error that says why."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from accrete.core import environment as names
from accrete.core.credentials import check_credential
from accrete.core.settings import split_address, without_user
from accrete.errors import ConfigError
from accrete.store._aws_profiles import ProfileFiles, has_credentials, profiles_in
from accrete.store.credentials import (
    AWS,
    INSTANCE,
    KEYS,
    OF_AWS,
    OF_KEYS,
    OF_ROLE,
    ContainerSource,
    CredentialSource,
    InstanceSource,
    KeyPart,
    KeysSource,
    ProfileSource,
    WebIdentitySource,
    sts_endpoint,
)

_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_ECS = "http://169.254.170.2"
_AGENTS = ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")
"""Where ECS's and EKS's agents listen, beside loopback: no other is told a token without TLS.
Source: docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html."""


def find_source(env: Mapping[str, str]) -> CredentialSource:
    """Return the source that the environment names: one kind, and within AWS's in AWS's order.

    Raises:
        ConfigError: it names none, or one by half, or one that cannot be used.
    """
    kind = env.get(names.ENV_CREDENTIALS) or None
    if kind not in (None, KEYS, AWS, INSTANCE):
        raise ConfigError(f"{names.ENV_CREDENTIALS} is {kind!r}: give {KEYS}, {AWS} or {INSTANCE}")
    if kind == INSTANCE:
        return _instance(env)
    if kind == KEYS or (kind is None and any(env.get(name) for pair in OF_KEYS for name in pair)):
        return _given_keys(env)
    source = _from_aws(env)
    if source is not None:
        return source
    if kind == AWS:
        raise ConfigError(
            f"{names.ENV_CREDENTIALS} is {AWS}, but none of its sources is there: give "
            f"{names.AWS_ACCESS_KEY} and {names.AWS_SECRET_KEY}, {names.AWS_WEB_TOKEN_FILE} and "
            f"{names.AWS_ROLE}, {names.AWS_CONTAINER_URI} or {names.AWS_PROFILE}; on EC2, "
            f"{names.ENV_CREDENTIALS}={INSTANCE}"
        )
    return _given_keys(env)


def _given_keys(env: Mapping[str, str]) -> KeysSource:
    access_key, secret_key = (
        _given(env, *pair, others="or one of AWS's sources (docs/security.md)")
        for pair in OF_KEYS[:2]
    )
    session_token = None
    if any(env.get(name) for name in OF_KEYS[2]):
        session_token = _given(env, *OF_KEYS[2], others="")
    return KeysSource(access_key=access_key, secret_key=secret_key, session_token=session_token)


def _given(env: Mapping[str, str], name: str, file_name: str, *, others: str) -> KeyPart:
    """Return what a variable holds, or what the file holds that another one names."""
    value, path = env.get(name), env.get(file_name)
    if value and path:
        raise ConfigError(f"{name} and {file_name} are both set: set one of them")
    if path:
        part = KeyPart(variable=file_name, path=path)
    elif value:
        part = KeyPart(variable=name, value=value)
    else:
        raise ConfigError(
            f"{names.ENV_ENDPOINT} is set but {name} is not: set both credentials, or files of "
            f"them ({file_name}), {others}"
        )
    part.read()
    return part


def _from_aws(env: Mapping[str, str]) -> CredentialSource | None:
    """Return what AWS's own tools would take, in their order; None: nothing is named.

    Source: docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
    """
    if any(env.get(name) for name in OF_AWS):
        return _aws_keys(env)
    if any(env.get(name) for name in OF_ROLE):
        return _web_identity(env)
    return _profile(env) or _container(env)


def _aws_keys(env: Mapping[str, str]) -> KeysSource:
    given = [name for name in OF_AWS if env.get(name)]
    for name in OF_AWS[:2]:
        if name not in given:
            raise ConfigError(
                f"{given[0]} is set but {name} is not: set {OF_AWS[0]} and {OF_AWS[1]} both, or "
                "neither"
            )
    parts = [KeyPart(variable=name, value=env[name]) for name in given]
    for part in parts:
        part.read()
    token = parts[2] if len(parts) > 2 else None
    return KeysSource(access_key=parts[0], secret_key=parts[1], session_token=token)


def _web_identity(env: Mapping[str, str]) -> WebIdentitySource:
    token_path, role = env.get(names.AWS_WEB_TOKEN_FILE), env.get(names.AWS_ROLE)
    of_their_own = env.get(names.AWS_STS_ENDPOINT) or env.get(names.AWS_ENDPOINT)
    if not token_path:
        raise ConfigError(
            f"{names.AWS_ROLE} is set but {names.AWS_WEB_TOKEN_FILE} is not: set both, as EKS does "
            "in the pods of a service account with a role, or neither"
        )
    if not role and not of_their_own:
        raise ConfigError(
            f"{names.AWS_WEB_TOKEN_FILE} is set but {names.AWS_ROLE} is not: set both, or neither"
        )
    if role:
        check_credential(role, names.AWS_ROLE)
    session_name = env.get(names.AWS_SESSION_NAME) or "accrete"
    if not _SESSION_NAME.fullmatch(session_name):
        raise ConfigError(
            f"{names.AWS_SESSION_NAME} is {session_name!r}: give 2 to 64 letters, digits and "
            "+=,.@_-"
        )
    return WebIdentitySource(
        token_path=token_path,
        role=role or None,
        session_name=session_name,
        endpoint=_sts_endpoint(env),
        ca_bundle=env.get(names.AWS_CA_BUNDLE) or None,
    )


def _sts_endpoint(env: Mapping[str, str]) -> str:
    for name in (names.AWS_STS_ENDPOINT, names.AWS_ENDPOINT):
        if env.get(name):
            return _address(name, env[name])
    name = next((n for n in (names.AWS_REGION, names.AWS_DEFAULT_REGION) if env.get(n)), "")
    return sts_endpoint(env.get(name), name)


def _address(name: str, text: str) -> str:
    url = split_address(text)
    if (
        url is None
        or url.scheme not in ("http", "https")
        or not url.hostname
        or "@" in url.netloc
        or not text.isprintable()
        or " " in text
    ):
        raise ConfigError(f"{name} is {without_user(text)!r}: give http(s)://host[:port]/path")
    return text.rstrip("/")


def _profile(env: Mapping[str, str]) -> ProfileSource | None:
    variable = next(
        (name for name in (names.AWS_PROFILE, names.AWS_DEFAULT_PROFILE) if env.get(name)), None
    )
    files = ProfileFiles(
        credentials=_profile_file(env, names.AWS_CREDENTIALS_FILE, "credentials"),
        config=_profile_file(env, names.AWS_CONFIG_FILE, "config"),
    )
    profiles = profiles_in(files)
    if variable is None:
        named = has_credentials(profiles.get("default", {}))
        return ProfileSource(name="default", files=files) if named else None
    name = env[variable]
    if name not in profiles:
        others = ", ".join(sorted(profiles)[:10]) or "none"
        raise ConfigError(
            f"{variable} is {name!r}, but neither {files.shown} has that profile: they have "
            f"{others}"
        )
    if not has_credentials(profiles[name]):
        raise ConfigError(
            f"{variable} is {name!r}, but that profile names no credentials: give it keys, a "
            "credential_process or SSO"
        )
    return ProfileSource(name=name, files=files)


def _profile_file(env: Mapping[str, str], variable: str, name: str) -> Path:
    given = env.get(variable) or f"{env.get('HOME') or Path.home()}/.aws/{name}"
    return Path(given).expanduser().absolute()


def _container(env: Mapping[str, str]) -> ContainerSource | None:
    path, uri = env.get(names.AWS_CONTAINER_PATH), env.get(names.AWS_CONTAINER_URI)
    if not path and not uri:
        return None
    name = names.AWS_CONTAINER_PATH if path else names.AWS_CONTAINER_URI
    address = _address(name, f"{_ECS}/{path.lstrip('/')}" if path else uri or "")
    url = urlsplit(address)
    if url.scheme == "http" and not _is_agent(url.hostname or ""):
        raise ConfigError(
            f"{name} is at {url.hostname}: without TLS credentials are asked for at loopback and "
            f"at {' and '.join(_AGENTS[:2])} alone"
        )
    token = None
    token_name, file_name = names.AWS_CONTAINER_TOKEN, names.AWS_CONTAINER_TOKEN_FILE
    if env.get(file_name):
        token = KeyPart(variable=file_name, path=env[file_name])
    elif env.get(token_name):
        token = KeyPart(variable=token_name, value=env[token_name])
    return ContainerSource(address=address, token=token)


def _is_agent(host: str) -> bool:
    try:
        return ip_address(host).is_loopback or host in _AGENTS
    except ValueError:
        return host == "localhost"


def _instance(env: Mapping[str, str]) -> InstanceSource:
    if (env.get(names.AWS_METADATA_DISABLED) or "").lower() == "true":
        raise ConfigError(
            f"{names.ENV_CREDENTIALS} is {INSTANCE}, but {names.AWS_METADATA_DISABLED} is true: "
            "unset one of them"
        )
    endpoint = env.get(names.AWS_METADATA_ENDPOINT)
    if endpoint:
        return InstanceSource(endpoint=_address(names.AWS_METADATA_ENDPOINT, endpoint))
    return InstanceSource()
