"""What lets us in to Kubeflow Pipelines: tokens, cookies, kfp's own credentials, a private CA.

Values are read anew for each request, since a run is watched for longer than a token lasts.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accrete.core import environment as env
from accrete.core.settings import kfp_variable
from accrete.core.untrusted import parse_json
from accrete.errors import AccreteError, ConfigError
from accrete.runners.kubeflow._address import host_of, is_in_cluster

_MAX_BYTES = 64 * 1024  # what gateways take as headers
_CONTEXT = "~/.config/kfp/context.json"
_SA_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105  where kfp's client has it
_SHORTEST_SECRET = 6
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token is made of (RFC 6750, b64token)."""
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 6265's: JSON, quotes or a command's option around a cookie are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the user gives to get in; no secret, but where they are."""

    namespace: str | None = None
    """Of the run, where Kubeflow has several users."""
    token_file: Path | None = None
    """A bearer token."""
    cookie_file: Path | None = None
    """A login's cookie: `name=value`, or a browser's `cookies.txt`."""
    endpoint_ca: Path | None = None
    """CA certificates in PEM; None: those of the environment, or the system."""


@dataclass(slots=True)
class _Source:
    """One credential."""

    words: str
    """What it is, for messages."""
    header: str
    """That it travels in."""
    read: Callable[[], str]
    """Returns the header's value as it is now."""
    forget: Callable[[], None] | None = None
    """Has the next reading ask for a new one; None: every reading does."""


class Credentials:
    """What goes with each request."""

    def __init__(self, access: Access, base: str) -> None:
        """Find the credentials that the user gives, else those that kfp's client would find.

        Raises:
            ConfigError: two say the same, or one cannot be used.
        """
        self._sources = _given(access, base) or _of_kfp(base)
        self._last: dict[str, str] = {}
        self.headers()

    @property
    def words(self) -> str:
        """What is sent, for messages; empty: nothing."""
        return " and ".join(source.words for source in self._sources)

    def headers(self) -> dict[str, str]:
        """Return the headers of a request; a file that is just being replaced counts as it was.

        Raises:
            ConfigError: a credential cannot be had, and never could.
        """
        for source in self._sources:
            try:
                self._last[source.header] = source.read()
            except AccreteError:
                if source.header not in self._last:
                    raise
        return dict(self._last)

    def renew(self) -> bool:
        """Ask for new credentials; return whether there are others than were sent last."""
        before = dict(self._last)
        for source in self._sources:
            if source.forget is not None:
                source.forget()
        return self.headers() != before

    def without_secrets(self, text: str) -> str:
        """Return a text in which what was sent is made unreadable."""
        values = set(self._last.values())
        for value in self._last.values():
            values |= {part.partition("=")[2] for part in value.split("; ")}
            values.add(value.removeprefix("Bearer "))
        for value in sorted(values, key=len, reverse=True):
            if len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, "…")
        return text


def default_namespace() -> str | None:
    """Return the namespace that kfp's client would take: of its context, or of this pod."""
    named = _context().get("namespace")
    if isinstance(named, str) and named:
        return named
    try:
        folder = Path("/var/run/secrets/kubernetes.io/serviceaccount")
        return (folder / "namespace").read_text().strip() or None
    except OSError:
        return None


def _given(access: Access, base: str) -> list[_Source]:
    found = []
    token, cookie = kfp_variable(env.ENV_KFP_TOKEN), kfp_variable(env.ENV_KFP_COOKIE)
    if access.token_file is not None:
        found.append(_token_file(access.token_file, "--token-file"))
    elif token is not None:
        value = f"Bearer {_checked_token(token, env.ENV_KFP_TOKEN)}"
        found.append(_Source(f"the token of {env.ENV_KFP_TOKEN}", "Authorization", lambda: value))
    if access.cookie_file is not None:
        path = access.cookie_file
        words = f"the cookie of {path}"
        found.append(_Source(words, "Cookie", lambda: _cookie_of(path, base)))
    elif cookie is not None:
        line = _checked_cookie(cookie, env.ENV_KFP_COOKIE)
        found.append(_Source(f"the cookie of {env.ENV_KFP_COOKIE}", "Cookie", lambda: line))
    return found


def _of_kfp(base: str) -> list[_Source]:
    """Return what kfp's client finds by itself (kfp/client/client.py of 2.17.0)."""
    found = []
    named = kfp_variable(env.ENV_KFP_SA_TOKEN)
    if named is not None:
        found.append(_token_file(Path(named), env.ENV_KFP_SA_TOKEN))
    elif kfp_variable(env.ENV_KFP_IAP_CLIENT) is not None:
        found.append(_of_google(env.ENV_KFP_IAP_CLIENT, _iap_token))
    elif host_of(base).endswith(".googleusercontent.com"):
        found.append(_of_google("Google's default credentials", _gcp_token))
    elif is_in_cluster(base) and Path(_SA_TOKEN).is_file():
        found.append(_token_file(Path(_SA_TOKEN), "the service account"))
    context = _context()
    cookie, header = (
        context.get(f"client_authentication_{name}") for name in ("cookie", "header_name")
    )
    if isinstance(cookie, str) and cookie:
        line = _checked_cookie(cookie, _CONTEXT)
        found.append(_Source(f"the cookie of {_CONTEXT}", "Cookie", lambda: line))
    if isinstance(header, str) and header:
        value = _checked_line(str(context.get("client_authentication_header_value")), _CONTEXT)
        if not header.replace("-", "").isalnum():
            raise ConfigError(f"client_authentication_header_name in {_CONTEXT} is no header")
        found.append(_Source(f"the header of {_CONTEXT}", header, lambda: value))
    return found


