"""Pipeline files: Python files that define a pipeline and the commands that run and compile it."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from accrete.config.arrivals import Watch
from accrete.config.packing import UNPACKED, Packing
from accrete.config.placement import Placement
from accrete.config.planned import planned_document, split_config
from accrete.config.run import RunConfig
from accrete.config.sweep import Sweep
from accrete.core.environment import DEFAULT_STORE
from accrete.core.options import Option, option_fields
from accrete.errors import ConfigError, InputError
from accrete.runners.pipeline_size import check_pipeline

if TYPE_CHECKING:
    from accrete.store.object_store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRequest:
    """What a pipeline is to be built for."""

    config: RunConfig | Sweep
    """What decides its result."""
    placement: Placement
    """Where it runs."""
    run_name: Annotated[
        str, Option("Name of the run.", flag="name", default="from source, plan and configuration")
    ]
    store_uri: Annotated[
        str,
        Option(
            "s3://bucket[/prefix] of shards and checkpoints.",
            flag="store",
            metavar="URI",
            default=DEFAULT_STORE,
        ),
    ]
    packing: Packing = UNPACKED
    """Which of its stages share a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """What a pipeline is to be built for that looks for classes that have come."""

    watch: Watch
    """What it looks at, and for which model."""
    placement: Placement
    """Where it runs."""
    store_uri: str
    """`s3://bucket[/prefix]` of shards and checkpoints."""


BuildWatch = Callable[[WatchRequest], Any]
"""Makes the KFP pipeline of a watch."""


def parameters_help() -> str:
    """Return a docstring that tells KFP what a pipeline's parameters are: its pages show it."""
    lines = [f"    {each.name}: {each.option.help}" for each in option_fields(PipelineRequest)]
    lines.append(
        "    config: Images, network, recipe and seed of the run; the plan is the pipeline's own: "
        "another one means to compile or submit anew."
    )
    return "\n".join(["Train in stages that add classes.", "", "Args:", *lines])


Build = Callable[[PipelineRequest], Any]
"""Makes the KFP pipeline of a request."""


def load_pipeline_file(path: Path) -> ModuleType:
    """Return the module of a pipeline file; it must define a `run` command.

    Raises:
        InputError: there is no such file, or it is no pipeline file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a pipeline file")
    spec = importlib.util.spec_from_file_location(f"accrete_pipeline_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "run"):
        raise InputError(
            f"{path} defines no `run` command: see pipelines/incremental.py for a pipeline file"
        )
    return module


def shipped_pipeline(name: str) -> Path:
    """Return the path of a pipeline file that comes with this package."""
    spec = importlib.util.find_spec(f"accrete_pipelines.{name}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


def send_plan(request: PipelineRequest, store: "ObjectStore | None" = None) -> None:
    """Store what of a request is too large for an argument, before its pipeline names it.

    Args:
        request: any; with a small plan nothing is asked of a store.
        store: where the pipeline's steps look for it; None: the environment's.

    Raises:
        ConfigError: the environment names no store.
        StoreError: the store does not take it.
    """
    _, planned = split_config(request.config)
    data = planned_document(planned)
    if data is None:
        return
    from accrete.catalog.plans import store_plan
    from accrete.store.object_store import ObjectStore

    if store is None:
        try:
            store = ObjectStore.open(request.store_uri)
        except ConfigError as error:
            raise ConfigError(
                f"a plan of {len(data) >> 10:,} KiB is no argument of a step: it goes to the store "
                f"that the steps have ({error})"
            ) from None
        store.check()
    store_plan(planned, store)


def check_output(path: Path) -> None:
    """Refuse a name that a compiled pipeline cannot have.

    Raises:
        InputError: kfp goes by its ending.
    """
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise InputError(f"output is {path}: give a name that ends in .yaml")


def compile_to(pipeline: Any, path: Path) -> None:
    """Write a pipeline's IR YAML.

    Raises:
        InputError: the file cannot be written.
        ConfigError: it is more than a cluster takes.
    """
    from kfp import compiler

    check_output(path)
    check_pipeline(pipeline)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        compiler.Compiler().compile(pipeline, str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror})") from error
