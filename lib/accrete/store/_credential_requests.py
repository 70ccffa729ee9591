"""Asks a source for credentials, through the providers of the minio package where it has them.

What those lack is added here: a proxy and CA as the store has them, errors of one line that repeat
nothing, and tokens in a request's body or headers instead of its address, which libraries log.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3
from minio.credentials import Credentials, IamAwsProvider, WebIdentityProvider

from accrete.core import environment as names
from accrete.core.credentials import check_credential, read_credential
from accrete.core.proxies import proxy_to
from accrete.core.settings import proxy_variables
from accrete.core.tls import is_lasting, tls_error
from accrete.errors import (
    AccreteError,
    ConfigError,
    StoreAccessError,
    StoreError,
    StoreUnreachableError,
    one_line,
    reworded,
)
from accrete.store._aws_profiles import (
    command_of,
    expiration_of,
    has_keys,
    profiles_in,
    run_process,
)
from accrete.store._http import http_pool
from accrete.store._redaction import shown_text
from accrete.store._retry import TRANSIENT, pause, retries
from accrete.store._tls import tls_failure
from accrete.store._whole_answers import only_whole_answers
from accrete.store.credentials import (
    ContainerSource,
    CredentialSource,
    InstanceSource,
    KeyPart,
    KeysSource,
    ProfileSource,
    WebIdentitySource,
    sts_endpoint,
)
from accrete.store.settings import StoreSettings

_TRY_AGAIN = {"IDPCommunicationError", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
"""What AWS's token service says where another try may succeed; all of them with status 400.
Source: docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html."""
_TRIES = 4
_METADATA_TTL_S = "300"
_ODD_ANSWERS = (ValueError, LookupError, TypeError, AttributeError, SyntaxError)
"""What minio's parsers raise of an answer that is something else; of XML a SyntaxError."""


