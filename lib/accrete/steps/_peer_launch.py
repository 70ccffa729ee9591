"""A training step on several GPUs: one process each under torchrun, watched by the step's own.

Where several nodes train together, each runs this, and torchrun finds the others by itself.

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

from accrete.core.processes import share_cpus_well
from accrete.core.serialization import to_json
from accrete.core.settings import place_among_nodes, training_processes
from accrete.errors import ConfigError, StepFailedError
from accrete.steps._train_stages import TrainArguments

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
    """Train a step's stages in several processes, and on several nodes where there are more.

    Args:
        arguments: of the step.
        size: processes of this node; every node must have as many.

    Returns:
        Metadata of the model artifact; on another node than the first, nothing.

    Raises:
        StepFailedError: with the message and exit code of the process that failed.
    """
    node, num_nodes = place_among_nodes()
    share_cpus_well(among=size)
    with TemporaryDirectory(prefix="accrete-peers-") as name:
        folder = Path(name)
        (folder / ARGUMENTS).write_text(json.dumps(to_json(arguments)))
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(size)]
        environment = dict(os.environ)
        if num_nodes == 1:
            command.append("--standalone")
            # Gloo would take the address that the host name resolves to, which a pod may not have.
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        command += ["--module", "accrete.steps.peer_process", name]
        process = subprocess.Popen(command, env=environment)
        with _passing_sigterm_to(process):
            code = process.wait()
        return _facts(folder, range(node * size, (node + 1) * size), code)


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


def _facts(folder: Path, ranks: range, code: int) -> dict[str, Any]:
    """Return what the first process of all came to, if it is here, or raise what went wrong."""
    paths = [folder / OUTCOME.format(rank=rank) for rank in ranks]
    outcomes = [json.loads(path.read_bytes()) if path.exists() else {} for path in paths]
    # When one fails the others are told to end: a failure of its own says more than that.
    failures = [outcome for outcome in outcomes if "error" in outcome]
    for failure in sorted(failures, key=lambda outcome: outcome["exit_code"] == os.EX_TEMPFAIL):
        raise StepFailedError(failure["error"], failure["exit_code"])
    if code or (ranks[0] == 0 and "facts" not in outcomes[0]):
        raise StepFailedError(
            f"the {len(ranks)} processes of the step ended without a word (code {code})"
        )
    facts: dict[str, Any] = outcomes[0].get("facts", {}) if ranks[0] == 0 else {}
    return facts
