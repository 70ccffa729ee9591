"""One of the processes that train together: `... -m accrete.steps.peer_process FOLDER TORCHRUN`."""

import os
import signal
import sys
import time
from pathlib import Path
from threading import Thread

import torch
from torch import distributed

from accrete.catalog.manifests import StageManifest
from accrete.core.processes import die_with_parent, end_as_by_sigterm, process_limit_named
from accrete.core.settings import peer_place
from accrete.errors import AccreteError, PreemptedError
from accrete.steps._peer_folder import Outcome, PeerFolder
from accrete.steps.frame import sigterm_as_error
from accrete.steps.training_task import follow_stages, train_stages
from accrete.training.device import compute_device
from accrete.training.distributed import Peers

_LEFT_ALONE_S = 2.0
"""How long another process may go on after the first one is done; it waits for nothing then."""


def main() -> None:
    """Train, and leave in the folder what came of it."""
    die_with_parent(int(sys.argv[2]))
    folder = PeerFolder(Path(sys.argv[1]))
    rank, local_rank, size = peer_place()
    with folder.sign_in(rank):
        signal.signal(signal.SIGINT, end_as_by_sigterm)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # while it leaves how it ended
        try:
            with sigterm_as_error(), process_limit_named():
                manifest = _train(folder, rank, local_rank, size)
        except BaseException as error:
            is_own = isinstance(error, AccreteError) and not isinstance(error, PreemptedError)
            folder.leave(rank, Outcome.of(error, may_follow=not is_own))
            if isinstance(error, AccreteError):
                sys.exit(error.exit_code)
            raise
        folder.leave(rank, Outcome(manifest=manifest))
        distributed.destroy_process_group()


def _train(folder: PeerFolder, rank: int, local_rank: int, size: int) -> StageManifest:
    work = folder.read_work()
    device = compute_device(local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    peers = Peers(device, rank, size)
    if not peers.is_main:
        Thread(target=_end_after_first, args=(folder, rank), daemon=True).start()
    train_all = train_stages if peers.is_main else follow_stages
    return train_all(work.task, work.attempt, peers)


def _end_after_first(folder: PeerFolder, rank: int) -> None:
    """End this process soon after the first one did: it may be stuck in an exchange with it."""
    while not folder.has_ended(0):
        time.sleep(0.1)
    time.sleep(_LEFT_ALONE_S)
    if not folder.has_ended(rank):
        folder.leave(rank, Outcome())
    os._exit(0)


if __name__ == "__main__":
    main()
