"""Requests to an object store: TLS, signatures, what is tried again, what a handshake failed of.

Python's parser takes a head that ends early for one that ends: an answer that is cut there reads as
one without a body, or with another size, and so a whole object as one of no bytes. Such an answer
is asked for again.
"""

import hashlib
import ssl
from datetime import UTC, datetime
from http.client import HTTPResponse, IncompleteRead
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from minio.credentials import Credentials
from minio.signer import sign_v4_s3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from accrete.core.environment import ENV_CA_BUNDLE
from accrete.errors import ConfigError
from accrete.store.settings import StoreSettings

_TRANSIENT = (500, 502, 503, 504)
_EXPIRED, _NOT_YET_VALID = 10, 9
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21, 27)
_OTHER_NAME = (62, 64)
# Results of X509_verify_cert. Source: openssl, include/openssl/x509_vfy.h.in.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL says when the answer to its greeting is not TLS."""


class _Retry(urllib3.Retry):
    """Tries again, but not what stays as it is: a certificate, or a port without TLS."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> "_Retry":
        """Count an attempt.

        Raises:
            MaxRetryError: another one is of no use.
        """
        if error is not None and _is_lasting(_tls_error(error)):
            raise urllib3.exceptions.MaxRetryError(_pool, url or "", error) from error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def retries(**options: Any) -> urllib3.Retry:
    """Return how often a request is tried: five times, within about three seconds."""
    return _Retry(total=4, backoff_factor=0.2, status_forcelist=_TRANSIENT, **options)


def http_pool(settings: StoreSettings) -> urllib3.PoolManager:
    """Return connections to a store; with https its certificate and name are checked.

    Raises:
        ConfigError: the file of CA certificates cannot be used.
    """
    context = None
    if urlsplit(settings.endpoint).scheme == "https":
        context = _trusting(settings.ca_bundle)
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60),
        maxsize=16,
        ssl_context=context,
        retries=retries(),
    )
    return only_whole_answers(pool)


def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    """Return TLS that trusts the certificates of a file, or this system's."""
    try:
        return ssl.create_default_context(cafile=ca_bundle)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{ENV_CA_BUNDLE} is {ca_bundle}, which holds no CA certificate that can be read "
            f"({error.reason or error}): give a file of certificates in PEM"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{ENV_CA_BUNDLE} is {ca_bundle}, which cannot be read ({error.strerror}): give a file "
            "of CA certificates in PEM"
        ) from error


def signed_headers(
    method: str, url: SplitResult, body: bytes, settings: StoreSettings
) -> dict[str, str]:
    """Return the headers of a request that is signed (AWS signature version 4) for a store."""
    digest, now = hashlib.sha256(body).hexdigest(), datetime.now(UTC)
    headers: dict[str, str] = sign_v4_s3(
        method=method,
        url=url,
        region=settings.region,
        headers={
            "Host": url.netloc,
            "x-amz-content-sha256": digest,
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        },
        credentials=Credentials(settings.access_key, settings.secret_key),
        content_sha256=digest,
        date=now,
    )
    return headers


def tls_failure(error: BaseException, settings: StoreSettings) -> str | None:
    """Return what is wrong with a store's TLS and what to do; None: that is not what failed."""
    tls = _tls_error(error)
    if tls is None:
        return None
    if isinstance(tls, ssl.SSLCertVerificationError):
        return _refused_certificate(tls, settings)
    if tls.reason in _NO_TLS:
        return "it answers without TLS: give http:// instead of https://, or its port for TLS"
    return f"TLS failed ({tls.reason or tls})"


def _refused_certificate(error: ssl.SSLCertVerificationError, settings: StoreSettings) -> str:
    code, trusted = error.verify_code, settings.ca_bundle or "this system's CA certificates"
    if code == _EXPIRED:
        return "its certificate has expired: renew it, or set this machine's clock right"
    if code == _NOT_YET_VALID:
        return "its certificate is not valid yet: set this machine's clock right"
    if code in _OTHER_NAME:
        host = urlsplit(settings.endpoint).hostname
        return f"its certificate is not for {host}: use a name or address that it has"
    if code in _UNKNOWN_ISSUER:
        return (
            f"its certificate is from no CA in {trusted} ({error.verify_message}): name the file "
            f"of its CA's certificate in {ENV_CA_BUNDLE}"
        )
    return f"its certificate is refused ({error.verify_message})"


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return OpenSSL's own error out of what urllib3 makes of it."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    if isinstance(error, urllib3.exceptions.SSLError) and error.args:
        error = error.args[0]
    return error if isinstance(error, ssl.SSLError) else None


def _is_lasting(error: ssl.SSLError | None) -> bool:
    """Return whether another try would fail alike; a handshake that broke off would not."""
    return isinstance(error, ssl.SSLCertVerificationError) or (
        error is not None and error.reason in _NO_TLS
    )


class _Lines:
    """A file that remembers the last line that was read of it."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.last = b""

    def readline(self, *arguments: Any) -> bytes:
        self.last = self._file.readline(*arguments)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _WholeResponse(HTTPResponse):
    """An answer whose head ends with an empty line."""

    def begin(self) -> None:
        """Read the head.

        Raises:
            IncompleteRead: it broke off; urllib3 then asks again.
        """
        response: Any = self
        file = response.fp
        response.fp = lines = _Lines(file)
        super().begin()
        if response.fp is lines:
            response.fp = file
        if lines.last not in (b"\r\n", b"\n"):
            raise IncompleteRead(lines.last)


class _Connection(HTTPConnection):
    response_class = _WholeResponse


class _SecureConnection(HTTPSConnection):
    response_class = _WholeResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def only_whole_answers(manager: urllib3.PoolManager) -> urllib3.PoolManager:
    """Return the manager, which takes whole heads alone from now on."""
    pools: Any = {"http": _Pool, "https": _SecurePool}
    manager.pool_classes_by_scheme = pools
    return manager
