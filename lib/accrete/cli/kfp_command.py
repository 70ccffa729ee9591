"""The `kfp` script: `kfp run FILE.py …` runs a pipeline file; all else is kfp's own."""

import sys
from pathlib import Path

from accrete.core.processes import ignore_language


def main() -> None:
    """Run a pipeline file, or hand over to the kfp that is installed beside this package."""
    ignore_language()
    arguments = sys.argv[1:]
    if is_ours(arguments):
        from accrete.cli.main import run_pipeline_file

        run_pipeline_file(Path(arguments[1]), arguments[2:])
    else:
        from kfp.cli.__main__ import main as kfp_main

        kfp_main()


def is_ours(arguments: list[str]) -> bool:
    """Return whether these are `run FILE.py …`, which kfp itself does not know."""
    return len(arguments) >= 2 and arguments[0] == "run" and arguments[1].endswith(".py")
