"""How long a lost pod is replaced: as long as all attempts at the step may take."""

from pathlib import Path
from typing import Any

import pytest
from accrete_pipelines.placing import place_training, place_waiting
from compiled_sample import on_a_short_stack, read_documents
from kfp import compiler, dsl

from accrete.config.placement import Placement

STAGES = range(1, 2)


@dsl.container_component
def work() -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image="trainer", command=["true"])


def policy_of(placement: Placement, folder: Path, place: Any = place_training) -> Any:
    """Return the retry policy of a step, None where it has none."""

    @dsl.pipeline(name="one-step")
    def one_step() -> None:
        place(work(), placement, STAGES)

    path = folder / "pipeline.yaml"
    on_a_short_stack(lambda: compiler.Compiler().compile(one_step, str(path)))
    return read_documents(path)[0]["root"]["dag"]["tasks"]["work"].get("retryPolicy")


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("retries", [1, 2, 5, 6, 20])
def test_a_pod_that_is_lost_at_the_end_of_its_time_is_replaced(
    retries: int, tmp_path: Path
) -> None:
    """Argo counts from the first attempt's start; a pod lost after twelve minutes was given up."""
    policy = policy_of(Placement(retries=retries, timeout_s=7200), tmp_path)
    assert policy["maxRetryCount"] == retries
    first, factor = seconds(policy["backoffDuration"]), policy["backoffFactor"]
    pauses = [first * factor**number for number in range(retries)]
    assert seconds(policy["backoffMaxDuration"]) >= (retries + 1) * 7200 + sum(pauses)
    assert max(pauses) <= 600
    assert factor == int(factor)  # Argo reads a whole number


def test_the_longest_windows_are_still_durations_to_argo_and_kubernetes(tmp_path: Path) -> None:
    longest = 30 * 24 * 3600
    placement = Placement(retries=20, timeout_s=longest, node_wait_s=longest, gpus=(2,), nodes=(2,))

    def place(task: Any, placement: Placement, _stages: range) -> Any:
        return place_waiting(task, placement, range(1, 2001))

    policy = policy_of(placement, tmp_path, place)
    assert seconds(policy["backoffMaxDuration"]) * 10**9 < 2**63


def test_without_retries_kubeflow_s_own_default_holds(tmp_path: Path) -> None:
    assert policy_of(Placement(retries=0), tmp_path) is None
