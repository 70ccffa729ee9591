"""Scenarios: SIGKILL at a random moment of a step, then the step again until it is done.

The step is killed whole, as by its node; or the process alone that trains for it.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Queue

from proxy import Fault, Request
from trial import NUM_STEPS, TIMEOUT_S, Attempt, Trial

Matches = Callable[[Request], bool]


def kill_in_prepare(trial: Trial) -> None:
    """At any request of the step that prepares, or at any time."""
    expected = trial.reference.prepare_requests
    by_request = trial.rng.random() < 0.6
    killer = Killer(trial, lambda _: by_request, trial.rng.randint(1, expected))
    with trial.proxy(killer) as proxy:
        attempt = killer.takes(trial.prepare(proxy))
        if not by_request:
            attempt.process.wait(trial.rng.uniform(0, trial.reference.prepare_s))
            attempt.process.kill()
        see_killed(trial, attempt)
    trial.well(trial.prepare())
    trial.conclude(trained=False)


def kill_in_pull(trial: Trial) -> None:
    """While a stage fetches shards and its parent's checkpoint to an empty cache."""
    trial.put(trial.reference.parent)
    num_pulled = sum(key.startswith("objects/") for key in trial.reference.parent) - 1
    train_killed(trial, at("GET", "/objects/"), trial.rng.randint(1, num_pulled))


def kill_in_training(trial: Trial) -> None:
    """At any time of the training loop, one to three times."""
    trial.put(trial.reference.parent)
    before = None
    for _ in range(trial.rng.randint(1, 3)):
        attempt = trial.train()
        if not trial.wait_for_steps(attempt):
            break
        attempt.process.wait(trial.rng.uniform(0, 0.5 * trial.reference.train_s))
        attempt.process.kill()
        attempt.process.wait(10)
        if attempt.process.code == 0:
            break
        if before is not None:
            trial.compare_attempts(before, attempt)
        before = attempt
    trial.verdict.struck = before is not None
    if before is not None:
        go_on(trial, before)


def kill_in_snapshot(trial: Trial) -> None:
    """While a snapshot is uploaded, once it is stored, or while the one before is deleted."""
    trial.put(trial.reference.parent)
    method = "PUT" if trial.rng.random() < 0.8 else "DELETE"
    train_killed(trial, at(method, "/snapshots/"), trial.rng.randint(1, 3))


def kill_in_push(trial: Trial) -> None:
    """While checkpoint and metrics are looked for and uploaded."""
    trial.put(trial.reference.parent)
    # The parent's two objects are looked for before the stage begins.
    method, place = trial.rng.choice([("PUT", 1), ("PUT", 2), ("HEAD", 3), ("HEAD", 4)])
    train_killed(trial, at(method, "/objects/"), place)


def kill_in_publish(trial: Trial) -> None:
    """While the manifest is created, or while snapshots are deleted after that."""
    trial.put(trial.reference.parent)
    published = at("PUT", "/stages/")
    seen: list[Request] = []

    def after_it(request: Request) -> bool:
        if published(request):
            seen.append(request)
        return bool(seen) and not published(request)

    train_killed(trial, published if trial.rng.random() < 0.7 else after_it, 1)


def kill_inside_a_step(trial: Trial) -> None:
    """SIGKILL or SIGSEGV to the process that trains, one to three times: the step goes on."""
    trial.put(trial.reference.parent)
    attempt = trial.train()
    num_kills = 0
    for number in range(1, trial.rng.randint(1, 3) + 1):
        if not trial.wait_for_steps(attempt, lives=number):
            break
        attempt.process.wait(trial.rng.uniform(0, 0.5 * trial.reference.train_s))
        num_kills += kill_training(attempt, trial.rng.choice((signal.SIGKILL, signal.SIGSEGV)))
    trial.well(attempt)
    # The last one may have come when all was done and said.
    said = attempt.process.printed().count(": started again in ")
    if said not in (num_kills, num_kills - 1):
        trial.verdict.wrong.append(f"killed {num_kills} times, started again {said} times")
    trial.verdict.struck = said > 0
    trial.compare_lives(attempt)
    trial.conclude(tidy=True)


def kill_above_training(trial: Trial) -> None:
    """SIGKILL to a step's own process alone: what it has train saves, and ends, too."""
    trial.put(trial.reference.parent)
    attempt = trial.train()
    trial.wait_for_steps(attempt)
    attempt.process.wait(trial.rng.uniform(0, 0.5 * trial.reference.train_s))
    children = attempt.process.children()
    attempt.process.signal(signal.SIGKILL, alone=True)
    see_killed(trial, attempt)
    known: dict[str, bytes] = {}
    if trial.rng.random() < 0.5:  # else beside the other attempt
        wait_for_end(children)
        known = trial.stored()
    again = trial.train()
    trial.well(again)
    wait_for_end(children)
    if trial.reference.stage in known and trial.done(again).first is not None:
        trial.verdict.lost.append("the stage was published, and trained again")
    trial.conclude()


