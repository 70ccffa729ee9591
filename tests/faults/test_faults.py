"""Every scenario of the fault bench, once; `make test-faults` tries each many times."""

import pytest
from scenarios import SCENARIOS, Scenario, Workshop

MOST_SEEDS = 6
"""Some seeds plan what does not come about, such as a kill at a snapshot that is never made."""


QUICK = ("connections cut", "shard damaged in store")
"""Those that `make test` tries; `make test-slow` has the others."""


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(each, id=each.name, marks=() if each.name in QUICK else pytest.mark.slow)
        for each in SCENARIOS
    ],
)
def test_nothing_is_lost_or_wrong(scenario: Scenario, workshop: Workshop) -> None:
    if reason := scenario.why_not():
        pytest.skip(reason)
    for seed in range(MOST_SEEDS):
        verdict, _ = workshop.attempt(scenario, seed)
        assert (verdict.lost, verdict.wrong) == ([], [])
        if verdict.struck:
            return
    pytest.fail(f"{scenario.name} did not come about with {MOST_SEEDS} seeds")
