"""How large a Workflow a pipeline becomes: beside what was recorded, and what is refused of it."""

import re
from functools import cache
from typing import Any

import pytest
from accrete_pipelines import baseline, incremental
from compiled_sample import compiled, on_a_short_stack
from google.protobuf import json_format

from accrete.config.packing import Packing
from accrete.config.placement import Placement
from accrete.config.plan import Plan, even_counts
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import PipelineRequest
from accrete.runners.pipeline_size import WorkflowSize, check_pipeline, check_size, workflow_size

MANY_SECRETS = tuple(f"{number:03}-{'x' * 240}" for number in range(100))


def request_of(num_stages: int, **placement: Any) -> PipelineRequest:
    return PipelineRequest(
        config=RunConfig(
            source=SourceConfig(kind="digits"),
            plan=Plan(
                rule="alpha = 1 from 2 classes",
                class_order=tuple(f"c{number}" for number in range(num_stages)),
                class_images=even_counts(num_stages),
                stage_sizes=(1,) * num_stages,
            ),
            model=ModelConfig(name="small"),
            recipe=Recipe(),
        ),
        placement=Placement(**placement),
        run_name="digits-4-stages",
        store_uri="s3://accrete",
        packing=Packing(step_overhead_s=0, max_steps=500),
    )


@cache
def pipeline_of(num_stages: int, **placement: Any) -> Any:
    request = request_of(num_stages, **placement)
    return on_a_short_stack(lambda: incremental.build_pipeline(request))


def size_of(pipeline: Any) -> WorkflowSize:
    spec, platforms = pipeline.pipeline_spec, pipeline.platform_spec
    return workflow_size(json_format.MessageToDict(spec), json_format.MessageToDict(platforms))


def test_four_stages_come_to_what_was_recorded() -> None:
    """Of that Workflow: 53,027 bytes of specification; 39,436 of its nodes, compressed."""
    size = size_of(pipeline_of(4))
    assert size.num_tasks == 6
    assert size.spec_bytes == pytest.approx(53_027, rel=0.15)
    assert size.status_bytes == pytest.approx(39_436, rel=0.15)


def test_thirty_stages_come_to_what_was_recorded() -> None:
    """Of that one: 188 KB of specification, and 5 to 6 KB a step of its nodes."""
    size = size_of(pipeline_of(30))
    assert size.spec_bytes == pytest.approx(188_000, rel=0.15)
    assert 5_000 < size.status_bytes / size.num_tasks < 6_600
    check_size(size, 30)


def test_more_steps_than_argo_takes_are_refused_with_what_fits() -> None:
    with pytest.raises(ConfigError) as refused:
        check_pipeline(pipeline_of(80))
    words = str(refused.value)
    assert "a pipeline of 80 training steps is too large for Argo: its Workflow comes to" in words
    assert "\n" not in words
    fitting = int(re.findall(r"--max-steps (\d+) fits", words)[0])
    assert 30 < fitting < 80
    check_pipeline(pipeline_of(fitting))


def test_what_each_step_asks_for_counts() -> None:
    check_pipeline(pipeline_of(10))
    with pytest.raises(ConfigError, match=r"--max-steps \d+ fits, or ask for less") as refused:
        check_pipeline(pipeline_of(10, pull_secrets=MANY_SECRETS))
    fitting = int(re.findall(r"--max-steps (\d+) fits", str(refused.value))[0])
    check_pipeline(pipeline_of(fitting, pull_secrets=MANY_SECRETS))


def test_a_sweep_is_weighed_too() -> None:
    cells = tuple(
        Cell(name=f"cell-{number}", kind="cell", stage_sizes=(4,), recipe=Recipe(), seed=number)
        for number in range(120)
    )
    sweep = Sweep(
        purpose="comparison", rule="x", source=SourceConfig(kind="digits"),
        class_order=tuple("abcd"), class_images=even_counts(4), model=ModelConfig(name="small"),
        cells=cells,
    )  # fmt: skip
    request = PipelineRequest(
        config=sweep, placement=Placement(), run_name="sweep", store_uri="s3://accrete",
        packing=Packing(max_steps=500),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="a pipeline of 120 training steps is too large for Argo"):
        compiled(baseline.build_pipeline, request)


def test_an_argument_that_linux_does_not_take_is_refused() -> None:
    size = WorkflowSize(num_tasks=5, spec_bytes=1, status_bytes=1, argument_bytes=140_000)
    with pytest.raises(ConfigError, match="an argument of 136 KiB, of 127 at most; --max-steps 2 "):
        check_size(size, 3)


def test_where_not_even_one_step_fits_no_number_is_named() -> None:
    size = WorkflowSize(num_tasks=3, spec_bytes=3 << 20, status_bytes=1, argument_bytes=1)
    with pytest.raises(ConfigError, match=r"1,024\); ask for less in each step"):
        check_size(size, 1)
