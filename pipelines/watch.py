"""Classes that arrive by themselves: look for them, and extend a model when they have come.

kfp run pipelines/watch.py RUN --data s3://bucket/animals --endpoint URL --recurring '0 * * * *'
kfp run pipelines/watch.py --help
"""

from typing import Any

from accrete_pipelines.staging import staged_pipeline
from accrete_pipelines.watching import watching_pipeline

from accrete.cli.watch import watch_command
from accrete.runners.pipeline_file import PipelineRequest, WatchRequest


def build_extension(request: PipelineRequest) -> Any:
    """Return the pipeline of one extension, as a look made it.

    Args:
        request: a configuration with a base and a stored data set, placement, run name and store.
    """
    return staged_pipeline(request, name="accrete-extend", display_name="accrete extension")


def build_pipeline(request: WatchRequest) -> Any:
    """Return the pipeline that looks, and extends the model where there is reason to.

    Args:
        request: what is looked at, placement and store.
    """
    return watching_pipeline(request)


run = watch_command(build_extension, build_pipeline)