def _token_file(path: Path, what: str) -> _Source:
    def read() -> str:
        return f"Bearer {_checked_token(_text_of(path, what), f'{what} {path}')}"

    return _Source(f"the token of {path}", "Authorization", read)


def _of_google(what: str, fetch: Callable[[], str | None]) -> _Source:
    kept: list[str] = []

    def read() -> str:
        if not kept:
            try:
                token = fetch()
            except Exception as error:  # of google.auth, requests, a browser: any kind
                raise ConfigError(
                    f"{what}: Google gives no token ({type(error).__name__}): log in with gcloud, "
                    "or name a service account in GOOGLE_APPLICATION_CREDENTIALS"
                ) from None
            kept.append(_checked_token(token or "", what))
        return f"Bearer {kept[0]}"

    return _Source(f"the token by {what}", "Authorization", read, kept.clear)


def _iap_token() -> str | None:
    from kfp.client import auth

    ids = (env.ENV_KFP_IAP_CLIENT, env.ENV_KFP_APP_CLIENT, env.ENV_KFP_APP_SECRET)
    token: str | None = auth.get_auth_token(*map(kfp_variable, ids))[0]
    return token


def _gcp_token() -> str | None:
    from kfp.client import auth

    token: str | None = auth.get_gcp_access_token()
    return token


def _context() -> dict[str, Any]:
    """Return what the user told kfp's client to remember."""
    path = Path(os.path.expanduser(_CONTEXT))  # noqa: PTH111  Path's own raises without a home
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    value = parse_json(data, str(path))
    return value if isinstance(value, dict) else {}


def _text_of(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise ConfigError(f"{what} is {path}, which cannot be read ({reason})") from None
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{what} is {path}, which is too large: put the value in it, and no more")
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{what} is {path}, which is no text: put the value in it") from None


def _checked_token(text: str, place: str) -> str:
    token = text.strip()
    if token[:7].lower() == "bearer ":
        token = token[7:].strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            f"{place} holds no token: put it there alone, one line of letters, digits and -._~+/="
        )
    return token


def _checked_line(text: str, place: str) -> str:
    line = text.strip()
    if not line or not line.isascii() or not line.isprintable():
        raise ConfigError(f"{place} holds what no header can: one line of ASCII")
    return line


def _checked_cookie(text: str, place: str) -> str:
    line = "; ".join(part.strip().rstrip(";") for part in text.splitlines() if part.strip())
    if line[:7].lower() == "cookie:":
        line = line[7:].strip()
    pairs = [pair.strip() for pair in line.split(";") if pair.strip()]
    names = [pair.partition("=")[0].strip() if "=" in pair else "" for pair in pairs]
    if not names or not all(map(_COOKIE_NAME.fullmatch, names)):
        raise ConfigError(f"{place} holds no cookie: put name=value in it, or a cookies.txt")
    return _checked_line("; ".join(pairs), place)


def _cookie_of(path: Path, base: str) -> str:
    """Return the cookies of a file that are for a host."""
    text, place = _text_of(path, "--cookie-file"), f"--cookie-file {path}"
    if "\t" not in text:
        return _checked_cookie(text, place)
    url = urlsplit(base)
    host, is_secure = (url.hostname or "").lower(), url.scheme == "https"
    found, is_kept_back = [], False
    for line in text.splitlines():
        fields = line.removeprefix("#HttpOnly_").split("\t")
        if line.startswith("# ") or len(fields) != 7:
            continue
        domain, below, _, secure, expires, name, value = fields
        domain = domain.lower().lstrip(".")
        is_its = host == domain or (below == "TRUE" and host.endswith(f".{domain}"))
        if not is_its or not _is_valid(expires):
            continue
        if is_secure or secure != "TRUE":
            found.append(f"{name}={value}")
        else:
            is_kept_back = True
    if not found and is_kept_back:
        raise ConfigError(
            f"{place} has a cookie for {host_of(base)} that goes over TLS alone, and the endpoint "
            "is http://: give https://"
        )
    if not found:
        raise ConfigError(f"{place} has no cookie for {host_of(base)} that is still valid")
    return _checked_line("; ".join(found), place)


def _is_valid(expires: str) -> bool:
    """Return whether a cookie of a `cookies.txt` is valid: 0, less or nothing is a session's."""
    try:
        until = float(expires or 0)
    except ValueError:
        return False
    return until <= 0 or until > time.time()
