"""Studies: what a stage costs over (n1, Δn), what increments do to the error, the life of a model.

kfp run pipelines/study.py convergence --source parquet --data cifar100/
kfp run pipelines/study.py increments --help
kfp run pipelines/study.py lifecycle --help
"""

from typing import Any

from accrete_pipelines.sweeping import sweep_pipeline

from accrete.cli.study import study_command
from accrete.runners.pipeline_file import PipelineRequest


def build_pipeline(request: PipelineRequest) -> Any:
    """Return the pipeline of a study, a task a cell.

    Args:
        request: a sweep whose purpose is a study, placement, run name and store.
    """
    return sweep_pipeline(request, name="accrete-study", display_name="accrete study")


run = study_command(build_pipeline)
