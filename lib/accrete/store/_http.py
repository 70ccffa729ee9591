"""Connections to an object store, and a first look at every answer that comes by them.

The client library takes what comes for the store's. So each answer is looked at here first: one
that says "not now" is asked for again, and one that is somebody else's, or names another region, is
an error that says so.
"""

import hashlib
import io
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3

from accrete.core.environment import ENV_CA_BUNDLE
from accrete.core.processes import ending
from accrete.core.proxies import Proxy
from accrete.core.tls import trusting
from accrete.store._answers import MAX_ANSWER_BYTES, StoreAnswer, refusal
from accrete.store._retry import NOT_NOW, TRANSIENT, never_again, pause, retries
from accrete.store._whole_answers import only_whole_answers
from accrete.store.settings import StoreSettings
from accrete.store.traffic import Traffic

_PAUSES_S = (0.2, 1.0, 5.0)

_CONNECT_S, _READ_S, _LARGE_READ_S = 5.0, 30.0, 60.0
"""The last: between two pieces of an object, and for the answer to what is much or takes long."""
_IMPATIENT_READ_S, _LAST_READ_S = 5.0, 10.0
"""The last: once this process was told to end, which mostly leaves it half a minute."""
_MUCH_BYTES = 1 << 20

Judge = Callable[[StoreAnswer], Exception | None]
"""Returns the error that an answer is; None: the client library may read it."""


class _LookingPool:
    """Connections whose answers are looked at before anybody else reads them."""

    judge: Judge
    traffic: Traffic
    is_patient: bool

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:
        """Send a request and return its answer; no redirection is followed.

        Raises:
            StoreError: as the judge says.
        """
        del redirect  # to sign a request for one host and show the signature to another
        preload = options.pop("preload_content", True)
        if self.is_patient:
            options.setdefault("timeout", _timeout_of(url, options.get("body")))
            options.setdefault("retries", retries())  # they begin now
        if method in ("PUT", "POST"):
            options["headers"] = _with_checksum(options.get("headers"), options.get("body"))
        for pause_s in (*_PAUSES_S, None):
            response = super().urlopen(  # type: ignore[misc]
                method, url, redirect=False, preload_content=preload, **options
            )
            self.traffic.add_retries(len(response.retries.history) if response.retries else 0)
            if self.is_patient:
                _be_patient_with(response)
            answer, response = _looked_at(method, url, response, preload=preload)
            said = refusal(answer.body)
            not_now = said is not None and said.code in NOT_NOW
            if not (not_now and answer.status not in TRANSIENT and pause_s is not None):
                break
            response.close()
            self.traffic.add_retries(1)
            pause(pause_s)
        failure = self.judge(answer)
        if failure is not None and answer.body is None:
            begun = replace(answer, body=response.read(MAX_ANSWER_BYTES))
            failure = self.judge(begun) or failure  # it can say more
        if failure is not None:
            response.close()
            raise failure
        return response


class _Straight(_LookingPool, urllib3.PoolManager):  # type: ignore[misc]
    pass


class _ThroughProxy(_LookingPool, urllib3.ProxyManager):  # type: ignore[misc]
    pass


def http_pool(
    settings: StoreSettings,
    proxy: Proxy | None,
    judge: Judge = lambda _: None,
    traffic: Traffic | None = None,
    *,
    patient: bool = True,
) -> urllib3.PoolManager:
    """Return connections to a store; with https its certificate and name are checked.

    Args:
        settings: the store.
        proxy: that leads there; None: none does.
        judge: looks at every answer.
        traffic: told what is asked again.
        patient: ask again what went unanswered, for half a minute; else once, for seconds.

    Raises:
        ConfigError: the file of CA certificates cannot be used.
    """
    is_tls = urlsplit(settings.endpoint).scheme == "https"
    options: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=_CONNECT_S, read=_IMPATIENT_READ_S),
        "maxsize": 16,
        "ssl_context": trusting(settings.ca_bundle, ENV_CA_BUNDLE) if is_tls else None,
        "retries": never_again(),
    }
    pool: _Straight | _ThroughProxy
    if proxy is None:
        pool = _Straight(**options)
    else:
        headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else None
        pool = _ThroughProxy(
            proxy.address,
            proxy_headers=headers,
            proxy_ssl_context=trusting(settings.ca_bundle, ENV_CA_BUNDLE),
            **options,
        )
    pool.judge, pool.traffic, pool.is_patient = judge, traffic or Traffic(), patient
    return only_whole_answers(pool)


def _timeout_of(url: str, body: Any) -> urllib3.Timeout:
    """Return how long an answer may take to begin: a store that hangs is to be told of soon."""
    of_upload = "uploadId=" in urlsplit(url).query  # its end may take the store long
    is_much = of_upload or (body is not None and len(body) > _MUCH_BYTES)
    read_s = _LARGE_READ_S if is_much else _READ_S
    if ending().is_set():
        read_s = min(read_s, _LAST_READ_S)
    return urllib3.Timeout(connect=_CONNECT_S, read=read_s)


def _be_patient_with(response: Any) -> None:
    """Let an answer that has begun, and is still to be read, take its time between two pieces."""
    connection = getattr(getattr(response, "_connection", None), "sock", None)
    if connection is not None:
        connection.settimeout(_LARGE_READ_S)


def _looked_at(method: str, url: str, response: Any, *, preload: bool) -> tuple[StoreAnswer, Any]:
    """Return an answer's beginning, and the answer as if nobody had read it."""
    body: bytes | None = None
    if preload:
        body = response.data
    elif not 200 <= response.status < 300:
        body = response.read(MAX_ANSWER_BYTES)
        response.drain_conn()
        response.release_conn()
        response = urllib3.HTTPResponse(
            body=io.BytesIO(body or b""),
            headers=response.headers,
            status=response.status,
            reason=response.reason,
            request_method=method,
            request_url=url,
            preload_content=False,
            decode_content=False,
        )
    answer = StoreAnswer(
        method=method,
        path=unquote(urlsplit(url).path),
        query=urlsplit(url).query,
        status=response.status,
        headers=response.headers,
        body=body,
    )
    return answer, response


def _with_checksum(headers: Any, body: Any) -> Any:
    """Return headers with the body's MD5, without which a bucket with object lock takes nothing.

    The client library sends it over TLS alone.
    """
    headers = urllib3.HTTPHeaderDict(headers or {})
    if isinstance(body, bytes | bytearray | memoryview) and "Content-MD5" not in headers:
        headers["Content-MD5"] = content_md5(body)
    return headers


def content_md5(body: bytes | bytearray | memoryview) -> str:
    """Return the value of `Content-MD5` for a body."""
    return b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
