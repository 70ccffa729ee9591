"""What can go wrong with a store, from the client library's terms into one line for the user."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from accrete.errors import (
    BucketMissingError,
    ObjectMissingError,
    StoreAccessError,
    StoreError,
    StoreUnreachableError,
)
from accrete.store._http import tls_failure
from accrete.store.settings import StoreAddress, StoreSettings

_ACCESS_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired", "RequestNotReadyYet"}
_MISSING_CODES = {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}


class StoreErrors:
    """The errors of one store."""

    def __init__(self, settings: StoreSettings, address: StoreAddress) -> None:
        """Name a store in messages.

        Args:
            settings: how it is reached.
            address: the bucket and prefix that are used.
        """
        self._settings, self._address = settings, address

    @contextmanager
    def translating(
        self, key: str, right: str, passing: tuple[type[Exception], ...]
    ) -> Iterator[None]:
        """Turn what the client library raises in a block into our errors.

        Args:
            key: what the block is about.
            right: what the store's operator must have granted for it.
            passing: what is let through as it is.
        """
        try:
            yield
        except passing:
            raise
        except S3Error as error:
            # The client's frame that raised it holds it, too: a circle, which would keep the
            # store's connections open until the garbage collector comes.
            traceback.clear_frames(error.__traceback__)
            raise self._translated(error, key, right) from error
        except (InvalidResponseError, ServerError, ValueError) as error:
            if "HTTPS" in str(error) and not self.has_tls:
                raise self.wants_tls() from error
            raise StoreError(
                f"{self._address.uri(key)}: the store answered with {error}"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, urllib3.exceptions.ResponseError):
                raise StoreError(
                    f"the object store at {self._settings.endpoint} keeps failing ({reason}): "
                    "look at its log"
                ) from error
            failure = tls_failure(reason, self._settings)
            if failure is not None:
                raise StoreUnreachableError(
                    f"the object store at {self._settings.endpoint} cannot be reached: {failure}"
                ) from error
            raise StoreUnreachableError(
                f"the object store at {self._settings.endpoint} cannot be reached "
                f"({type(reason).__name__}): check the endpoint and that the store runs"
            ) from error

    def _translated(self, error: S3Error, key: str, right: str) -> StoreError:
        if error.code in _ACCESS_CODES:
            return self.no_access(key, right)
        if error.code in _CLOCK_CODES:
            return StoreAccessError(
                f"the object store at {self._settings.endpoint} refuses {self._address.uri(key)}, "
                f"since this machine's clock, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, is not the "
                "store's: set it right"
            )
        if error.code == "NoSuchBucket":
            return self.bucket_missing()
        if error.code in _MISSING_CODES:
            return ObjectMissingError(f"{self._address.uri(key)} does not exist")
        if error.code == "BadRequest" and not self.has_tls:
            return self.wants_tls()
        return StoreError(
            f"{self._address.uri(key)}: the store answered {error.code}: {error.message}"
        )

    def no_access(self, key: str, right: str) -> StoreAccessError:
        """Return the error of credentials that may not do what was asked."""
        return StoreAccessError(
            f"the object store at {self._settings.endpoint} refuses access to "
            f"{self._address.uri(key)} with access key {self._settings.shown_access_key}: check "
            f"the credentials, this machine's clock, and that they have the right {right} there"
        )

    @property
    def has_tls(self) -> bool:
        """Whether the store is spoken to over TLS."""
        return self._settings.endpoint.startswith("https://")

    def wants_tls(self) -> StoreError:
        """Return the error of a store that may want TLS and is not given it."""
        return StoreError(
            f"the object store at {self._settings.endpoint} does not understand plain HTTP (400): "
            "give https:// if that is its port for TLS"
        )

    def bucket_missing(self) -> BucketMissingError:
        """Return the error of a bucket that does not exist."""
        return BucketMissingError(
            f"bucket {self._address.bucket!r} does not exist at {self._settings.endpoint}: "
            "create it or name another with --store"
        )
