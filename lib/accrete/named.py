"""What a user means by a name or some digits of a digest: a run, a stage or a data set. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accrete.errors import InputError, RunNotFoundError
from accrete.inventory import Inventory
from accrete.references import References, follow

_DIGITS = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One thing in a store."""

    kind: str
    """`run` (a sweep is one, too), `stage` or `data set`."""
    name: str
    """Its name, or its whole digest."""

    def references(self, inventory: Inventory) -> References:
        """Return what it names, directly or through others, itself included."""
        if self.kind == "run":
            return inventory.references(self.name)
        stages = [self.name] if self.kind == "stage" else []
        datasets = [self.name] if self.kind == "data set" else []
        return follow(
            [],
            inventory.stages,
            inventory.datasets,
            more_stages=stages,
            more_datasets=datasets,
        )


def find_named(inventory: Inventory, text: str) -> Named:
    """Return what is meant.

    Args:
        inventory: what there is.
        text: a run's name; or at least 8 digits of a digest: a stage's, a data set's, or that of a
            stage's checkpoint, which means the stage.

    Raises:
        RunNotFoundError: there is no such thing.
        InputError: the digits fit several.
    """
    if text in inventory.runs:
        return Named(kind="run", name=text)
    if text in inventory.unprepared:
        raise RunNotFoundError(
            f"run {text!r} has no data set yet, and names nothing: "
            f"`accrete status {text}` tells how it stands"
        )
    found = _by_digits(inventory, text) if _DIGITS.fullmatch(text) else []
    if not found:
        raise RunNotFoundError(
            f"no run is called {text!r}, and no stage, data set or checkpoint has a digest that "
            "begins so: `accrete ls` lists what there is"
        )
    if len(found) > 1:
        shown = ", ".join(f"{each.kind} {each.name[: len(text) + 8]}" for each in found[:4])
        raise InputError(f"{text!r} may be any of {shown}: give more digits")
    return found[0]


def _by_digits(inventory: Inventory, digits: str) -> list[Named]:
    def beginning_so(kind: str, digests: Mapping[str, Any]) -> list[Named]:
        return [Named(kind=kind, name=each) for each in sorted(digests) if each.startswith(digits)]

    of_checkpoints = [
        Named(kind="stage", name=digest)
        for digest, stage in inventory.stages.items()
        if stage.checkpoint.sha256.startswith(digits)
    ]
    stages = beginning_so("stage", inventory.stages)
    return [*stages, *beginning_so("data set", inventory.datasets), *of_checkpoints]
