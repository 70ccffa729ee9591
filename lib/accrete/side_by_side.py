"""Work on two CPUs that one process has to do, by a fork of it."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

from accrete.processes import available_cpus, can_fork, die_with_parent

T = TypeVar("T")


def call_side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Return what functions return that need nothing of each other; half of them run in a fork.

    Args:
        works: what to call. Results are pickled. What raises in the fork is called here again.
    """
    if len(works) < 2 or available_cpus() < 2 or not can_fork():
        return [work() for work in works]
    others = works[1::2]
    receiver, sender = multiprocessing.Pipe(duplex=False)
    helper = multiprocessing.get_context("fork").Process(
        target=_send_results, args=(others, sender, os.getpid()), daemon=True
    )
    helper.start()
    sender.close()
    own = [work() for work in works[::2]]
    with receiver:
        try:
            theirs = receiver.recv()
        except (EOFError, OSError):  # nothing came, or a part
            theirs = [work() for work in others]
    helper.join()
    results = [*own, *theirs]
    results[::2], results[1::2] = own, theirs
    return results


def _send_results(works: Sequence[Callable[[], T]], sender: Connection, parent: int) -> None:
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_DFL)
    die_with_parent(parent)
    try:
        results = [work() for work in works]
    except Exception:
        os._exit(1)  # the caller will see it, too
    sender.send(results)
