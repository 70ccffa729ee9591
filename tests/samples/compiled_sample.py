"""Pipelines compiled once for all tests of a process: that is most of what a test takes."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from accrete.runners.pipeline_file import PipelineRequest, compile_to

Document = dict[str, Any]
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def compiled(build: Callable[[PipelineRequest], Any], request: PipelineRequest) -> list[Document]:
    """Return what a pipeline is compiled to; all who ask share the documents, so change none."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        path = Path(folder) / "pipeline.yaml"
        # kfp looks at all callers' source at every setting of a task: a thread has few of them.
        pool.submit(lambda: compile_to(build(request), path)).result()
        return read_documents(path)


@cache
def read_documents(path: Path) -> list[Document]:
    """Return the documents of a YAML file that nothing changes."""
    return list(yaml.load_all(path.read_text(), Loader))
