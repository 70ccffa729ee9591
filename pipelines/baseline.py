"""Staged training beside training from scratch, with the same recipe, model and data.

kfp run pipelines/baseline.py --source parquet --data cifar100/ --seeds 3
kfp run pipelines/baseline.py --help
"""

from typing import Any

from accrete_pipelines.sweeping import sweep_pipeline

from accrete.cli.sweep import compare_command
from accrete.runners.pipeline_file import PipelineRequest


def build_pipeline(request: PipelineRequest) -> Any:
    """Return the pipeline that trains both sides and compares them.

    Args:
        request: a sweep whose purpose is a comparison, placement, run name and store.
    """
    return sweep_pipeline(request, name="accrete-baseline", display_name="accrete comparison")


run = compare_command(build_pipeline)
