"""One of the processes that train together: `python -m accrete.steps.peer_process FOLDER`."""

import json
import os
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import distributed

from accrete.core.processes import die_with_parent
from accrete.core.serialization import from_json
from accrete.core.settings import peer_place
from accrete.errors import AccreteError
from accrete.steps._peer_launch import ARGUMENTS, OUTCOME
from accrete.steps._train_stages import TrainArguments, follow_stages, train_stages
from accrete.training.device import compute_device
from accrete.training.distributed import Peers

_LEFT_ALONE_S = 2.0
"""How long another process may go on after the first one is done; it waits for nothing then."""


def main() -> None:
    """Train, and leave in the folder what came of it."""
    die_with_parent(os.getppid())
    folder = Path(sys.argv[1])
    rank, local_rank, size = peer_place()
    arguments = from_json(
        TrainArguments, json.loads((folder / ARGUMENTS).read_bytes()), "the step's arguments"
    )
    device = compute_device(local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    peers = Peers(device, rank, size)
    if not peers.is_main:
        Thread(target=_end_after_first, args=(folder,), daemon=True).start()
    try:
        train_all = train_stages if peers.is_main else follow_stages
        facts = train_all(arguments, peers)
    except AccreteError as error:
        _leave(folder, rank, {"error": str(error), "exit_code": error.exit_code})
        sys.exit(error.exit_code)
    _leave(folder, rank, {"facts": facts})
    distributed.destroy_process_group()


def _leave(folder: Path, rank: int, outcome: dict[str, Any]) -> None:
    part = folder / f"{rank}.part"
    part.write_text(json.dumps(outcome))
    part.replace(folder / OUTCOME.format(rank=rank))


def _end_after_first(folder: Path) -> None:
    """End this process soon after the first one did: it may be stuck in an exchange with it."""
    while not (folder / OUTCOME.format(rank=0)).exists():
        time.sleep(0.1)
    time.sleep(_LEFT_ALONE_S)
    os._exit(0)


if __name__ == "__main__":
    main()
