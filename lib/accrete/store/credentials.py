"""Where a store's credentials come from, described: what messages name, what children are told.

A child process is handed the description, so that it asks the source itself. The environment names
one (`_credential_choice.py`), and `_credential_requests.py` asks it. None shows a secret.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from accrete.core import environment as names
from accrete.core.credentials import check_credential, read_credential
from accrete.errors import ConfigError
from accrete.store._aws_profiles import ProfileFiles, short

KEYS, AWS, INSTANCE = "keys", "aws", "instance"
"""What the variable that names a kind of source may say."""

OF_KEYS = (
    (names.ENV_ACCESS_KEY, names.ENV_ACCESS_KEY_FILE),
    (names.ENV_SECRET_KEY, names.ENV_SECRET_KEY_FILE),
    (names.ENV_SESSION_TOKEN, names.ENV_SESSION_TOKEN_FILE),
)
"""Our own variables of keys, and those of files of them."""
OF_AWS = (names.AWS_ACCESS_KEY, names.AWS_SECRET_KEY, names.AWS_SESSION_TOKEN)
"""AWS's variables of keys."""
OF_ROLE = (names.AWS_WEB_TOKEN_FILE, names.AWS_ROLE)
"""AWS's variables of a web identity."""

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")

_AWS_ONLY = {
    **dict.fromkeys((name for pair in OF_KEYS for name in pair), ""),
    **dict.fromkeys(OF_AWS, ""),
    names.ENV_CREDENTIALS: AWS,
}
"""What a child is told so that what it inherits beside its source does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPart:
    """One of the values that make up keys: as it is, or in a file that is read again."""

    variable: str
    """What names it."""
    value: str | None = field(default=None, repr=False)
    """Itself; None: a file has it."""
    path: str | None = None
    """The file."""

    def read(self) -> str:
        """Return the value.

        Raises:
            ConfigError: the file cannot be read, or it is no credential.
        """
        if self.path is not None:
            return read_credential(self.path, self.variable)
        return check_credential(self.value or "", self.variable)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSource:
    """Keys that somebody gave."""

    access_key: KeyPart
    """Which key it is."""
    secret_key: KeyPart
    """What requests are signed with."""
    session_token: KeyPart | None = None
    """What makes temporary keys valid; None: they are no such keys."""

    def __str__(self) -> str:
        part = self.access_key
        if part.path is not None:
            return f"the access key in {part.path} ({part.variable})"
        key = part.value or ""
        return f"access key '{key[: min(4, len(key) // 2)]}…' of {part.variable}"

    @property
    def parts(self) -> tuple[KeyPart, ...]:
        """Those that there are."""
        parts = (self.access_key, self.secret_key, self.session_token)
        return tuple(part for part in parts if part is not None)

    def environment(self) -> dict[str, str]:
        """Return the variables that name this source."""
        given = {part.variable: part.value or part.path or "" for part in self.parts}
        if self.access_key.variable in OF_AWS:
            return _AWS_ONLY | given
        ours = dict.fromkeys((name for pair in OF_KEYS for name in pair), "")
        return {names.ENV_CREDENTIALS: KEYS} | ours | given


@dataclass(frozen=True, slots=True, kw_only=True)
class WebIdentitySource:
    """A role, for a token that says who we are and that somebody renews: EKS's IRSA, for one."""

    token_path: str
    """File of the token."""
    role: str | None
    """The role's ARN; None: the token service has one for each token, as MinIO's has."""
    session_name: str
    """What AWS's logs call us."""
    endpoint: str
    """Address of the token service."""
    ca_bundle: str | None = None
    """File of CA certificates for it; None: the system's."""

    def __str__(self) -> str:
        return f"web identity role {self.role}" if self.role else f"the token in {self.token_path}"

    def environment(self) -> dict[str, str]:
        """Return the variables that name this source."""
        return _AWS_ONLY | {
            names.AWS_WEB_TOKEN_FILE: self.token_path,
            names.AWS_ROLE: self.role or "",
            names.AWS_SESSION_NAME: self.session_name,
            names.AWS_STS_ENDPOINT: self.endpoint,
            names.AWS_CA_BUNDLE: self.ca_bundle or "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSource:
    """An agent that hands credentials to a container: EKS Pod Identity, ECS."""

    address: str
    """What it is asked; only its host is shown: ECS's path is half of a secret."""
    token: KeyPart | None = None
    """What the question is authorized with."""

    def __str__(self) -> str:
        return f"the container's credentials of {urlsplit(self.address).netloc}"

    def environment(self) -> dict[str, str]:
        """Return the variables that name this source."""
        given = dict.fromkeys(
            (*OF_ROLE, names.AWS_CONTAINER_PATH, names.AWS_CONTAINER_TOKEN), ""
        ) | {names.AWS_CONTAINER_TOKEN_FILE: "", names.AWS_CONTAINER_URI: self.address}
        if self.token is not None:
            given[self.token.variable] = self.token.value or self.token.path or ""
        return _AWS_ONLY | given


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSource:
    """A profile of AWS's files: keys, a command that gives some, SSO."""

    name: str
    """Of the profile."""
    files: ProfileFiles
    """Where it is."""

    def __str__(self) -> str:
        return f"profile {self.name} of {short(self.files.credentials)}"

    def environment(self) -> dict[str, str]:
        """Return the variables that name this source."""
        return _AWS_ONLY | {
            **dict.fromkeys(OF_ROLE, ""),
            names.AWS_PROFILE: self.name,
            names.AWS_CREDENTIALS_FILE: str(self.files.credentials),
            names.AWS_CONFIG_FILE: str(self.files.config),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSource:
    """The role of an EC2 instance, from its metadata."""

    endpoint: str = "http://169.254.169.254"
    """Address of the metadata service."""

    def __str__(self) -> str:
        return f"the role of this EC2 instance ({self.endpoint})"

    def environment(self) -> dict[str, str]:
        """Return the variables that name this source."""
        return _AWS_ONLY | {
            names.ENV_CREDENTIALS: INSTANCE,
            names.AWS_METADATA_ENDPOINT: self.endpoint,
        }


CredentialSource = KeysSource | WebIdentitySource | ContainerSource | ProfileSource | InstanceSource


def sts_endpoint(region: str | None, name: str) -> str:
    """Return the address of AWS's token service.

    Args:
        region: where; None: AWS's global one.
        name: what names the region, for messages.

    Raises:
        ConfigError: it is no region of AWS's.
    """
    if not region:
        return "https://sts.amazonaws.com"
    if not _REGION.fullmatch(region):
        raise ConfigError(f"{name} is {region!r}: give one of AWS's, such as eu-central-1")
    return f"https://sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