Marks = tuple[tuple[int, int, int] | None, ...]
"""What tells that files have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """What a source gave."""

    credentials: Credentials
    """The keys, and when they end."""
    files: tuple[Path, ...] = ()
    """Where they lie as they are: a change there makes them old."""
    marks: Marks = ()
    """How those files were before they were read."""


Ask = Callable[[], Obtained]


def asking(settings: StoreSettings) -> Ask:
    """Return what asks a store's source for credentials, as often as it is called.

    It raises ConfigError where the source cannot be asked, StoreAccessError where it refuses, and
    StoreUnreachableError where it does not answer; each names the source, and no secret.
    """
    source = settings.credentials

    def ask() -> Obtained:
        try:
            return _checked(_obtained(source, settings), source)
        except AccreteError as error:
            # of the causes, those of files alone are known to repeat nothing
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else None
            raise reworded(error, f"credentials of {source}: {error}") from cause

    return ask


def marks_of(files: tuple[Path, ...]) -> Marks:
    """Return what changes when one of the files does, or a link on the way to it."""
    found: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _obtained(source: CredentialSource, settings: StoreSettings) -> Obtained:
    match source:
        case KeysSource():
            files = tuple(Path(part.path) for part in source.parts if part.path is not None)
            marks = marks_of(files)
            keys = Credentials(*(part.read() for part in source.parts))
            return Obtained(credentials=keys, files=files, marks=marks)
        case WebIdentitySource():
            return Obtained(credentials=_by_web_identity(source, settings))
        case ContainerSource():
            return Obtained(credentials=_by_container(source, settings))
        case ProfileSource():
            return _by_profile(source, settings)
        case InstanceSource():
            return Obtained(credentials=_by_instance(source))


def _checked(obtained: Obtained, source: CredentialSource) -> Obtained:
    """Return what can be sent and has not ended yet."""
    found = obtained.credentials
    if not isinstance(source, KeysSource):
        for what, value in (
            ("the access key", found.access_key),
            ("the secret key", found.secret_key),
            ("the session token", found.session_token),
        ):
            if not isinstance(value, str):
                if value is None and what == "the session token":
                    continue
                raise StoreAccessError(f"{what} is missing in the answer")
            check_credential(value, what)
    now = datetime.now(UTC).replace(tzinfo=None)
    if found.expiration is not None and found.expiration <= now:
        raise StoreAccessError(
            f"they ended at {found.expiration:%Y-%m-%d %H:%M} UTC, and by this machine's clock it "
            f"is {now:%Y-%m-%d %H:%M}: log in again, or set the clock right"
        )
    return obtained


def _by_web_identity(source: WebIdentitySource, settings: StoreSettings) -> Credentials:
    token = read_credential(source.token_path, names.AWS_WEB_TOKEN_FILE)
    service = f"the token service at {source.endpoint}"
    url = urlsplit(source.endpoint)
    of_store = url.hostname == urlsplit(settings.endpoint).hostname
    ca_bundle = source.ca_bundle or (settings.ca_bundle if of_store else None)
    origin = urlunsplit((url.scheme, url.netloc, "", "", ""))
    place = replace(settings, endpoint=origin, ca_bundle=ca_bundle)
    try:
        pool = http_pool(place, proxy_to(origin, proxy_variables()))
    except ConfigError as error:
        raise ConfigError(_of_aws(str(error))) from None
    provider = WebIdentityProvider(
        jwt_provider_func=lambda: {"access_token": token, "expires_in": "0"},
        sts_endpoint=source.endpoint,
        role_arn=source.role,
        role_session_name=source.session_name,
        http_client=_Client(pool, service, (token,), place),
    )
    return _parsed(provider.retrieve, service)


def _of_aws(text: str) -> str:
    """Return what is said of the store's CA, said of the token service's."""
    return text.replace(names.ENV_CA_BUNDLE, names.AWS_CA_BUNDLE)


def _by_container(source: ContainerSource, settings: StoreSettings) -> Credentials:
    url = urlsplit(source.address)
    service = f"the agent at {url.netloc}"
    token = _token(source.token)
    if url.scheme == "https":
        origin = f"https://{url.netloc}"
        proxy = proxy_to(origin, proxy_variables())
        pool = http_pool(replace(settings, endpoint=origin, ca_bundle=None), proxy)
    else:
        pool = _near_pool()
    provider = IamAwsProvider(http_client=_Client(pool, service, (token,) if token else ()))
    headers = {"Authorization": token} if token else None
    return _parsed(lambda: provider.fetch(source.address, headers), service)


def _token(part: KeyPart | None) -> str | None:
    return None if part is None else part.read()


def _by_instance(source: InstanceSource) -> Credentials:
    """Ask as version 2 of the metadata service wants it: for a token first.

    Source: docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html.
    """
    service = f"the instance's metadata at {source.endpoint}"
    client = _Client(_near_pool(), service, ())
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": _METADATA_TTL_S}
    answer = client.urlopen("PUT", f"{source.endpoint}/latest/api/token", headers=ttl)
    token = check_credential(_text(answer), f"the token of {service}")
    headers = {"X-aws-ec2-metadata-token": token}
    roles = f"{source.endpoint}/latest/meta-data/iam/security-credentials/"
    lines = _text(client.urlopen("GET", roles, headers=headers)).split()
    if not lines or not re.fullmatch(r"[\w+=,.@-]+", lines[0], re.ASCII):
        raise StoreAccessError(f"{service} names no role: give the instance one")
    provider = IamAwsProvider(http_client=_Client(_near_pool(), service, (token,)))
    return _parsed(lambda: provider.fetch(roles + lines[0], headers), service)


def _text(answer: Any) -> str:
    return bytes(answer.data).decode(errors="replace").strip()


def _by_profile(source: ProfileSource, settings: StoreSettings) -> Obtained:
    files = (source.files.credentials, source.files.config)
    marks = marks_of(files)
    profile = profiles_in(source.files).get(source.name)
    if profile is None:
        raise ConfigError("there is no such profile any more")
    if profile.get("web_identity_token_file") and profile.get("role_arn"):
        return Obtained(credentials=_by_web_identity(_of_profile(profile), settings))
    if not profile.get("role_arn") and has_keys(profile):
        # an empty session token is one that is not there
        values = [profile.get(name) or None for name in _KEYS_OF_PROFILES]
        return Obtained(credentials=Credentials(*values), files=files, marks=marks)
    said = run_process(command_of(source.name, profile), source.name, profile)
    try:
        made = Credentials(
            said.get("AccessKeyId"),
            said.get("SecretAccessKey"),
            said.get("SessionToken") or None,
            expiration_of(said.get("Expiration")),
        )
    except ValueError:  # its text may repeat what was said
        raise StoreAccessError("its command did not print keys and their end") from None
    return Obtained(credentials=made)


_KEYS_OF_PROFILES = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")


def _of_profile(profile: Mapping[str, str]) -> WebIdentitySource:
    return WebIdentitySource(
        token_path=str(Path(profile["web_identity_token_file"]).expanduser()),
        role=profile["role_arn"],
        session_name=profile.get("role_session_name") or "accrete",
        endpoint=sts_endpoint(profile.get("region"), "its region"),
    )


def _near_pool() -> urllib3.PoolManager:
    """Return connections to what is beside this process, past every proxy.

    They wait for a short time only: in a pod an instance's metadata mostly does not answer.
    """
    timeout = urllib3.Timeout(connect=2, read=10)
    return only_whole_answers(urllib3.PoolManager(timeout=timeout))


def _parsed(retrieve: Callable[[], Any], service: str) -> Credentials:
    """Return what minio's provider makes of an answer."""
    try:
        found: Credentials = retrieve()
    except _ODD_ANSWERS:  # their texts repeat the answer
        raise StoreAccessError(f"{service} answered with something else than credentials") from None
    return found


