"""minio's client, which asks once more with new keys where a store says that the old ones ended."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from minio import Minio
from minio.credentials import Credentials
from minio.error import S3Error

from accrete.errors import AccreteError
from accrete.store._renewal import RenewedCredentials

_ENDED = {
    *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"),
    *("InvalidTokenId", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity"),
    "SignatureDoesNotMatch",  # the secret key of another access key: files that were exchanged
}
"""What stores say of keys that are none any more.
Source: docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html."""


class RenewingMinio(Minio):  # type: ignore[misc]  # minio is not typed
    """A client that signs with what a provider has now, and asks that for more where it must."""

    def __init__(self, *, credentials: RenewedCredentials, **options: Any) -> None:
        """Describe a store as Minio does; nothing is contacted."""
        super().__init__(credentials=credentials, **options)
        self.credentials = credentials

    def _url_open(self, *arguments: Any, **options: Any) -> Any:
        """Send a request: every one of Minio's goes this way."""
        used = self.credentials.retrieve()
        try:
            return super()._url_open(*arguments, **options)
        except S3Error as error:
            if not self._has_others(used, error.response.status, error.response.data, error.code):
                raise
        return super()._url_open(*arguments, **options)

    def signed_answer(
        self, send: Callable[[Credentials], urllib3.BaseHTTPResponse]
    ) -> urllib3.BaseHTTPResponse:
        """Return the answer to a request that is not Minio's own.

        Args:
            send: signs it with the credentials that it is given, and sends it.
        """
        used = self.credentials.retrieve()
        answer = send(used)
        found = re.search(rb"<Code>(\w{1,64})</Code>", answer.data)
        code = found[1].decode() if found else ""
        if answer.status != 200 and self._has_others(used, answer.status, answer.data, code):
            return send(self.credentials.retrieve())
        return answer

    def _has_others(self, used: Credentials, status: int, body: bytes, code: str | None) -> bool:
        """Return whether there are other keys now, after an answer that may be due to the old."""
        if code in _ENDED:
            return self.credentials.renew(used)
        if status in (400, 403) and not body:
            try:  # an answer to HEAD has no body that would say why
                return self.credentials.renew(used)
            except AccreteError:
                return False
        return False


class UploadProgress:
    """What minio-py tells of an upload."""

    def __init__(self, heard: Callable[[int], None]) -> None:
        self.update = heard

    def set_meta(self, object_name: str, total_length: int) -> None:
        """Do nothing: both are known."""


@contextmanager
def released(response: Any) -> Iterator[None]:
    """Give a response's connection back to the pool."""
    try:
        yield
    finally:
        response.close()
        response.release_conn()
