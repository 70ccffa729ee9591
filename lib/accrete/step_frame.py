"""What every step of a pipeline does around its work: journal, store, cache, errors."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from accrete.cache import NodeCache
from accrete.catalog import Catalog
from accrete.errors import AccreteError
from accrete.journal import Journal, MuteJournal
from accrete.processes import keep_compiled_code, share_cpus_well
from accrete.settings import cache_path, parse_store_uri, progress_path, require_store_settings
from accrete.store import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepContext:
    """What every step has at hand."""

    journal: Journal | MuteJournal
    """Where it says how far it is."""
    catalog: Catalog
    """The store's data sets and stages."""
    cache: NodeCache
    """This node's objects."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn an expected failure into one line and its exit code; a traceback means a bug."""
    try:
        yield
    except AccreteError as error:
        print(f"accrete: error: {error}", file=sys.stderr, flush=True)  # noqa: T201
        sys.exit(error.exit_code)


def attempt(run_name: str, step: str, store_uri: str, work: Callable[[StepContext], T]) -> T:
    """Do a step's work, with a journal of it.

    Args:
        run_name: the run.
        step: the step, from `keys`.
        store_uri: `s3://bucket[/prefix]`.
        work: what to do.

    Raises:
        AccreteError: what the work raised; the journal has it.
    """
    share_cpus_well()
    keep_compiled_code(cache_path() / "compiled")
    store = ObjectStore(require_store_settings(), parse_store_uri(store_uri))
    with Journal(run_name, step, store=store, folder=progress_path()) as journal:
        try:
            store.check()
            cache = NodeCache(cache_path(), store)
            result = work(StepContext(journal, Catalog(store), cache))
        except AccreteError as error:
            journal.fail(str(error), error.exit_code)
            raise
        except BaseException as error:
            journal.fail(f"{type(error).__name__}: {error}", 1)
            raise
        journal.succeed()
        return result
