"""What a request failed of before it had an answer, in words: names, connections, TLS, proxies."""

import ssl
from dataclasses import dataclass
from http.client import RemoteDisconnected

from urllib3 import exceptions

from accrete.core.tls import answers_without_tls, certificate_words, is_lasting, tls_error
from accrete.errors import one_line
from accrete.runners.kubeflow._address import host_of
from accrete.runners.kubeflow._answers import PROXY_LOGIN

_TLS_ALERT = "\\x15\\x03"
"""How a server that waited for TLS's greeting answers, as Python's messages have it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer."""

    words: str
    """Continues `Kubeflow Pipelines at URL `; says what to do."""
    is_lasting: bool
    """Whether another try is of no use."""
    was_sent: bool
    """Whether it may have been received and done."""
    is_late: bool = False
    """Whether its answer was waited for, and may still be worked on."""


def failure_of(error: Exception, base: str, proxy: str | None, trusted: str) -> Failure:
    """Return what a request failed of.

    Args:
        error: of urllib3, or the system's.
        base: where the API was looked for.
        proxy: that it went through, as messages show it; None: it went straight.
        trusted: whose certificates are trusted, in words.
    """
    tls = tls_error(error)
    if isinstance(error, exceptions.ProxyError) or (proxy and tls is None and not _is_cut(error)):
        return _of_proxy(error, proxy or "")
    if tls is not None:
        return Failure(_tls_words(tls, base, trusted), is_lasting(tls), was_sent=False)
    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        return Failure(_unconnected(error, base), is_lasting=False, was_sent=False)
    if isinstance(error, exceptions.LocationValueError):
        return Failure("has an address that cannot be used: check --endpoint", True, False)
    return _of_answer(error, base)


def _unconnected(error: Exception, base: str) -> str:
    if isinstance(error, exceptions.NameResolutionError):
        return f"cannot be reached: this machine knows no host {host_of(base)!r}; check --endpoint"
    is_late = not isinstance(error, exceptions.NewConnectionError)
    what = "does not take the connection in time" if is_late else "nothing answers there"
    return (
        f"cannot be reached: {what} ({_reason(error)}); check --endpoint, and the port-forward "
        "where there is one"
    )


def _of_answer(error: Exception, base: str) -> Failure:
    """Return what an answer failed of that had begun, or was waited for."""
    if _TLS_ALERT in str(error):
        return Failure("speaks TLS: give https:// instead of http://", True, was_sent=False)
    if isinstance(error, exceptions.ReadTimeoutError):
        return Failure("does not answer in time", False, was_sent=True, is_late=True)
    if "BadStatusLine" in str(error) or isinstance(error, exceptions.InvalidHeader):
        return Failure("does not speak HTTP: check --endpoint", True, was_sent=True)
    hint = "; if it is a port for TLS, give https://" if base.startswith("http:") else ""
    return Failure(f"breaks the connection ({_reason(error)}){hint}", False, was_sent=True)


def _is_cut(error: Exception) -> bool:
    return isinstance(error, exceptions.ProtocolError | exceptions.ReadTimeoutError)


def _of_proxy(error: Exception, proxy: str) -> Failure:
    text = str(getattr(error, "original_error", error))
    if "407" in text:
        return Failure(PROXY_LOGIN, is_lasting=True, was_sent=False)
    return Failure(
        f"cannot be reached through the proxy {proxy} ({_reason(error)}): check HTTP_PROXY and "
        "HTTPS_PROXY, or name the host in NO_PROXY",
        is_lasting=False,
        was_sent=False,
    )


def _tls_words(error: ssl.SSLError, base: str, trusted: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = certificate_words(error, host_of(base), trusted, "--endpoint-ca")
        return f"has a certificate that {words}"
    if answers_without_tls(error):
        return "answers without TLS: give http:// instead of https://, or its port for TLS"
    return f"cannot be reached: TLS failed ({error.reason or one_line(str(error))})"


def _reason(error: Exception) -> str:
    """Return the system's own words, or the kind of error."""
    seen: list[BaseException] = [error]
    for each in seen:
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        if type(each) is OSError and isinstance(each.args[0] if each.args else None, str):
            return one_line(str(each))
        if isinstance(each, RemoteDisconnected):
            return "closed without an answer"
        if isinstance(each, exceptions.IncompleteRead):
            return "cut short"
        inner = [getattr(each, "original_error", None), each.__cause__, *each.args]
        seen += [i for i in inner if isinstance(i, BaseException) and i not in seen]
    return type(error).__name__
