"""A configuration in two parts: what a user may edit in Kubeflow, and what a pipeline is made for.

The first is the pipeline's parameter. The second, class by class and stage by stage, is what the
tasks, their titles and its description were compiled from: it is a constant of the step `prepare`,
which nobody edits, and a reference to a document in the store where it is large. An argument of a
process has at most 128 KiB (Linux, MAX_ARG_STRLEN), and Kubernetes keeps all of a workflow's in one
object of 1.5 MiB.
"""

import json
from collections.abc import Mapping
from typing import Any

from accrete.config.run import RunConfig
from accrete.config.sweep import Sweep
from accrete.core.hashing import canonical_json, sha256_of_bytes
from accrete.core.serialization import to_json, without_nones
from accrete.errors import ConfigError

MAX_INLINE_BYTES = 16 << 10
"""A part of up to this size, in ASCII, is an argument itself: no store is needed to compile it."""

_OF_PLAN = ("plan", "base", "dataset")
"""The base of an extension is in the plan: its classes come first, and the rule names it. So is a
data set that is stored already: the plan was made from it."""
_OF_SWEEP = ("purpose", "rule", "class_order", "class_images", "cells")
_IN_SOURCE = ("only_classes",)
_IN_RECIPE = ("name", "epochs", "image_sides")
"""Lists with an entry a stage; and a text that says what the recipe's other values were."""


def split_config(config: RunConfig | Sweep) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what may be edited of a configuration, and what is planned, as JSON without nulls.

    `join_config` makes the same configuration of them again, to the digest.
    """
    whole = without_nones(to_json(config))
    names = _OF_SWEEP if isinstance(config, Sweep) else _OF_PLAN
    planned = {name: whole.pop(name) for name in names if name in whole}
    for place, moved in (("source", _IN_SOURCE), ("recipe", _IN_RECIPE)):
        fields = whole.get(place, {})
        planned |= {name: fields.pop(name) for name in moved if name in fields}
    return whole, planned


def join_config(editable: Mapping[str, Any], planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as JSON from its two parts.

    Args:
        editable: of `split_config`, as a user left it.
        planned: of `split_config`.

    Raises:
        ConfigError: the first has what belongs to the second, or is no such part.
    """
    if not isinstance(editable, Mapping):
        raise ConfigError(f"config is {repr(editable)[:60]}: it must be an object")
    known = {*_OF_PLAN, *_OF_SWEEP, *_IN_SOURCE, *_IN_RECIPE}
    if unknown := sorted(set(planned) - known):
        raise ConfigError(
            f"planned has {unknown[0][:60]!r}, which is not known here: the pipeline was compiled "
            "by another version; use its image, or compile it again"
        )
    whole = {**editable}
    _move(planned, whole, "config", (*_OF_PLAN, *_OF_SWEEP))
    for place, moved in (("source", _IN_SOURCE), ("recipe", _IN_RECIPE)):
        fields = whole.get(place, {})
        if not isinstance(fields, Mapping):
            raise ConfigError(f"config.{place} is {repr(fields)[:60]}: it must be an object")
        made = {**fields}
        _move(planned, made, f"config.{place}", moved)
        if made:
            whole[place] = made
    return whole


def _move(
    planned: Mapping[str, Any], fields: dict[str, Any], place: str, names: tuple[str, ...]
) -> None:
    for name in names:
        if name in fields:
            raise ConfigError(
                f"{place} has {name!r}, which cannot be edited: the pipeline's tasks were made for "
                "its plan; leave it out, or compile or submit the pipeline anew"
            )
        if name in planned:
            fields[name] = planned[name]


def planned_document(planned: Mapping[str, Any]) -> bytes | None:
    """Return the bytes that the store keeps of a planned part, None where it is an argument."""
    # Kubeflow and kfp write other letters than ASCII's as six each, and take "{{" for their own.
    text = json.dumps(planned)
    is_argument = len(text) <= MAX_INLINE_BYTES and "{{" not in text
    return None if is_argument else canonical_json(planned)


def planned_argument(planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the argument of `prepare`: a planned part, or size and SHA-256 of its document."""
    data = planned_document(planned)
    if data is None:
        return dict(planned)
    return {"sha256": sha256_of_bytes(data), "num_bytes": len(data)}


def is_reference(argument: Mapping[str, Any]) -> bool:
    """Return whether an argument names a document."""
    return "sha256" in argument
