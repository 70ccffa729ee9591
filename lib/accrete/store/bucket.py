"""What a bucket is, beside the objects in it: whether it exists, its clock, what it keeps."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from minio.versioningconfig import VersioningConfig

from accrete.core.units import format_counted
from accrete.errors import BucketMissingError, StoreError, StoreUnreachableError
from accrete.store import keys
from accrete.store._session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What a bucket keeps of what is deleted or overwritten."""

    is_versioned: bool
    """Whether the old object stays, as a version that is no longer current."""
    was_versioned: bool
    """Whether versions from before they were suspended stay."""
    retention: str | None
    """For how long object lock keeps each object, such as `30 days`; None: it does not."""


class Bucket:
    """The bucket of one store."""

    def __init__(self, session: Session) -> None:
        """Share a store's connections."""
        self._session = session

    def create(self) -> None:
        """Create it where it does not exist; for the stores that we start ourselves."""
        client, name = self._session.client, self._session.address.bucket
        with self._session.explained("", "s3:CreateBucket"):
            if not client.bucket_exists(name):
                client.make_bucket(name)

    def clock(self) -> datetime:
        """Return the time by the store's clock, in whole seconds; ours may be off.

        Raises:
            StoreError: its answer does not tell.
        """
        return self._session.foreground.waited(self._clock)

    def _clock(self) -> datetime:
        key = keys.create_only_key()  # whether it is there or not, an answer has a date
        with self._session.explained(key, "s3:GetObject"):
            date = self._session.requests.date(self._session.full(key))
            try:
                return parsedate_to_datetime(date or "")
            except (TypeError, ValueError) as error:
                raise StoreError(
                    f"the object store at {self._session.settings.endpoint} does not tell the "
                    "time: it sends no Date header"
                ) from error

    def keeping(self) -> Keeping | None:
        """Return what it keeps of what is gone; None: the store does not say, or not to us."""
        try:
            state = self._session.foreground.waited(self._versioning)
        except (BucketMissingError, StoreUnreachableError):
            raise
        except StoreError:
            return None  # it knows no versions, or does not say: how it says so differs
        is_versioned = state.status == "Enabled"
        return Keeping(
            is_versioned=is_versioned,
            was_versioned=state.status == "Suspended",
            retention=self._retention() if is_versioned else None,
        )

    def _versioning(self) -> VersioningConfig:
        with self._session.explained("", "s3:GetBucketVersioning"):
            return self._session.client.get_bucket_versioning(self._session.address.bucket)

    def refuses_damage(self, key: str, data: bytes) -> bool:
        """Send an object with the checksum of another; return whether the store notices it."""
        with self._session.explained(key, "s3:PutObject"):
            answer = self._session.requests.put_damaged(self._session.full(key), data)
            if answer.status != 400 and not 200 <= answer.status < 300:
                raise self._session.errors.not_created(key, "s3:PutObject", answer)
        return answer.status == 400

    def _retention(self) -> str | None:
        """Return for how long object lock keeps an object that says nothing itself."""
        try:
            with self._session.explained("", "s3:GetBucketObjectLockConfiguration"):
                lock = self._session.client.get_object_lock_config(self._session.address.bucket)
        except StoreError:
            return None  # it has none, or does not say: what it then refuses says more
        if not lock.mode or not lock.duration:
            return None
        unit = str(lock.duration_unit).lower().rstrip("s")  # the store's word is "Days" or "Years"
        return format_counted(lock.duration, unit)
