"""The main pipeline: prepare, then one stage after another, then the report.

    kfp run pipelines/incremental.py --help
    kfp dsl compile --py pipelines/incremental.py --output incremental.yaml

The second form takes no options: there the plan comes from ACCRETE_… variables, such as
ACCRETE_ALPHA=0.5, named like the first form's options.
"""

from typing import Any

from accrete_pipelines.staging import staged_pipeline

from accrete.cli.run import compile_command, environment_request, run_command
from accrete.runners.pipeline_file import PipelineRequest


def build_pipeline(request: PipelineRequest) -> Any:
    """Return the pipeline of a plan.

    Args:
        request: configuration, placement, run name and store.
    """
    return staged_pipeline(
        request, name="accrete-incremental", display_name="accrete incremental training"
    )


run = run_command(build_pipeline)
compile = compile_command(build_pipeline)  # noqa: A001  the subcommand's name


def __dir__() -> list[str]:
    """List the pipeline beside what is here: `kfp dsl compile` looks it up by listing."""
    return [*globals(), "incremental"]


def __getattr__(name: str) -> Any:
    """Build the pipeline of the environment's options when it is asked for, not at import."""
    if name == "incremental":
        return build_pipeline(environment_request())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
