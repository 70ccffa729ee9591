"""A training step on several GPUs: one process each under torchrun, watched by the step's own.

Torchrun says only that a process failed; what failed, and what the step came to, the processes
leave in files of a folder that they share.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from accrete.codec import to_json
from accrete.errors import ConfigError, StepFailedError
from accrete.processes import share_cpus_well
from accrete.settings import training_processes
from accrete.train_steps import TrainArguments

ARGUMENTS = "arguments.json"
OUTCOME = "outcome-{rank}.json"


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


def train_among_peers(arguments: TrainArguments, size: int) -> dict[str, Any]:
    """Train a step's stages in several processes.

    Args:
        arguments: of the step.
        size: processes.

    Returns:
        Metadata of the model artifact.

    Raises:
        StepFailedError: with the message and exit code of the process that failed.
    """
    share_cpus_well(among=size)
    with TemporaryDirectory(prefix="accrete-peers-") as name:
        folder = Path(name)
        (folder / ARGUMENTS).write_text(json.dumps(to_json(arguments)))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(size), "--module", "accrete.peer_process", name]
        # Gloo would take the address that the host name resolves to, which a pod may not have.
        environment = {"GLOO_SOCKET_IFNAME": "lo"} | os.environ
        process = subprocess.Popen(command, env=environment)
        with _passing_sigterm_to(process):
            code = process.wait()
        return _facts(folder, size, code)


@contextmanager
def _passing_sigterm_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hand SIGTERM on, so that the first process saves what it has done."""

    def hand_on(_signum: int, _frame: FrameType | None) -> None:
        process.terminate()

    previous = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        process.kill()
        process.wait()


def _facts(folder: Path, size: int, code: int) -> dict[str, Any]:
    """Return what the first process came to, or raise what went wrong in any."""
    paths = [folder / OUTCOME.format(rank=rank) for rank in range(size)]
    outcomes = [json.loads(path.read_bytes()) if path.exists() else {} for path in paths]
    # When one fails the others are told to end: a failure of its own says more than that.
    failures = [outcome for outcome in outcomes if "error" in outcome]
    for failure in sorted(failures, key=lambda outcome: outcome["exit_code"] == os.EX_TEMPFAIL):
        raise StepFailedError(failure["error"], failure["exit_code"])
    if code or "facts" not in outcomes[0]:
        raise StepFailedError(
            f"the {size} processes of the step ended without a word (code {code})"
        )
    facts: dict[str, Any] = outcomes[0]["facts"]
    return facts
