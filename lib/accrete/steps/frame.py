"""What every step of a pipeline does around its work: journal, metrics, store, cache, errors."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from accrete.catalog.catalog import Catalog
from accrete.catalog.step_documents import StepFailure
from accrete.config.run import check_run_name
from accrete.core.disk import disk_full_named
from accrete.core.processes import (
    ending,
    keep_compiled_code,
    leave_quickly,
    process_limit_named,
    share_cpus_well,
)
from accrete.core.settings import cache_path, progress_path
from accrete.errors import AccreteError, PreemptedError, one_line
from accrete.monitoring.exporters import MetricsExporters
from accrete.monitoring.journal import Journal, NullJournal, attempt_name
from accrete.monitoring.metrics import StepMetrics
from accrete.steps._passing import is_alive, lacks_memory, lacks_processes
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore

T = TypeVar("T")

MARK_BYTES = 40
"""Length of an attempt's file of marks, which is there from the start: the disk may fill up."""


@dataclass(frozen=True, slots=True)
class StepContext:
    """What every step has at hand."""

    journal: Journal | NullJournal
    """Where it says how far it is."""
    catalog: Catalog
    """The store's data sets and stages."""
    cache: NodeCache
    """This node's objects."""
    metrics: StepMetrics
    """Its figures, for monitoring."""
    kept: Callable[[int, int], None] = lambda _stage, _position: None
    """Told, by a stage's index and its optimizer steps, from where the step would go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at a step, by as many processes as it takes; they share its journal."""

    run_name: str
    """The run."""
    step: str
    """The step, from `keys`."""
    store_uri: str
    """`s3://bucket[/prefix]`."""
    name: str = field(default_factory=attempt_name)
    """Tells it from other attempts at the step."""
    restarts: tuple[str, ...] = ()
    """What was printed each time that its processes were killed and started again."""
    marks: str = ""
    """File that says how far the step is safe from a kill; empty: nobody wants to know."""
    supervisor: int = 0
    """Process that may start its processes again, and else tells how it ended; 0: none does."""

    def __post_init__(self) -> None:
        check_run_name(self.run_name)  # it may have been edited; it becomes part of keys

    def leaves(self, error: BaseException) -> bool:
        """Return whether its supervisor is to tell of this error, which may not be the step's end.

        What several processes fail by may come of another one's end; that is never an error for
        users.
        """
        may_pass = lacks_memory(error) or lacks_processes(error)
        may_follow = not isinstance(error, AccreteError)
        return bool(self.supervisor) and (may_pass or may_follow) and is_alive(self.supervisor)

    def mark(self, stage: int, position: int) -> None:
        """Note that a step whose process is killed now goes on from here, where that is further.

        Args:
            stage: its index.
            position: optimizer steps done in it, more than it has once it is published.
        """
        if not self.marks:
            return
        with suppress(OSError, ValueError), Path(self.marks).open("r+") as file:
            if [int(number) for number in file.read().split()] < [stage, position]:
                file.seek(0)
                file.write(f"{stage} {position}".ljust(MARK_BYTES))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected failure into one line and its exit code; a traceback means a bug.

    So it does with SIGTERM wherever in a step it comes; as a container's first process, one without
    a handler is not even ended by it.
    """
    try:
        with sigterm_as_error():
            yield
    except AccreteError as error:
        print(f"accrete: error: {one_line(str(error))}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(error.exit_code)


def run_attempt(attempt: Attempt, work: Callable[[StepContext], T]) -> T:
    """Do a step's work, with a journal of it.

    Args:
        attempt: at which step.
        work: what to do.

    Raises:
        AccreteError: what the work raised; journal and metrics have it.
    """
    leave_quickly()
    share_cpus_well()
    keep_compiled_code(cache_path() / "compiled")
    store = ObjectStore.open(attempt.store_uri)
    journal, metrics = _journal(attempt, store)
    metrics.set("accrete_step_restarts", len(attempt.restarts))
    if attempt.restarts:
        journal.go_on(attempt.restarts)
    told = _ending_told(journal, metrics, attempt.leaves)
    with process_limit_named(), told, sigterm_as_error(), process_limit_named():
        store.check()
        metrics.set("accrete_step_attempts", _count_attempts(store, journal))
        cache = NodeCache(cache_path(), store)
        metrics.watch(cache)
        with disk_full_named(cache.work_path):
            return work(StepContext(journal, Catalog(store), cache, metrics, attempt.mark))


@contextmanager
def failures_in_journal(attempt: Attempt) -> Iterator[None]:
    """Have an attempt's journal tell what fails before its work begins, or in its processes.

    Nothing is told anew where the journal has it already.

    Raises:
        PreemptedError: SIGTERM came, where the block has no handler of its own.
    """
    try:
        with sigterm_as_error():
            yield
    except BaseException as error:
        # Not waited for again, where it is away: the attempt may have failed by just that.
        journal, metrics = _journal(attempt, ObjectStore.open(attempt.store_uri, wait_s=0))
        if journal.take_over() != StepFailure.of(error):
            with suppress(BaseException), _ending_told(journal, metrics):
                raise
        raise


def tell_of_restart(attempt: Attempt) -> None:
    """Have an attempt's journal say that its processes are started again, where one said it failed.

    It is not waited for a store that is away; the processes say it, too.
    """
    journal, _ = _journal(attempt, ObjectStore.open(attempt.store_uri, wait_s=0))
    journal.go_on(attempt.restarts)
    with suppress(AccreteError), journal:
        pass


def _journal(attempt: Attempt, store: ObjectStore) -> tuple[Journal, StepMetrics]:
    metrics = StepMetrics(attempt.run_name, attempt.step, store.traffic)
    journal = Journal(
        attempt.run_name,
        attempt.step,
        store=store,
        folder=progress_path(),
        attempt=attempt.name,
        heard=metrics.count_images,
    )
    store.told_by(journal.result)  # which console and status show, too
    return journal, metrics


@contextmanager
def _ending_told(
    journal: Journal,
    metrics: StepMetrics,
    is_left: Callable[[BaseException], bool] = lambda _error: False,
) -> Iterator[None]:
    """Have a journal and metrics tell how a block ends, unless that is left to another process."""
    with (
        journal,
        MetricsExporters(metrics, journal.say, tidy=journal.step == keys.prepare_step_name()),
    ):
        try:
            yield
        except BaseException as error:
            if is_left(error):
                raise
            failure = StepFailure.of(error)
            journal.fail(failure)
            metrics.end(error, failure.exit_code)
            raise
        journal.succeed()
        metrics.end()


def _count_attempts(store: ObjectStore, journal: Journal) -> int | None:
    """Return the attempts at the step by the logs that they left; None where that fails."""
    try:
        logs = store.list_keys(keys.step_log_prefix(journal.run_name, journal.step))
    except AccreteError:
        return None
    return 1 + sum(not log.endswith(f"/{journal.attempt}.log") for log in logs)


class _Terminated(BaseException):
    """SIGTERM came; nothing that expects errors may take this for one."""


@contextmanager
def sigterm_as_error() -> Iterator[None]:
    """Have SIGTERM end a block as a failure, so that what frames it still says how it ended.

    Training has a handler of its own, which saves first. A second SIGTERM ends the process at once.

    Raises:
        PreemptedError: it came.
    """
    owner = os.getpid()

    def end(signum: int, _frame: object) -> None:
        signal.signal(signum, signal.SIG_DFL)
        ending().set()
        if os.getpid() != owner:  # a forked worker, which has nothing to say
            os.kill(os.getpid(), signum)
        raise _Terminated

    previous = signal.getsignal(signal.SIGTERM)
    with suppress(ValueError):  # not in the main thread: no signal comes here
        signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _Terminated:
        raise PreemptedError(
            "told to end before the step was done: another attempt goes on from what is stored"
        ) from None
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, previous)
