"""Scenarios: a store that is slow, fails, breaks off or is away, between two steps' lines."""

import dataclasses
import time
from collections.abc import Callable

from proxy import Fault, Plan, Request
from trial import Trial

UNREACHABLE = "cannot be reached"
FAILING = "keeps failing"
BROKEN_OFF = r"broke off \d times"
CAUSES = (UNREACHABLE, FAILING, BROKEN_OFF)
REFUSED = "refuses access .* check the credentials"

Harm = Callable[[Trial, Request], Fault | None]


def failing_store(trial: Trial) -> None:
    """Some requests are answered with 500 or 503."""
    share = trial.rng.uniform(0.02, 0.3)

    def fail(trial: Trial, _request: Request) -> Fault | None:
        return Fault(status=trial.rng.choice((500, 503))) if trial.rng.random() < share else None

    under(trial, fail)


def cut_connections(trial: Trial) -> None:
    """Some connections are cut, in a request's body, before the answer, or in it."""
    share = trial.rng.uniform(0.02, 0.2)
    under(trial, lambda t, request: _cut(t, request) if t.rng.random() < share else None)


def slow_network(trial: Trial) -> None:
    """Requests wait, and bytes come slowly."""

    def slow(trial: Trial, _request: Request) -> Fault:
        # 2.3 MB of checkpoint take from a tenth of a second to one and a half.
        rate = 10 ** trial.rng.uniform(6.2, 7.5)
        return Fault(delay_s=trial.rng.choice((0, 0, 0.02, 0.2)), bytes_per_s=rate)

    under(trial, slow)


def bad_network(trial: Trial) -> None:
    """All of it at once."""
    share = trial.rng.uniform(0.02, 0.1)

    def harm(trial: Trial, request: Request) -> Fault | None:
        kind = trial.rng.random() / share
        if kind < 1:
            return _cut(trial, request)
        if kind < 2:
            return Fault(status=trial.rng.choice((500, 503)))
        return Fault(delay_s=trial.rng.uniform(0, 0.05)) if kind < 4 else None

    under(trial, harm)


def store_away(trial: Trial) -> None:
    """From some request on nothing answers, for a second to some: waited out by the attempt."""
    outage = _Outage(trial.rng.randint(1, 45), trial.rng.uniform(1, 8))
    prepares = trial.rng.random() < 0.3
    if not prepares:
        trial.put(trial.reference.parent)
    with trial.proxy(outage.plan) as proxy:
        attempt = (trial.prepare if prepares else trial.train)(proxy, wait_s=120)
        trial.well(attempt)
        trial.verdict.struck = proxy.num_faults > 0
    trial.conclude(trained=not prepares)


def store_away_for_long(trial: Trial) -> None:
    """The same, for longer than an attempt waits: one line, and the next one goes on."""
    outage = _Outage(trial.rng.randint(1, 45), 600)
    trial.put(trial.reference.parent)
    with trial.proxy(outage.plan) as proxy:
        attempt = trial.train(proxy, wait_s=2)
        is_done = trial.well_or(attempt, UNREACHABLE)
        trial.verdict.struck = proxy.num_faults > 0
    if not is_done:
        last = trial.train()
        trial.well(last)
        trial.compare_attempts(attempt, last)
    trial.conclude()


class _Outage:
    """Cuts every connection for a while, from some request on."""

    def __init__(self, at_request: int, seconds: float) -> None:
        self._at_request, self._seconds = at_request, seconds
        self._began: float | None = None

    def plan(self, request: Request) -> Fault | None:
        if self._began is None and request.number >= self._at_request:
            self._began = time.monotonic()
        is_away = self._began is not None and time.monotonic() < self._began + self._seconds
        return Fault(body_bytes=0) if is_away else None


def credentials_stop(trial: Trial) -> None:
    """From some request on the store refuses, in preparing or training; then it accepts again."""
    last = trial.rng.randint(1, 40)
    expired = trial.rng.random() < 0.5

    def refuse(_trial: Trial, request: Request) -> Fault | None:
        return Fault(status=403) if request.number > last else None

    if expired:
        under(trial, refuse, REFUSED, tries=1)
        return
    # Other credentials than the store knows: its own refusal, not the proxy's.
    trial.put(trial.reference.parent)
    part = trial.rng.choice(["access_key", "secret_key"])
    wrong = dataclasses.replace(trial.settings, **{part: "0" * 20})
    trial.error(trial.train(settings=wrong), REFUSED)
    trial.well(trial.train())
    trial.conclude()


def under(trial: Trial, harm: Harm, *causes: str, tries: int = 3) -> None:
    """Prepare or train under harm, a few attempts; then without, to the end."""
    prepares = trial.rng.random() < 0.4
    if not prepares:
        trial.put(trial.reference.parent)
    start = trial.prepare if prepares else trial.train
    plan: Plan = lambda request: harm(trial, request)  # noqa: E731
    before = None
    with trial.proxy(plan) as proxy:
        for _ in range(tries):
            attempt = start(proxy)
            is_done = trial.well_or(attempt, *(causes or CAUSES))
            if before is not None:
                trial.compare_attempts(before, attempt)
            before = attempt
            if is_done:
                break
        trial.verdict.struck = proxy.num_faults > 0
    if not is_done:
        last = start()
        trial.well(last)
        trial.compare_attempts(attempt, last)
    trial.conclude(trained=not prepares)


def _cut(trial: Trial, request: Request) -> Fault:
    if request.num_bytes and trial.rng.random() < 0.5:
        return Fault(body_bytes=int(trial.rng.random() * request.num_bytes))
    return Fault(answer_bytes=int(trial.rng.random() ** 3 * 12_000))
