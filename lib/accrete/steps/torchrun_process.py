"""Torchrun, which ends with its step: `python -m accrete.steps.torchrun_process STEP FOLDER ...`.

Torchrun itself outlives a step that is killed, and so do the processes that it runs. What its
processes ended by, it alone is told, and prints; here it is left in the folder for the step.
"""

import os
import sys
from pathlib import Path
from typing import Any

from accrete.core.processes import die_with_parent
from accrete.steps._peer_folder import PeerFolder


def main() -> None:
    """Run the processes of a step; SIGTERM, which comes when the step is gone, has them save."""
    die_with_parent(int(sys.argv[1]))
    folder, options = PeerFolder(Path(sys.argv[2])), sys.argv[3:]
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    torchrun: Any = run  # whose functions have no types
    program = ["--module", "accrete.steps.peer_process", str(folder.path), str(os.getpid())]
    try:
        torchrun.run(torchrun.parse_args([*options, *program]))
    except ChildFailedError as error:
        folder.leave_codes([failure.exitcode for failure in error.failures.values()])
        sys.exit(1)  # what they failed by they have said
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