def terminate_in_a_second(trial: Trial) -> None:
    """SIGTERM, and SIGKILL a second later, while the store takes longer for any snapshot."""
    trial.put(trial.reference.parent)
    slow = at("PUT", "/snapshots/")
    with trial.proxy(lambda request: Fault(delay_s=3.0) if slow(request) else None) as proxy:
        attempt = trial.train(proxy)
        trial.wait_for_steps(attempt)
        attempt.process.wait(trial.rng.uniform(0, 0.5 * trial.reference.train_s))
        attempt.process.signal(signal.SIGTERM, alone=True)
        attempt.process.wait(1.0)
        trial.verdict.struck = not attempt.process.ended.is_set()
        attempt.process.kill()
        attempt.process.wait(TIMEOUT_S)
    go_on_from_the_end(trial, attempt, trial.cache)


def terminate_in_time(trial: Trial) -> None:
    """SIGTERM, and as long as it takes; then another attempt, on another node."""
    trial.put(trial.reference.parent)
    attempt = trial.train()
    trial.wait_for_steps(attempt)
    attempt.process.wait(trial.rng.uniform(0, 0.5 * trial.reference.train_s))
    attempt.process.signal(signal.SIGTERM, alone=True)
    trial.verdict.struck = trial.ended(attempt) != 0
    if trial.verdict.struck:
        trial.error(attempt, "told to end")
    go_on_from_the_end(trial, attempt, trial.folder / "new-node")


def go_on_from_the_end(trial: Trial, attempt: Attempt, cache: Path) -> None:
    """Hold that another attempt repeats no step of one that was told to end."""
    done = trial.done(attempt)
    # When all steps are done nothing listens to SIGTERM but what ends the step.
    trial.verdict.struck &= done.last < NUM_STEPS
    again = trial.train(cache=cache)
    trial.well(again)
    first = trial.done(again).first
    if trial.verdict.struck and first is not None:
        trial.verdict.repeated_steps = done.last - first
        if first < done.last:
            trial.verdict.lost.append(f"told to end after step {done.last}, went on from {first}")
    trial.conclude(tidy=True)


def kill_training(attempt: Attempt, signum: int) -> bool:
    """End the process that trains for a step; return whether there was one."""
    children = attempt.process.children()
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signum)
    return bool(children) and not attempt.process.ended.is_set()


def wait_for_end(processes: list[int]) -> None:
    """Wait for processes to end.

    Raises:
        TimeoutError: one does not.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while any(Path(f"/proc/{process}").exists() for process in processes):
        if time.monotonic() > deadline:
            raise TimeoutError(f"one of {processes} does not end")
        time.sleep(0.02)


def train_killed(trial: Trial, matches: Matches, number: int) -> None:
    """Train the second stage, killed at a request, and again to the end."""
    killer = Killer(trial, matches, number)
    with trial.proxy(killer) as proxy:
        attempt = killer.takes(trial.train(proxy))
        see_killed(trial, attempt)
    go_on(trial, attempt)


def at(method: str, part: str) -> Matches:
    """Return what knows requests by method and a part of their path."""
    return lambda request: request.method == method and part in request.path


class Killer:
    """A proxy's plan: an attempt is killed at the n-th request that matches."""

    def __init__(self, trial: Trial, matches: Matches, number: int) -> None:
        """Draw where in the request or its answer that is."""
        self._matches, self._left = matches, number
        self._share, self._is_on_its_way = trial.rng.random(), trial.rng.random() < 0.6
        # Or what is on the wire arrives, as the kernel may have it.
        self._cut = trial.rng.random() < 0.5
        self._victim: Queue[Attempt] = Queue()

    def takes(self, attempt: Attempt) -> Attempt:
        """Name the attempt to kill, and return it."""
        self._victim.put(attempt)
        return attempt

    def __call__(self, request: Request) -> Fault | None:
        """Return what kills, for the one request."""
        if not self._matches(request):
            return None
        self._left -= 1
        if self._left:
            return None
        if self._is_on_its_way:
            reached = int(self._share * request.num_bytes)
            return Fault(body_bytes=reached, then=self._kill, cut=self._cut)
        return Fault(answer_bytes=int(self._share**3 * 12_000), then=self._kill, cut=self._cut)

    def _kill(self) -> None:
        self._victim.get().process.kill()


def see_killed(trial: Trial, attempt: Attempt) -> None:
    """Note whether the attempt was killed, or done before that."""
    code = trial.ended(attempt)
    trial.verdict.struck = code < 0
    if code > 0:
        trial.verdict.wrong.append(f"exit code {code} before it was killed")


def go_on(trial: Trial, before: Attempt, cache: Path | None = None) -> None:
    """Let another attempt at the second stage finish it, on the same node or on a new one."""
    known = trial.stored()
    if cache is None and trial.rng.random() < 0.3:
        cache = trial.folder / "new-node"
    attempt = trial.train(cache=cache)
    trial.well(attempt)
    if trial.reference.stage in known and trial.done(attempt).first is not None:
        trial.verdict.lost.append("the stage was published, and trained again")
    trial.compare_attempts(before, attempt)
    trial.conclude(tidy=True)
