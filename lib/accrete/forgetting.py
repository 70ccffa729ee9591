"""Removing a run's name, so that what it alone named can be collected."""

from datetime import timedelta

from accrete import keys
from accrete.config import check_run_name
from accrete.errors import InputError, RunNotFoundError
from accrete.runs import step_documents
from accrete.status import SILENT_AFTER_S
from accrete.store import Listed, ObjectStore


def keys_of_run(store: ObjectStore, name: str) -> list[str]:
    """Return the keys of a run's notes, its record first, so that it names nothing from then on.

    Raises:
        ConfigError: no run can be called so.
        RunNotFoundError: no run is.
        InputError: a step of it is running.
    """
    check_run_name(name)
    listed = list(store.list_objects(keys.run_folder(name)))
    if not listed:
        raise RunNotFoundError(
            f"no run {name!r} in {store.address}: `accrete ls` lists what there is"
        )
    _check_silent(store, name, listed)
    records = (keys.run_key(name), keys.sweep_key(name))
    return sorted((item.key for item in listed), key=lambda key: (key not in records, key))


def forget_run(store: ObjectStore, name: str, found: list[str]) -> None:
    """Delete a run's notes; what a call that was cut off left, another one deletes.

    Args:
        store: where they are.
        name: the run, which may have begun to run again since its notes were found.
        found: from `keys_of_run`.

    Raises:
        InputError: a step of it is running.
    """
    _check_silent(store, name, list(store.list_objects(keys.run_folder(name))))
    for key in found:
        store.delete(key)


def _check_silent(store: ObjectStore, name: str, listed: list[Listed]) -> None:
    silent_since = store.clock() - timedelta(seconds=SILENT_AFTER_S)
    notes = [item for item in listed if item.key.startswith(keys.step_prefix(name))]
    heard = {item.key for item in notes if item.modified_at > silent_since}
    if heard and any(each["state"] == "running" for each in step_documents(store, name)):
        raise InputError(
            f"a step of run {name!r} wrote to the store within the last {SILENT_AFTER_S} s: "
            "end the run, wait that long, and try again"
        )
