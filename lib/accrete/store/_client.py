"""The client library, told where a store is, and requests that it cannot send itself.

Signatures are version 4 of AWS. They go into headers, not into addresses, which errors and logs
show.
"""

import hashlib
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import urllib3
from minio.credentials import Credentials
from minio.helpers import BaseURL
from minio.signer import sign_v4_s3

from accrete.core.environment import ENV_ADDRESSING, ENV_ENDPOINT, ENV_STORE
from accrete.errors import ConfigError
from accrete.store._answers import StoreAnswer, refusal
from accrete.store._http import content_md5
from accrete.store._renewal import RenewedCredentials
from accrete.store._renewing_client import RenewingMinio
from accrete.store._retry import pause
from accrete.store.settings import StoreSettings

_CONFLICT_PAUSES_S = (0.1, 0.3, 1.0, 2.0, 4.0)
_OLD_AWS_HOST = re.compile(r"^s3-([a-z]{2}(?:-[a-z]+)+-[0-9](?=\.amazonaws\.com$))")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class _BelowPath(BaseURL):  # type: ignore[misc]
    """Addresses below an endpoint's path, which is signed too, as by AWS's own clients."""

    path = ""

    def build(self, **what: Any) -> SplitResult:
        """Return the address of a request."""
        url: SplitResult = super().build(**what)
        return url._replace(path=self.path + url.path)


def client_of(
    settings: StoreSettings,
    bucket: str,
    http: urllib3.PoolManager,
    credentials: RenewedCredentials,
) -> RenewingMinio:
    """Return a client of a store.

    Args:
        settings: the store.
        bucket: that will be used.
        http: connections.
        credentials: what requests are signed with.

    Raises:
        ConfigError: the endpoint is one of AWS's that is not S3, or has the bucket in it already,
            which would be taken for the beginning of all keys.
    """
    url = urlsplit(settings.endpoint)
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
    host = _OLD_AWS_HOST.sub(r"s3.\1", host)  # the library makes a host of it that does not exist
    is_default = url.port in (None, _DEFAULT_PORTS[url.scheme])
    netloc = f"{host}" if is_default else f"{host}:{url.port}"
    try:
        client = RenewingMinio(
            endpoint=netloc,
            credentials=credentials,
            secure=url.scheme == "https",
            region=settings.region,
            http_client=http,
        )
    except ValueError as error:
        raise ConfigError(
            f"{ENV_ENDPOINT} is {settings.endpoint}: {error}; give S3's own host, such as "
            "https://s3.eu-central-1.amazonaws.com, without the bucket"
        ) from error
    if path := url.path.rstrip("/"):
        below = _BelowPath(f"{url.scheme}://{netloc}", settings.region)
        below.path = quote(path, safe="/%")
        client._base_url = below  # it refuses a path in its own endpoint
    if settings.addressing == "virtual":
        if ":" in host or host.replace(".", "").isdecimal():
            raise ConfigError(
                f"{ENV_ADDRESSING} is virtual, and {ENV_ENDPOINT} is an address without a name "
                f"({host}): a bucket cannot be part of it; give a name, or path"
            )
        client.enable_virtual_style_endpoint()
    elif settings.addressing == "path":
        client.disable_virtual_style_endpoint()
    is_virtual = client._base_url.virtual_style_flag
    in_host = is_virtual and host.startswith(f"{bucket}.")
    if in_host or path.endswith(f"/{bucket}") or (path and client._base_url.is_aws_host):
        raise ConfigError(
            f"{ENV_ENDPOINT} is {settings.endpoint}: leave the bucket out, which --store or "
            f"{ENV_STORE} names ({bucket})"
        )
    return client


class SignedRequests:
    """Requests of our own to one bucket."""

    def __init__(
        self, region: str, bucket: str, client: RenewingMinio, http: urllib3.PoolManager
    ) -> None:
        """Share a client's connections.

        Args:
            region: for which they are signed.
            bucket: that all of them are about.
            client: makes addresses, and has the credentials.
            http: connections.
        """
        self._region, self._bucket = region, bucket
        self._client, self._http = client, http

    def create(self, key: str, data: bytes) -> StoreAnswer:
        """Ask to put an object where there is none (`If-None-Match: *`).

        Where two ask at once, S3 may answer both that there is a conflict (409), which is neither
        "created" nor "exists": it is asked again.

        Args:
            key: whole, with the prefix.
            data: its bytes.

        Raises:
            urllib3.exceptions.HTTPError: nothing answered.
        """
        for pause_s in (*_CONFLICT_PAUSES_S, None):
            response = self._put(key, data, {"If-None-Match": "*"})
            # Those that say why were asked again already.
            if response.status != 409 or refusal(response.data) is not None or pause_s is None:
                break
            pause(random.uniform(0.5, 1.0) * pause_s)  # noqa: S311  two that do not meet again
        return _answer(response)

    def put_damaged(self, key: str, data: bytes) -> StoreAnswer:
        """Send an object with the MD5 of other bytes."""
        return _answer(self._put(key, data, {"Content-MD5": content_md5(data + b"damaged")}))

    def date(self, key: str) -> str | None:
        """Return what the answer to a request about an object has for a date."""
        url, headers = self._signed("GET", key, self._client.credentials.retrieve())
        response = self._http.request("GET", url, headers=headers)
        return response.headers.get("Date")

    def status_of(self, key: str) -> int:
        """Return the HTTP status of one try to read an object.

        Raises:
            urllib3.exceptions.HTTPError: nothing answered.
        """
        url, headers = self._signed("GET", key, self._client.credentials.retrieve())
        try:
            response = self._http.request("GET", url, headers=headers, retries=False, timeout=5)
        except urllib3.exceptions.HTTPError as error:  # its text may repeat what was sent
            raise urllib3.exceptions.HTTPError(type(error).__name__) from None
        return int(response.status)

    def _put(self, key: str, data: bytes, more: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        def send(credentials: Credentials) -> urllib3.BaseHTTPResponse:
            url, headers = self._signed("PUT", key, credentials, data)
            return self._http.request("PUT", url, body=data, headers={**headers, **more})

        return self._client.signed_answer(send)

    def _signed(
        self, method: str, key: str, credentials: Credentials, body: bytes = b""
    ) -> tuple[str, dict[str, str]]:
        """Return the address of an object and the headers that sign a request for it."""
        presigned = self._client.get_presigned_url(method, self._bucket, key)
        url = urlsplit(presigned)._replace(query="")
        return urlunsplit(url), _signed_headers(method, url, body, self._region, credentials)


def _answer(response: urllib3.BaseHTTPResponse) -> StoreAnswer:
    return StoreAnswer(
        method="PUT",
        path="",
        query="",
        status=response.status,
        headers=response.headers,
        body=response.data,
    )


def _signed_headers(
    method: str, url: SplitResult, body: bytes, region: str, credentials: Credentials
) -> dict[str, str]:
    digest, now = hashlib.sha256(body).hexdigest(), datetime.now(UTC)
    unsigned = {
        "Host": url.netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
    }
    if credentials.session_token:
        unsigned["x-amz-security-token"] = credentials.session_token
    headers: dict[str, str] = sign_v4_s3(
        method=method,
        url=url,
        region=region,
        headers=unsigned,
        credentials=credentials,
        content_sha256=digest,
        date=now,
    )
    return headers
