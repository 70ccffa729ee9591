"""What can go wrong with a store, from the client library's terms into one line for the user."""

import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import BadStatusLine, RemoteDisconnected
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from accrete.core.environment import ENV_ENDPOINT, ENV_REGION
from accrete.core.proxies import Proxy
from accrete.core.tls import is_lasting, tls_error
from accrete.errors import (
    BucketMissingError,
    ObjectMissingError,
    StoreAccessError,
    StoreError,
    StoreUnreachableError,
    one_line,
)
from accrete.store._answers import StoreAnswer, other_region, refusal, stranger
from accrete.store._redaction import shown_text
from accrete.store._retry import NOT_NOW, TRANSIENT, asked_pause_s
from accrete.store._tls import tls_failure
from accrete.store._whole_answers import TLS_ALERT
from accrete.store.settings import (
    StoreAddress,
    StoreSettings,
    default_store_uri,
    parse_store_uri,
    region_in_host,
)

_ACCESS_CODES = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_TOKEN_CODES = {
    *("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
    *("InvalidToken", "InvalidTokenId"),
}
_CLOCK_CODES = {"RequestTimeTooSkewed", "RequestExpired", "RequestNotReadyYet"}
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")
"""What Python's http.client says of a proxy's answer to CONNECT."""
_MISSING_CODES = {"NoSuchKey", "NoSuchObject", "ResourceNotFound"}


class StoreErrors:
    """The errors of one store."""

    def __init__(
        self,
        settings: StoreSettings,
        address: StoreAddress,
        secrets: Callable[[], Iterable[str]],
        proxy: Proxy | None,
    ) -> None:
        """Name a store in messages.

        Args:
            settings: how it is reached.
            address: the bucket and prefix that are used.
            secrets: return what it was asked with and no message may repeat.
            proxy: that leads there; None: none does.
        """
        self._settings, self._address, self._secrets = settings, address, secrets
        self._proxy = proxy

    def judged(self, answer: StoreAnswer) -> StoreError | None:
        """Return the error that an answer is before the client library reads it; None: it may."""
        region = other_region(answer, self._settings.region)
        if region is not None:
            return self.wrong_region(region)
        if answer.status == 407 and self._proxy is not None:
            return self._behind_proxy("407: it wants a name and password, or others")
        is_plain = refusal(answer.body) is None and not self.has_tls
        if answer.status == 400 and is_plain and b"HTTPS" in (answer.body or b"").upper():
            return self.wants_tls()
        who = stranger(answer, of_object=self._is_of_object(answer.path))
        if who is not None and answer.status not in TRANSIENT:
            return self.not_a_store(who)
        return self._not_now(answer, who)

    def _not_now(self, answer: StoreAnswer, who: str | None) -> StoreError | None:
        """Return the error of a store that could not, as often as it was asked.

        Args:
            answer: its own, or of what stands before it.
            who: status and words of the latter; None: the store's own.
        """
        said = refusal(answer.body)
        words = f"{said.code}: {said.message}" if said else ""
        if answer.status in TRANSIENT:
            wait = answer.headers.get("retry-after")
            asks = f", and asks to be left alone: Retry-After {wait}" if wait else ""
            told = who or f"{answer.status} {words}".strip()
            failing = self._failing(told + asks, is_stranger=who is not None)
            failing.asks_s = asked_pause_s(answer)
            return failing
        return self._failing(words) if said and _is_not_now(said.code, answer.status) else None

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
            raise self.refused(key, right, error.code, error.message) from error
        except (InvalidResponseError, ServerError, ValueError, ParseError) as error:
            if "HTTPS" in str(error) and not self.has_tls:
                raise self.wants_tls() from error
            status = getattr(error, "status_code", getattr(error, "_code", None))
            if isinstance(error, InvalidResponseError | ServerError) and status is not None:
                answered = StoreError(
                    f"{self._address.uri(key)}: {self._settings.endpoint} answered {status} and "
                    f"says no more: check {ENV_ENDPOINT} and what stands before the store"
                )
                raise (answered.passing() if status in TRANSIENT else answered) from error
            raise StoreError(
                f"{self._address.uri(key)}: the store answered with {self._shown(str(error))}"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: urllib3.exceptions.HTTPError) -> StoreError:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, urllib3.exceptions.ResponseError):
            return self._failing(str(reason))
        if isinstance(reason, urllib3.exceptions.ProxyError) and self._proxy is not None:
            away = self._behind_proxy(self._shown(str(reason.original_error)))
            return away if _is_proxys_no(reason) else away.passing()
        no_http = _no_http(reason)
        if no_http is not None:
            is_tls = TLS_ALERT in no_http.args and not self.has_tls
            return self.wants_tls() if is_tls else self.not_a_store("what does not speak HTTP")
        where = f"the object store at {self._settings.endpoint} cannot be reached"
        failure = tls_failure(reason, self._settings)
        if failure is not None:
            broken = StoreUnreachableError(f"{where}: {failure}")
            return broken if is_lasting(tls_error(reason)) else broken.passing()
        if isinstance(reason, urllib3.exceptions.NameResolutionError):
            return StoreUnreachableError(
                f"{where}: its name is not known here (DNS): check the endpoint; where the bucket "
                "is part of the host's name, try ACCRETE_S3_ADDRESSING=path"
            ).passing()
        return StoreUnreachableError(
            f"{where} ({type(reason).__name__}): check the endpoint and that the store runs"
        ).passing()

    def _behind_proxy(self, why: str) -> StoreUnreachableError:
        assert self._proxy is not None
        return StoreUnreachableError(
            f"the object store at {self._settings.endpoint} cannot be reached through the proxy "
            f"{self._proxy.address} of {self._proxy.variable} ({why}): check the proxy, or except "
            "the store in NO_PROXY"
        )

    def _failing(self, what: str, *, is_stranger: bool = False) -> StoreError:
        if is_stranger and self._proxy is not None:
            advice = f"look at it, at the proxy {self._proxy.address} of {self._proxy.variable} "
            advice += "and at what else stands before the store"
        elif is_stranger:
            advice = "look at it and at what stands before it"
        elif what.startswith("429") or "SlowDown" in what:
            advice = "it is asked more often than it likes: let fewer steps run at once, or look "
            advice += "at its limits"
        else:
            advice = "look at its log"
        return StoreError(
            f"the object store at {self._settings.endpoint} keeps failing ({self._shown(what)}): "
            f"{advice}"
        ).passing()

    def refused(self, key: str, right: str, code: str | None, message: str | None) -> StoreError:
        """Return the error that a store's refusal is.

        Args:
            key: what was asked about.
            right: what the store's operator must have granted for it.
            code: of S3.
            message: of the store, for people.
        """
        if code in _ACCESS_CODES:
            return self.no_access(key, right)
        if code in _TOKEN_CODES:
            return self._token_ended(code, key)
        if code in _CLOCK_CODES:
            return StoreAccessError(
                f"the object store at {self._settings.endpoint} refuses {self._address.uri(key)}, "
                f"since this machine's clock, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, is not the "
                "store's: set it right"
            )
        if code in ("NoSuchBucket", *_MISSING_CODES):
            missing = ObjectMissingError(f"{self._address.uri(key)} does not exist")
            return self.bucket_missing() if code == "NoSuchBucket" else missing
        if code == "BadRequest" and not self.has_tls:
            return self.wants_tls()
        return self.answered(key, f"{code}: {message}")

    def not_created(self, key: str, right: str, answer: StoreAnswer) -> StoreError:
        """Return the error of an object that was to be created where there is none, and was not."""
        said = refusal(answer.body)
        code = said.code if said else None
        if answer.status == 501 or code == "NotImplemented":
            return StoreError(
                f"the object store at {self._settings.endpoint} cannot create an object only "
                f"where there is none (If-None-Match: {answer.status} {code or ''}), without which "
                "two runs would overwrite each other: use a store that can (docs/store.md)"
            )
        if said is not None:
            return self.refused(key, right, said.code, said.message)
        if answer.status == 403:
            return self.no_access(key, right)
        if answer.status == 400 and not self.has_tls:
            return self.wants_tls()
        return StoreError(
            f"{self._address.uri(key)} could not be created: the store answered {answer.status}"
        )

    def overlooks_create_only(self) -> StoreError:
        """Return the error of a store that overwrites what it was asked not to."""
        return StoreError(
            f"the object store at {self._settings.endpoint} overwrites an object that it was asked "
            "to create only where there is none (it overlooks If-None-Match), so that two runs "
            "would overwrite each other: use a store that heeds it (docs/store.md)"
        )

    def answered(self, key: str, what: str) -> StoreError:
        """Return the error of an answer that we have no better words for than the store's."""
        return StoreError(f"{self._address.uri(key)}: the store answered {self._shown(what)}")

    def no_access(self, key: str, right: str) -> StoreAccessError:
        """Return the error of credentials that may not do what was asked."""
        return StoreAccessError(
            f"the object store at {self._settings.endpoint} refuses access to "
            f"{self._address.uri(key)} with {self._settings.credentials}: check the credentials, "
            f"this machine's clock, and that they have the right {right} there"
        )

    def _token_ended(self, code: str | None, key: str) -> StoreAccessError:
        return StoreAccessError(
            f"the object store at {self._settings.endpoint} refuses {self._address.uri(key)} with "
            f"{self._settings.credentials}: their session token has ended or is not theirs "
            f"({code}), get new keys"
        )

    def not_a_store(self, who: str) -> StoreError:
        """Return the error of an address where something else answers.

        Args:
            who: status and words of what answered.
        """
        if "RBAC: access denied" in who:
            advice = (
                "a service mesh (Istio) refuses it before the store does: allow it in an "
                "AuthorizationPolicy"
            )
        elif "redirected" in who:
            advice = "is a login before it? give the store's own address"
        elif "Console" in who:
            advice = "that is a console: give the port of the S3 API"
        elif who.startswith("413"):
            advice = "what stands before the store takes no such large bodies: raise its limit"
        elif self._proxy is not None:
            advice = f"check the proxy {self._proxy.address} of {self._proxy.variable}, or except "
            advice += "the store in NO_PROXY"
        else:
            advice = f"check {ENV_ENDPOINT} and what stands before the store"
        return StoreError(
            f"no object store answers at {self._settings.endpoint}, but {self._shown(who)}: "
            f"{advice}"
        )

    def wrong_region(self, region: str) -> StoreError:
        """Return the error of a bucket that is in another region.

        Args:
            region: where it is.
        """
        region = {"EU": "eu-west-1", "US": "us-east-1"}.get(region, self._shown(region))
        host = urlsplit(self._settings.endpoint).hostname or ""
        named = region_in_host(host)
        if named is not None:
            advice = f"set {ENV_ENDPOINT}=https://{host.replace(named, region)}"
        else:
            advice = f"set {ENV_REGION}={region}"
        if self._address.bucket != parse_store_uri(default_store_uri()).bucket:
            advice += ", or copy it: a run's images and its store are in one region"
        return StoreError(
            f"bucket {self._address.bucket!r} is in region {region}, and requests to "
            f"{self._settings.endpoint} are for {self._settings.region}: {advice} (in a cluster, "
            "in the store's ConfigMap)"
        )

    def _is_of_object(self, path: str) -> bool:
        """Return whether a request's path is an object's, and not the bucket's."""
        path = path.removeprefix(urlsplit(self._settings.endpoint).path.rstrip("/"))
        rest = path.removeprefix(f"/{self._address.bucket}")
        return rest.strip("/") != ""

    @property
    def has_tls(self) -> bool:
        """Whether the store is spoken to over TLS."""
        return urlsplit(self._settings.endpoint).scheme == "https"

    def wants_tls(self) -> StoreError:
        """Return the error of a store that may want TLS and is not given it."""
        return StoreError(
            f"the object store at {self._settings.endpoint} does not understand plain HTTP: "
            "give https:// if that is its port for TLS"
        )

    def bucket_missing(self) -> BucketMissingError:
        """Return the error of a bucket that does not exist."""
        return BucketMissingError(
            f"bucket {self._address.bucket!r} does not exist at {self._settings.endpoint}: "
            "create it or name another with --store"
        )

    def _shown(self, said: str) -> str:
        """Return what was said, for a message: not what it repeats of the request."""
        known = f"{self._settings.endpoint} {self._address}"
        return shown_text(one_line(said)[:300], self._secrets(), known)


def _is_not_now(code: str, status: int) -> bool:
    """Return whether a refusal is one of the moment: in a success, or by its code."""
    return 200 <= status < 300 or code in NOT_NOW


def _is_proxys_no(reason: urllib3.exceptions.ProxyError) -> bool:
    """Return whether a proxy would say the same another time: no to a tunnel, a wrong CA."""
    refused = _TUNNEL_REFUSED.search(str(reason.original_error))
    if refused is not None:
        return int(refused[1]) not in TRANSIENT
    return is_lasting(tls_error(reason.original_error))


def _no_http(reason: Exception) -> BadStatusLine | None:
    """Return what was said of an answer that is not HTTP; None where none came, or a part."""
    said = (each for each in reason.args if isinstance(each, BadStatusLine))
    return next((each for each in said if not isinstance(each, RemoteDisconnected)), None)
