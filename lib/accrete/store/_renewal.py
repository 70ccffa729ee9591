"""Credentials that every request asks for: kept, renewed in time, shared by threads."""

import threading
import time
from datetime import UTC, datetime

from minio.credentials import Credentials, Provider

from accrete.errors import AccreteError, reworded
from accrete.store._credential_requests import Ask, Obtained, asking, marks_of
from accrete.store.credentials import KeysSource
from accrete.store.settings import StoreSettings

_MARGIN_S = 300.0
"""Temporary keys are renewed so long before they end; EC2 has new ones from then on."""
_SHARE = 0.25
"""Or this share of their time, for those that live shorter."""
_QUIET_S = 20.0
"""After a renewal that failed, while the old keys still hold; and between two that are forced."""
_QUIET_OF_FILES_S = 1.0
"""The same where keys are given: to look at a file costs nothing."""
_READS = 3
"""Files that are exchanged one by one while they are read are read again, so often."""
_FAILED_S = 2.0
"""So long others are told of a failure instead of asking again."""


class _Held:
    """Keys, and until when they are as good as new."""

    def __init__(self, obtained: Obtained) -> None:
        self.credentials: Credentials = obtained.credentials
        self.obtained = obtained
        self.ends_at_s = self.renew_at_s = float("inf")
        if self.credentials.expiration is not None:
            now = time.time()
            self.ends_at_s = self.credentials.expiration.replace(tzinfo=UTC).timestamp()
            self.renew_at_s = self.ends_at_s - min(_MARGIN_S, _SHARE * (self.ends_at_s - now))

    def is_due(self) -> bool:
        return time.time() >= self.renew_at_s or self.has_changed()

    def has_changed(self) -> bool:
        return marks_of(self.obtained.files) != self.obtained.marks

    def holds(self) -> bool:
        return time.time() < self.ends_at_s


class RenewedCredentials(Provider):  # type: ignore[misc]  # minio is not typed
    """A store's credentials, as minio asks for them. Safe to share between threads."""

    def __init__(self, settings: StoreSettings) -> None:
        """Describe them; nothing is asked until the first request."""
        self._ask: Ask = asking(settings)
        source = settings.credentials
        self._can_change = not isinstance(source, KeysSource) or any(
            part.path is not None for part in source.parts
        )
        self._given = tuple(
            part.value for part in getattr(source, "parts", ()) if part.value is not None
        )
        self._quiet_s = _QUIET_OF_FILES_S if isinstance(source, KeysSource) else _QUIET_S
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._next_s = self._next_forced_s = 0.0
        self._failure: tuple[float, AccreteError] | None = None

    def retrieve(self) -> Credentials:
        """Return keys to sign a request with, renewed where they are about to end.

        While one thread renews them, others go on with what still holds; where a renewal fails, so
        does that one.

        Raises:
            ConfigError, StoreError: there are none, or none any more.
        """
        held = self._held
        holds = held is not None and held.holds()
        if held is not None and holds and self._is_good(held):
            return held.credentials
        if not self._lock.acquire(blocking=not holds):
            assert held is not None
            return held.credentials
        try:
            held = self._held
            if held is None or not held.holds() or not self._is_good(held):
                held = self._renewed(held)
            return held.credentials
        finally:
            self._lock.release()

    def renew(self, refused: Credentials) -> bool:
        """Ask the source again after the store refused keys; return whether it has others.

        Args:
            refused: what the store was asked with.

        Raises:
            ConfigError, StoreError: the source has none any more.
        """
        if not self._can_change:
            return False
        with self._lock:
            if self._held is not None and self._held.credentials != refused:
                return True  # another thread was here
            if time.monotonic() < self._next_forced_s:
                return False
            self._next_forced_s = time.monotonic() + self._quiet_s
            self._held = self._asked()
            return bool(self._held.credentials != refused)

    def secrets(self) -> tuple[str, ...]:
        """Return what no answer may be shown with: the keys and token that were used last."""
        if self._held is None:
            return self._given
        found = self._held.credentials
        return tuple(
            each for each in (found.access_key, found.secret_key, found.session_token) if each
        )

    @property
    def ends_at(self) -> datetime | None:
        """When the keys end that are used now; None: they do not."""
        held = self._held
        if held is None or held.credentials.expiration is None:
            return None
        end: datetime = held.credentials.expiration.replace(tzinfo=UTC)
        return end

    def _is_good(self, held: _Held) -> bool:
        return time.monotonic() < self._next_s or not held.is_due()

    def _renewed(self, held: _Held | None) -> _Held:
        """Ask the source; where it fails, go on with what holds."""
        holds = held is not None and held.holds()
        if not holds and self._failure and time.monotonic() < self._failure[0] + _FAILED_S:
            raise reworded(self._failure[1], str(self._failure[1]))
        try:
            self._held = self._asked()
        except AccreteError as error:
            if held is None or not held.holds():
                self._failure = time.monotonic(), error
                raise
            self._next_s = time.monotonic() + min(self._quiet_s, _quarter(held))
            return held
        return self._held

    def _asked(self) -> _Held:
        """Return what the source gives, of files all of the same time."""
        for _ in range(_READS):
            held = _Held(self._ask())
            if not held.has_changed():
                break
        return held


def _quarter(held: _Held) -> float:
    return max(0.5, _SHARE * (held.ends_at_s - time.time()))
