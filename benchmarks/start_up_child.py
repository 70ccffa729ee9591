"""A step of a pipeline in a process of its own, with the moment of its first batch.

    python benchmarks/start_up_child.py STEP ARGUMENTS

STEP is `prepare_step`, `train_step` or `report_step`, ARGUMENTS are its own as JSON; the
environment names the store. KFP's executor is imported first, as in a pod. Prints
`first batch SECONDS` (wall clock) when the training loop asks for it.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any


def say_when_asked(starting_at: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Have an iterator over batches say when the first one is there."""

    def said(*arguments: Any) -> Iterator[Any]:
        for number, batch in enumerate(starting_at(*arguments)):
            if number == 0:
                print(f"first batch {time.time()}", flush=True)
            yield batch

    return said


def main() -> None:
    """Run the step."""
    step, arguments = sys.argv[1], json.loads(sys.argv[2])
    os.environ["ACCRETE_RESTARTS"] = "0"  # what is told is of this process
    import_module("kfp.dsl.executor_main")
    run = getattr(import_module(f"accrete.steps.{step.removesuffix('_step')}"), step)
    if step == "train_step" and arguments.pop("is_new"):
        from accrete.core.processes import share_cpus_well

        share_cpus_well()  # as the step does, before torch is imported
        batches = import_module("accrete.training.batches").TrainingBatches
        batches.starting_at = say_when_asked(batches.starting_at)
    run(**arguments)


if __name__ == "__main__":
    main()
