"""One client of one store: its connections, its errors and what it counts, for all that ask."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from accrete.core.proxies import Proxy, proxy_to
from accrete.core.settings import proxy_variables
from accrete.errors import ObjectMissingError, StoreError
from accrete.store._client import SignedRequests, client_of
from accrete.store._errors import StoreErrors
from accrete.store._http import http_pool
from accrete.store._outage import Outage, StoreWait, asked_again_for, put_off
from accrete.store._redaction import without_leaks
from accrete.store._renewal import RenewedCredentials
from accrete.store.settings import StoreAddress, StoreSettings
from accrete.store.traffic import Traffic


class Session:
    """What the requests to one bucket (and prefix) share. Safe to share between threads."""

    def __init__(
        self, settings: StoreSettings, address: StoreAddress, *, patient: bool, wait_s: float
    ) -> None:
        """Describe it; nothing is contacted.

        Args:
            settings: the store.
            address: the bucket (and prefix).
            patient: see `http_pool`.
            wait_s: how long a request waits for a store that is away.
        """
        self.settings, self.address = settings, address
        self.traffic = Traffic()
        self.proxy = proxy_to(settings.endpoint, proxy_variables())
        self.credentials = RenewedCredentials(settings)
        self.secrets = _secrets_of(self.credentials, self.proxy)
        self.errors = StoreErrors(settings, address, self.secrets, self.proxy)
        self.http = http_pool(
            settings, self.proxy, self.errors.judged, self.traffic, patient=patient
        )
        self.client = client_of(settings, address.bucket, self.http, self.credentials)
        self.outage = Outage()
        self.foreground = StoreWait(self.outage, wait_s, asked_again_for(wait_s))
        self._put_off = put_off(wait_s)
        self.requests = SignedRequests(settings.region, address.bucket, self.client, self.http)

    def background(self) -> StoreWait:
        """Return what waits without end, until it is released."""
        return StoreWait(self.outage, None, self._put_off)

    def full(self, key: str) -> str:
        """Return a key with the prefix."""
        return self.address.prefix + key

    @contextmanager
    def explained(
        self, key: str, right: str, passing: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Turn the client library's errors into ours, and count them.

        Args:
            key: what the block is about.
            right: what the store's operator must have granted for it.
            passing: what is let through as it is.
        """
        try:
            with self.errors.translating(key, right, passing):
                yield
        except ObjectMissingError as error:
            # an answer: whether something exists is asked all the time
            raise error from None
        except StoreError as error:
            if not error.may_pass:
                self.traffic.add_error()
            raise self.without_leaks(error, key) from error.__cause__

    def without_leaks(self, error: StoreError, key: str) -> StoreError:
        """Return the error without causes that repeat what was sent to the store.

        Args:
            error: it.
            key: what it is about.
        """
        known = f"{self.settings.endpoint}{self.address.uri(key)}"
        without_leaks(error, self.secrets(), known)
        return error


def _secrets_of(
    credentials: RenewedCredentials, proxy: Proxy | None
) -> Callable[[], tuple[str, ...]]:
    """Return what tells what no message may repeat: the store's keys, the proxy's password.

    It holds no session: that would be a circle, which keeps connections open.
    """
    of_proxy = proxy.secrets if proxy else ()
    return lambda: (*credentials.secrets(), *of_proxy)
