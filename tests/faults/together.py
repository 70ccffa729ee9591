"""Scenarios: several attempts at the same step at once."""

import signal

from kills import at
from proxy import Fault, Request
from trial import Attempt, Trial


def twin_stages(trial: Trial) -> None:
    """Two attempts at a stage at once, on one node or on two: one result, both end well."""
    trial.put(trial.reference.parent)
    same_node = trial.rng.random() < 0.5
    first = trial.train()
    first.process.wait(trial.rng.choice((0, 0, trial.rng.uniform(0, trial.reference.train_s))))
    second = trial.train(cache=None if same_node else trial.folder / "other-node")
    _both_end_well(trial, first, second)
    trial.conclude()


def twin_prepares(trial: Trial) -> None:
    """Two runs that prepare the same data set at once."""
    with trial.proxy(lambda _: Fault(delay_s=trial.rng.uniform(0, 0.03))) as proxy:
        first = trial.prepare(proxy)
        first.process.wait(trial.rng.choice((0, 0, trial.rng.uniform(0, 0.3))))
        second = trial.prepare(proxy, cache=trial.folder / "other-node")
        _both_end_well(trial, first, second)
    trial.conclude(trained=False)


def retry_beside_the_living(trial: Trial) -> None:
    """An attempt stands still, another is made on its node or a new one, and the first goes on."""
    trial.put(trial.reference.parent)
    first = trial.train()
    first.process.wait(trial.rng.uniform(0, trial.reference.train_s))
    first.process.signal(signal.SIGSTOP)
    trial.verdict.struck = not first.process.ended.is_set()
    cache = trial.cache if trial.rng.random() < 0.5 else trial.folder / "new-node"
    second = trial.train(cache=cache)
    second.process.wait(trial.rng.uniform(0, 1.5 * trial.reference.train_s))
    first.process.signal(signal.SIGCONT)
    _both_end_well(trial, first, second)
    trial.conclude()


def retry_while_publishing(trial: Trial) -> None:
    """An attempt's manifest is held on its way until another attempt has published its own."""
    trial.put(trial.reference.parent)
    published = at("PUT", "/stages/")

    def hold(request: Request) -> Fault | None:
        # Longer than the rest of the second attempt, mostly.
        longest = 2 * trial.reference.train_s
        return Fault(delay_s=trial.rng.uniform(0, longest)) if published(request) else None

    with trial.proxy(hold) as proxy:
        first = trial.train(proxy)
        second = trial.train(cache=trial.folder / "other-node")
        _both_end_well(trial, first, second)
    trial.conclude()


def _both_end_well(trial: Trial, *attempts: Attempt) -> None:
    for attempt in attempts:
        trial.well(attempt)
