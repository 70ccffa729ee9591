"""Requests to the API: certificates, proxies, no redirect followed, a bounded answer."""

import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from accrete.core.environment import ENV_REQUESTS_CA, ENV_SYSTEM_CA
from accrete.core.proxies import Proxy, proxy_to
from accrete.core.settings import kfp_variable, proxy_variables
from accrete.core.tls import SYSTEM_CA, trusting
from accrete.errors import ConfigError
from accrete.runners.kubeflow._answers import Answer
from accrete.runners.kubeflow._failures import Failure, failure_of

_MAX_BYTES = 64 * 1024 * 1024
"""More than a run with its workflow has: etcd holds 1.5 MiB of one."""
_CONNECT_S = 5.0


class UnansweredError(Exception):
    """A request has no answer."""

    def __init__(self, failure: Failure) -> None:
        """Carry why."""
        super().__init__(failure.words)
        self.failure = failure


class Http:
    """Connections to one address."""

    def __init__(self, base: str, ca_file: Path | None) -> None:
        """Make ready; connects to nothing yet.

        Raises:
            ConfigError: a file of CA certificates or a proxy's address cannot be used, or the file
                has no effect.
        """
        self._base = base
        context, self._trusted = None, ""
        if urlsplit(base).scheme == "https":
            context, self._trusted = _trusting(ca_file)
        elif ca_file is not None:
            raise ConfigError(
                f"--endpoint-ca {ca_file} has no effect on {base}, which is without TLS: leave it "
                "out, or give https://"
            )
        proxy = proxy_to(base, proxy_variables())
        self._proxy = proxy.address if proxy else None
        self._pool = _pool(proxy, context)

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        query: dict[str, str] | None = None,
        body: Any = None,
        timeout_s: float,
    ) -> Answer:
        """Return what answers; a redirect is an answer.

        Args:
            method: HTTP's.
            path: of the API, from `/apis` on.
            headers: to send beside those of JSON.
            query: as `path?query`.
            body: of JSON; None: none.
            timeout_s: for the answer, from byte to byte.

        Raises:
            UnansweredError: nothing does.
        """
        url = f"{self._base}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            response = self._pool.request(
                method,
                url,
                headers=sent,
                body=None if body is None else json.dumps(body).encode(),
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=timeout_s),
            )
            try:
                data = response.read(_MAX_BYTES, decode_content=True)
            finally:
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            failure = failure_of(error, self._base, self._proxy, self._trusted)
            raise UnansweredError(failure) from None
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(url=url, status=response.status, headers=names, body=data)


def _trusting(ca_file: Path | None) -> tuple[ssl.SSLContext, str]:
    """Return TLS that trusts the CAs of a file or of this system, and whose these are in words."""
    what, path = "--endpoint-ca", str(ca_file) if ca_file is not None else None
    for name in (ENV_REQUESTS_CA, ENV_SYSTEM_CA):
        if path is None:
            what, path = name, kfp_variable(name)
    return trusting(path, what, folders=True), path or SYSTEM_CA


def _pool(proxy: Proxy | None, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context, maxsize=2)
    headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else None
    return urllib3.ProxyManager(
        proxy.address, proxy_headers=headers, ssl_context=context, maxsize=2
    )
