"""A Prometheus Pushgateway: where a step leaves its figures, since its pod is gone soon after."""

import time
from typing import Any
from urllib.parse import quote

import urllib3
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from accrete.errors import AccreteError
from accrete.settings import PushgatewaySettings

JOB = "accrete"
"""Every group that we push has this job."""
REQUEST_TIMEOUT_S = 4.0


class PushError(AccreteError):
    """The Pushgateway did not take, or give, what was asked."""


class Pushgateway:
    """A Pushgateway; a group of metrics in it is one step of one run."""

    def __init__(self, settings: PushgatewaySettings) -> None:
        """Describe it; nothing is contacted until the first call."""
        self._url = settings.url
        self._headers = {}
        if settings.username is not None:
            pair = f"{settings.username}:{settings.password or ''}"
            self._headers = urllib3.make_headers(basic_auth=pair)
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=REQUEST_TIMEOUT_S), retries=False
        )

    def push(self, run_name: str, step: str, registry: CollectorRegistry) -> None:
        """Replace a step's group by what the registry has now.

        Raises:
            PushError: it could not be.
        """
        body = generate_latest(registry)
        self._request("PUT", _group_path(run_name, step), body=body)

    def delete_older_than(self, seconds: float) -> int:
        """Delete our groups that nothing was pushed to for so long; return how many.

        A Pushgateway forgets nothing by itself, and every run has groups of its own.

        Raises:
            PushError: it could not be asked.
        """
        before = time.time() - seconds
        old = [labels for labels, pushed_at in self._groups() if pushed_at < before]
        for labels in old:
            self._request("DELETE", _group_path(labels["run"], labels["step"]))
        return len(old)

    def _groups(self) -> list[tuple[dict[str, str], float]]:
        """Return labels and time of the last push of our groups."""
        response = self._request("GET", "/api/v1/metrics")
        try:
            return [
                (group["labels"], float(group["push_time_seconds"]["metrics"][0]["value"]))
                for group in response.json()["data"]
                if group["labels"].get("job") == JOB
                and group["labels"].keys() == {"job", "run", "step"}
            ]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise PushError(f"what answers at {self._url} is no Pushgateway") from None

    def _request(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = self._headers | {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        try:
            response = self._http.request(method, self._url + path, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise PushError(
                f"the Pushgateway at {self._url} cannot be reached ({type(error).__name__})"
            ) from None
        if response.status >= 400:
            raise PushError(f"the Pushgateway at {self._url} answered {response.status}")
        return response


def _group_path(run_name: str, step: str) -> str:
    run, step = quote(run_name, safe=""), quote(step, safe="")
    return f"/metrics/job/{JOB}/run/{run}/step/{step}"
