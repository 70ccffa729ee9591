"""`accrete …` in a process that has imported all it needs: the tests' `cli` starts it so."""

import os
import sys
from collections.abc import Mapping, Sequence

from accrete.cli.main import main


def accrete(arguments: Sequence[str], env: Mapping[str, str], cwd: str, errors: str) -> None:
    """Run the command as its script does.

    Args:
        arguments: what comes after `accrete`.
        env: the whole environment.
        cwd: the folder to run it in.
        errors: file for what it writes to stderr.
    """
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
    sys.argv = ["accrete", *arguments]
    main()
