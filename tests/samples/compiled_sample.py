"""Pipelines compiled once for all tests of a process: that is most of what a test takes."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from yaml_sample import documents_in

from accrete.runners.pipeline_file import PipelineRequest, compile_to

Document = dict[str, Any]
T = TypeVar("T")


def on_a_short_stack(function: Callable[[], T]) -> T:
    """Return what a function does that compiles.

    kfp looks at all callers' source at every setting of a task; a thread has few callers, a test
    dozens, and a compilation takes twenty times as long there.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@cache
def compiled(build: Callable[[PipelineRequest], Any], request: PipelineRequest) -> list[Document]:
    """Return what a pipeline is compiled to; all who ask share the documents, so change none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        on_a_short_stack(lambda: compile_to(build(request), path))
        return read_documents(path)


@cache
def read_documents(path: Path) -> list[Document]:
    """Return the documents of a YAML file that nothing changes."""
    return documents_in(path.read_text())
