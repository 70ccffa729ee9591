"""Classes that arrive later: prepare them, grow a trained model by them, report.

kfp run pipelines/extend.py RUN --source imagefolder --data new/
kfp run pipelines/extend.py --help
"""

from typing import Any

from accrete_pipelines.staging import staged_pipeline

from accrete.cli.extend import extend_command
from accrete.runners.pipeline_file import PipelineRequest


def build_pipeline(request: PipelineRequest) -> Any:
    """Return the pipeline that extends a model.

    Args:
        request: a configuration with a base, placement, run name and store.
    """
    return staged_pipeline(request, name="accrete-extend", display_name="accrete extension")


run = extend_command(build_pipeline)
