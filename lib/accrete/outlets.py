"""Where a step's figures go: a port that Prometheus scrapes, and a Pushgateway at start and end.

Monitoring never ends a step, nor holds it up: what does not work is one line in the log, and a push
has a few seconds at most.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from accrete.errors import AccreteError, ConfigError
from accrete.metrics import StepMetrics
from accrete.pushgateway import PushError, Pushgateway
from accrete.settings import metrics_address, pushgateway_settings

PUSH_TIMEOUT_S = 5.0
"""Longest that the end of a step waits for the push, whatever the network does."""
KEPT_S = 7 * 86_400.0
"""Age at which a group in the Pushgateway is deleted; Prometheus has its figures by then."""


class Outlets:
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

    def __enter__(self) -> "Outlets":
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
