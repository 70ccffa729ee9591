"""The process that trains a step's stages by itself, below the step's own, which watches it.

It is a fork of that, or `python -m accrete.steps.lone_process FOLDER STEP`. Torch is imported here:
the step's own process stays small, and has nothing that a fork could not bear.
"""

import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

from accrete.core.processes import (
    die_before_parent,
    die_with_parent,
    end_as_by_sigterm,
    keep_compiled_code,
    process_limit_named,
    share_cpus_well,
)
from accrete.core.settings import cache_path, place_among_nodes, training_processes
from accrete.errors import AccreteError, ConfigError
from accrete.steps._peer_folder import Outcome, PeerFolder, Work
from accrete.steps.frame import sigterm_as_error
from accrete.steps.training_task import train_stages

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What a training process, and its step, are told to end by."""


def train_alone(folder: PeerFolder, work: Work, parent: int) -> int:
    """Train, leave in the folder what came of it, and return the exit code.

    The signals that end it may be blocked up to here.

    Args:
        folder: shared with the step's own process.
        work: what to do.
        parent: the step's own process.
    """
    with suppress(OSError):  # who ends a group of processes reaches this one by its parent, once
        os.setpgid(0, 0)
    die_before_parent()
    try:
        with sigterm_as_error(), process_limit_named():
            signal.signal(signal.SIGINT, end_as_by_sigterm)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
            die_with_parent(parent)
            outcome = _outcome_of(work)
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # while it leaves how it ended
        folder.leave(0, Outcome.of(error))
        if isinstance(error, AccreteError):
            return error.exit_code
        traceback.print_exc()
        return 1
    folder.leave(0, outcome)
    return 0


def _outcome_of(work: Work) -> Outcome:
    share_cpus_well()
    keep_compiled_code(cache_path() / "compiled")
    size = num_processes()
    if size * place_among_nodes()[1] > 1:
        return Outcome(num_processes=size)
    return Outcome(manifest=train_stages(work.task, work.attempt))


def num_processes() -> int:
    """Return the processes to train with: one for each GPU, or as the environment says.

    Raises:
        ConfigError: it asks for more than there are GPUs.
    """
    wanted = training_processes()
    if wanted == 1:
        return 1
    import torch

    num_gpus = torch.cuda.device_count()
    if wanted is not None and num_gpus and wanted > num_gpus:
        raise ConfigError(f"{wanted} processes are asked for, but there are {num_gpus} GPUs")
    return wanted or max(1, num_gpus)


def main() -> None:
    """Train as the folder says."""
    folder = PeerFolder(Path(sys.argv[1]))
    sys.exit(train_alone(folder, folder.read_work(), int(sys.argv[2])))


if __name__ == "__main__":
    main()
