"""Where a step's figures go: a port that Prometheus scrapes, and a Pushgateway at start and end.

Monitoring never ends a step, nor holds it up: what does not work is one line in the log, and a push
has a few seconds at most.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIServer

import urllib3
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.exposition import delete_from_gateway, push_to_gateway

from accrete.core.settings import PushgatewaySettings, metrics_address, pushgateway_settings
from accrete.errors import AccreteError, ConfigError
from accrete.monitoring.metrics import StepMetrics

JOB = "accrete"
"""Every group that we push has this job."""
REQUEST_TIMEOUT_S = 4.0


class PushError(AccreteError):
    """The Pushgateway did not take, or give, what was asked."""


class Pushgateway:
    """A Pushgateway; a group of metrics in it is one step of one run.

    prometheus_client makes the requests, which are sent here: not by the environment's proxies.
    """

    def __init__(self, settings: PushgatewaySettings) -> None:
        """Describe it; nothing is contacted until the first call."""
        self._url, user = settings.url, settings.username
        self._headers = {}
        if user is not None:  # urllib3's own takes Latin-1 alone
            pair = b64encode(f"{user}:{settings.password or ''}".encode())
            self._headers["Authorization"] = f"Basic {pair.decode()}"
        timeout = urllib3.Timeout(total=REQUEST_TIMEOUT_S)
        # Without retries no redirect is followed: the credentials are for this address alone.
        self._http = urllib3.PoolManager(timeout=timeout, retries=False)

    def push(self, run_name: str, step: str, registry: CollectorRegistry) -> None:
        """Replace a step's group by what the registry has now.

        Raises:
            PushError: it could not be.
        """
        group = {"run": run_name, "step": step}
        push_to_gateway(self._url, JOB, registry, group, handler=self._sender)

    def delete_older_than(self, seconds: float) -> int:
        """Delete our groups that nothing was pushed to for so long; return how many.

        A Pushgateway forgets nothing by itself, and every run has groups of its own.

        Raises:
            PushError: it could not be asked.
        """
        before = time.time() - seconds
        old = [group for group, pushed_at in self._groups() if pushed_at < before]
        for group in old:
            delete_from_gateway(self._url, JOB, group, handler=self._sender)
        return len(old)

    def _groups(self) -> list[tuple[dict[str, str], float]]:
        """Return run and step of our groups, and the time of the last push."""
        response = self._request("GET", f"{self._url}/api/v1/metrics", self._headers)
        try:
            return [
                (group["labels"], float(group["push_time_seconds"]["metrics"][0]["value"]))
                for group in response.json()["data"]
                if group["labels"].pop("job", None) == JOB
                and group["labels"].keys() == {"run", "step"}
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise PushError(f"what answers at {self._url} is no Pushgateway") from None

    def _sender(
        self, *, url: str, method: str, headers: list[tuple[str, str]], data: bytes, **_: Any
    ) -> Callable[[], object]:
        """Return what sends a request of prometheus_client; the time that it may take is ours."""
        return partial(self._request, method, url, self._headers | dict(headers), data)

    def _request(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None = None
    ) -> urllib3.BaseHTTPResponse:
        try:
            response = self._http.request(method, url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise PushError(
                f"the Pushgateway at {self._url} cannot be reached ({type(error).__name__})"
            ) from None
        if response.status >= 300:
            raise PushError(f"the Pushgateway at {self._url} answered {response.status}")
        return response


PUSH_TIMEOUT_S = 5.0
"""Longest that the end of a step waits for the push, whatever the network does."""
KEPT_S = 7 * 86_400.0
"""Age at which a group in the Pushgateway is deleted; Prometheus has its figures by then."""


class MetricsExporters:
    """Serves and pushes a step's figures while a block runs."""

    def __init__(self, metrics: StepMetrics, notice: Callable[[str], None], *, tidy: bool) -> None:
        """Open nothing yet.

        Args:
            metrics: the figures.
            notice: told what does not work.
            tidy: also delete old groups from the Pushgateway.
        """
        self._metrics, self._notice, self._tidy = metrics, notice, tidy
        self._server: WSGIServer | None = None
        self._gateway: Pushgateway | None = None
        self._pushing = Lock()

    def __enter__(self) -> "MetricsExporters":
        with self._noticed():
            self._serve()
        with self._noticed():
            settings = pushgateway_settings()
            self._gateway = Pushgateway(settings) if settings else None
        if self._gateway is not None:
            # So that a step which is killed without a word shows as one that makes no progress.
            Thread(target=self._begin, args=(self._gateway,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._gateway is not None:
            push = Thread(target=self._push, args=(self._gateway,), daemon=True)
            push.start()
            push.join(PUSH_TIMEOUT_S)
            if push.is_alive():
                self._notice(f"metrics: the push took over {PUSH_TIMEOUT_S:.0f} s and was given up")
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _serve(self) -> None:
        """Serve on the address that the environment names.

        Raises:
            ConfigError: it is none, or cannot be had.
        """
        address = metrics_address()
        if address is None:
            return
        host, port = address
        try:
            self._server, _ = start_http_server(port, host, self._metrics.registry)
        except OSError as error:
            raise ConfigError(f"port {port} of {host} cannot be had ({error.strerror})") from error

    def _begin(self, gateway: Pushgateway) -> None:
        self._push(gateway)
        if self._tidy:
            with self._noticed():
                gateway.delete_older_than(KEPT_S)

    def _push(self, gateway: Pushgateway) -> None:
        metrics = self._metrics
        with self._pushing, self._noticed():
            try:
                gateway.push(metrics.run_name, metrics.step, metrics.registry)
            except PushError:
                metrics.add("accrete_push_failures_total", 1)
                raise

    @contextmanager
    def _noticed(self) -> Iterator[None]:
        """Say what does not work, and go on."""
        try:
            yield
        except AccreteError as error:
            self._notice(f"metrics: {error}; the step goes on without")
