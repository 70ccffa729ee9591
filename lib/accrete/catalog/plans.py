"""Plans of compiled pipelines in the store: those that are too large for an argument of a step.

A document is there under its own SHA-256, before the pipeline that names it is submitted or
written to a file, and for good: a compiled pipeline may be run again in years.
"""

from collections.abc import Mapping
from typing import Any

from accrete.config.planned import is_reference, planned_document
from accrete.core.hashing import sha256_of_bytes
from accrete.core.serialization import from_json
from accrete.core.untrusted import parse_json
from accrete.errors import ConfigError, IntegrityError, ObjectMissingError
from accrete.store import keys
from accrete.store.keys import ObjectRef
from accrete.store.object_store import ObjectStore


def store_plan(planned: Mapping[str, Any], store: ObjectStore) -> None:
    """Store the document of a plan, where it has one and is not there yet.

    Raises:
        IntegrityError: other bytes are at its key.
        StoreError: the store does not take it.
    """
    data = planned_document(planned)
    if data is None:
        return
    key = keys.plan_key(sha256_of_bytes(data))
    if not store.create_note(key, data) and store.read_note(key) != data:
        raise IntegrityError(
            f"{store.uri(key)} holds other bytes than a plan of this name: delete it and do this "
            "again"
        )


def read_plan(argument: Mapping[str, Any], store: ObjectStore) -> dict[str, Any]:
    """Return a plan from the argument of `prepare`, from the store where that names a document.

    Raises:
        ConfigError: the argument is no reference.
        ObjectMissingError: the document is not in this store.
        IntegrityError: it was changed.
    """
    if not isinstance(argument, Mapping):
        raise ConfigError(f"planned is {repr(argument)[:60]}: it must be an object")
    if not is_reference(argument):
        return dict(argument)
    ref = from_json(ObjectRef, argument, "planned")
    key = keys.plan_key(ref.sha256)
    data = store.read_note(key)
    if data is None:
        raise ObjectMissingError(
            f"{store.uri(key)} is not there, which has the plan that this pipeline was compiled "
            "for: was store_uri changed, or the plan deleted? Give the store that it was compiled "
            "with, or compile it again"
        )
    if len(data) != ref.num_bytes or sha256_of_bytes(data) != ref.sha256:
        raise IntegrityError(
            f"{store.uri(key)} holds {len(data):,} other bytes than the {ref.num_bytes:,} that the "
            "pipeline was compiled for: delete it and compile or submit the pipeline again"
        )
    planned = parse_json(data, store.uri(key))
    if not isinstance(planned, dict):
        raise IntegrityError(f"{store.uri(key)} is no plan: compile the pipeline again")
    return planned
