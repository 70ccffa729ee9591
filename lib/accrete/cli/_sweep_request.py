"""What the commands of sweeps have in common: seeds, and a request whose parts fit each other."""

import dataclasses

from accrete.cli._request import tell_packed
from accrete.config.allocation import GrowingGpus
from accrete.config.packing import Packing
from accrete.config.placement import Placement
from accrete.config.run import check_run_name
from accrete.config.sweep import Sweep, sweep_tasks
from accrete.core.units import parse_bytes
from accrete.core.validation import check_range
from accrete.errors import ConfigError
from accrete.runners.pipeline_file import PipelineRequest
from accrete.store.settings import parse_store_uri


def seeds_from(first: int, number: int) -> range:
    """Return as many seeds, from the first on.

    Raises:
        ConfigError: their number is not of 1..30.
    """
    check_range("seeds", number, 1, 30)
    return range(first, first + number)


def sweep_request(
    sweep: Sweep, placement: Placement, packing: Packing, name: str | None, store_uri: str
) -> PipelineRequest:
    """Return a request whose parts fit each other.

    Raises:
        ConfigError: they do not.
    """
    parse_store_uri(store_uri)
    num_tasks = len(sweep_tasks(sweep, packing))
    if packing.step_overhead_s:
        alone = dataclasses.replace(packing, step_overhead_s=0.0)
        tell_packed(len(sweep_tasks(sweep, alone)), num_tasks, packing)
    if isinstance(placement.gpus, GrowingGpus) or len(placement.gpus) > 1:
        raise ConfigError("--gpus differs by stage: give one number for all cells of a sweep")
    if placement.has_several_nodes:
        raise ConfigError(
            "--nodes: the cells of a sweep are trained on one node each; leave it out, or run one "
            "plan with `kfp run pipelines/incremental.py`"
        )
    placement = placement.fitted([1], sweep.cells[0].recipe.batch_size)
    if placement.data_memory is not None:
        parse_bytes(placement.data_memory, "data memory")
    default = f"{sweep.source.kind}-{sweep.purpose}-{sweep.digest[:8]}"
    return PipelineRequest(
        config=sweep,
        placement=placement,
        run_name=check_run_name(default if name is None else name),
        store_uri=store_uri,
        packing=packing,
    )
