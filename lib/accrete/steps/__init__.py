"""The steps of a pipeline, as they run in a pod: a file for each, and what they share.

`prepare`, `train`, `report` and `train_on_nodes` are what components call. `frame` is what every
step does around its work. `training_task` is what training is; `_supervision` has processes do it,
and starts them again when they are killed: `lone_process` trains by itself, `peer_process` is one
of several GPUs, `node` one of several nodes, which the TrainJob of `train_job` starts.
"""

import importlib
from typing import Any

_FORMERLY_HERE = {
    "prepare_step": "prepare",
    "train_step": "train",
    "report_step": "report",
    "sweep_report_step": "report",
}


def __getattr__(name: str) -> Any:
    # Pipelines that were compiled before there were packages import their steps from here.
    if name not in _FORMERLY_HERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_FORMERLY_HERE[name]}"), name)