class _Client:
    """What minio's providers send requests with, in place of a PoolManager."""

    def __init__(
        self,
        pool: urllib3.PoolManager,
        service: str,
        secrets: tuple[str, ...],
        place: StoreSettings | None = None,
    ) -> None:
        """Use connections.

        Args:
            pool: the connections.
            service: what answers, for messages.
            secrets: what an answer may repeat.
            place: whose CA is trusted; None: there is no TLS.
        """
        self._pool, self._service, self._secrets, self._place = pool, service, secrets, place

    def urlopen(
        self,
        method: str,
        url: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Return a good answer, asking again where another may come.

        Raises:
            StoreAccessError, StoreUnreachableError: none came.
        """
        parts = urlsplit(url)
        if method == "POST" and parts.query:  # the token is in it
            body, url = parts.query, urlunsplit(parts._replace(query="", path=parts.path or "/"))
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
        for attempt in range(_TRIES):
            response = self._sent(method, url, body, headers)
            if response.status == 200:
                return response
            code = _code_of(response)
            if code not in _TRY_AGAIN or attempt == _TRIES - 1:
                raise self._refused(response, code)
            pause(0.5 * 2**attempt)
        raise AssertionError("unreachable")

    def _sent(
        self, method: str, url: str, body: bytes | str | None, headers: Mapping[str, str] | None
    ) -> urllib3.BaseHTTPResponse:
        again = retries()
        try:
            return self._pool.request(
                method, url, body=body, headers=headers, retries=again, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            tls = self._place and tls_failure(reason, self._place)
            why = (
                _of_aws(f": {tls}")
                if tls
                else (f" ({type(reason).__name__}): check its address and the network to it")
            )
            away = StoreUnreachableError(f"{self._service} cannot be reached{why}")
            raise (away if is_lasting(tls_error(reason)) else away.passing()) from None

    def _refused(self, response: urllib3.BaseHTTPResponse, code: str | None) -> StoreError:
        told = f"{response.status}"
        if code:
            told = f"{told}, {shown_text(f'{code}: {_message_of(response)}', self._secrets)}"
        if response.status in TRANSIENT or response.status >= 500 or code in _TRY_AGAIN:
            return StoreUnreachableError(f"{self._service} keeps failing ({told})").passing()
        return StoreAccessError(f"{self._service} refuses to give any ({told})")


def _code_of(response: urllib3.BaseHTTPResponse) -> str | None:
    """Return what an answer of AWS's form calls its failure."""
    found = re.search(
        rb'<Code>([A-Za-z.]{1,64})</Code>|"[Cc]ode"\s*:\s*"([\w.]{1,64})"', response.data
    )
    return (found[1] or found[2]).decode() if found else None


def _message_of(response: urllib3.BaseHTTPResponse) -> str:
    found = re.search(
        rb'<Message>([^<]{0,300})</Message>|"[Mm]essage"\s*:\s*"([^"]{0,300})"', response.data
    )
    return one_line((found[1] or found[2]).decode(errors="replace")) if found else "no more is said"
