"""The training step as the pipeline calls it, with a line at each moment that `resume.py` times.

    python benchmarks/resume_child.py ARGUMENTS

ARGUMENTS are those of `accrete.steps.train.train_step` as JSON; the environment names the store.
Prints `mark NAME SECONDS` where a part begins: the imports, the connection to the store and the
artifacts, the arithmetic, the pull, the snapshot, the network, the images and the steps.
"""

import json
import os
import sys
import time
from typing import Any

MOMENTS = {
    "set_arithmetic": "arithmetic",
    "pull_inputs": "pull",
    "newest_snapshot": "snapshot",
    "make_learner": "network",
    "open_split": "images",
    "train": "steps",
}
"""What `accrete.stages.run` calls at the beginning of each part."""


def mark(name: str) -> None:
    """Say that a part begins now."""
    print(f"mark {name} {time.time()}", flush=True)


def mark_calls(module: Any, function_name: str, name: str) -> None:
    """Have a module's calls of a function say that a part begins."""
    function = getattr(module, function_name)

    def marked(*arguments: Any, **options: Any) -> Any:
        mark(name)
        return function(*arguments, **options)

    setattr(module, function_name, marked)


def main() -> None:
    """Run the step."""
    mark("imports")
    os.environ["ACCRETE_RESTARTS"] = "0"  # what is marked is this process's
    from accrete.core.processes import share_cpus_well
    from accrete.steps.train import train_step

    share_cpus_well()  # as the step does, before torch is imported
    from accrete.stages import run as stage

    for function_name, name in MOMENTS.items():
        mark_calls(stage, function_name, name)
    mark("connection")
    print(json.dumps(train_step(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
