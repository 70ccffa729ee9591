"""Classes that arrive: when what a source has is worth extending a model for. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from accrete.config.recipe import Recipe
from accrete.config.run import MAX_RUN_NAME, SourceConfig, check_run_name, check_seed, is_run_name
from accrete.core.options import Given, Option
from accrete.core.serialization import to_json, without_nones
from accrete.core.units import format_counted, format_percent, parse_duration
from accrete.core.validation import MAX_COUNT, check_range
from accrete.errors import ConfigError

_MOST_ARRIVALS = 999
"""Of a life, whose names must be possible."""
_NAMED = 6
"""Classes that a line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalRules:
    """When a model is extended by what has come."""

    least_images: Annotated[
        int, Option("Training images that a new class must have; with fewer it is waited for.")
    ] = 20
    refresh_share: Annotated[
        float,
        Option(
            "Train again when the old classes' images have grown by this share; 0: never.",
            metavar="SHARE",
        ),
    ] = 0.2
    settle: Annotated[
        str,
        Option(
            "Take nothing before two looks so far apart agree: something may still be copied.",
            metavar="TIME",
        ),
    ] = "1m"

    def __post_init__(self) -> None:
        check_range("least images of a class", self.least_images, 1, MAX_COUNT)
        check_range("refresh share", self.refresh_share, 0, 1000)
        parse_duration(self.settle, "--settle")

    @property
    def settle_s(self) -> float:
        """Seconds between two looks that must agree."""
        return parse_duration(self.settle, "--settle").total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What is looked at, for which model, and how that is extended."""

    name: str
    """The run that began the model's life."""
    source: SourceConfig
    """Where classes arrive."""
    rules: ArrivalRules
    """When they are taken."""
    recipe: Recipe
    """How an extension is trained, as far as `given_recipe` says."""
    given_recipe: tuple[str, ...]
    """Fields of the recipe that the user set; the others depend on what arrives."""
    seed: int
    """Of an extension's weights, sample order and augmentation."""
    own_validation: bool | None = None
    """Whether the source's share of validation images was asked for; otherwise it is that of the
    data set which grows."""

    def __post_init__(self) -> None:
        check_run_name(self.name)
        if not is_run_name(arrival_name(self.name, _MOST_ARRIVALS)):
            most = MAX_RUN_NAME - len(arrival_name("", _MOST_ARRIVALS))
            raise ConfigError(
                f"run name is {self.name!r}, but arrivals are called {arrival_name('NAME', 1)}, "
                f"{arrival_name('NAME', 2)}, …, of {MAX_RUN_NAME} characters at most: watch one "
                f"of {most} (the same run under a shorter --name finds its stages)"
            )
        check_seed(self.seed, "seed")

    @property
    def place(self) -> str:
        """Where it is looked, for people."""
        return self.source.location or self.source.kind

    @property
    def asked_recipe(self) -> Given[Recipe]:
        """What the user says of the recipe."""
        names = frozenset(self.given_recipe)
        return Given(Recipe, {name: getattr(self.recipe, name) for name in names}, names)


def watch_parameter(watch: Watch) -> dict[str, Any]:
    """Return a watch as a pipeline's parameter: JSON without nulls."""
    parameter: dict[str, Any] = without_nones(to_json(watch))
    return parameter


def arrival_name(name: str, number: int) -> str:
    """Return the name of the run that is a life's extension of a number, from 1."""
    return f"{name}-a{number}"


def is_arrival_name(run: str, name: str) -> bool:
    """Return whether a run's name is one of a life's extensions."""
    return re.fullmatch(re.escape(name) + r"-a[1-9][0-9]*", run) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a source has that a model lacks, by the numbers of its images alone."""

    ready: Mapping[str, int]
    """New classes with enough training images, and how many."""
    waiting: Mapping[str, int]
    """New classes with too few, and how many."""
    grown: Mapping[str, int]
    """Classes of the model with more images in the source than it was trained on, and how many
    more; of all splits."""
    fewer: Mapping[str, int]
    """Classes of the model of which the source has fewer images than it was trained on, maybe
    none, and how many it has: images may have gone to another class."""
    num_known: int
    """Images of the model's classes, of all splits."""
    rules: ArrivalRules
    """When they are taken."""

    @property
    def growth(self) -> float:
        """Images that came to the model's classes, as a share of those that they had."""
        return self._share(sum(self.grown.values()))

    def _share(self, num_images: int) -> float:
        return num_images / max(1, self.num_known)

    def are_enough(self, num_images: int) -> bool:
        """Return whether so many more images of the model's classes are worth training for."""
        return 0 < self.rules.refresh_share <= self._share(num_images)

    @property
    def refreshes(self) -> bool:
        """Whether the model's classes have grown by as much as the rules ask for."""
        return self.are_enough(sum(self.grown.values()))

    @property
    def taken(self) -> tuple[str, ...]:
        """The classes whose images are read now; those that grew come along with new ones."""
        if not self.ready and not self.refreshes:
            return ()
        return (*self.ready, *(self.grown if self.rules.refresh_share else ()))

    def without(self, name: str) -> "Sight":
        """Return the same, with a class that is not taken."""

        def others(classes: Mapping[str, int]) -> dict[str, int]:
            return {each: number for each, number in classes.items() if each != name}

        return replace(self, ready=others(self.ready), grown=others(self.grown))

    def lines(self) -> list[str]:
        """Return what is taken, and what is waited for, a line each."""
        lines = []
        if self.ready:
            lines.append(f"new: {_listed({n: f'{c:,} images' for n, c in self.ready.items()})}")
        if self.waiting:
            least = self.rules.least_images
            few = {n: f"{c:,} of {least:,} images" for n, c in self.waiting.items()}
            lines.append(f"waits for: {_listed(few)}")
        if self.grown:
            share = self.rules.refresh_share
            rule = f"trained on again at {100 * share:g} %, or with new classes"
            num_images = format_counted(sum(self.grown.values()), "more image")
            num_classes = format_counted(len(self.grown), "old class", "old classes")
            lines.append(
                f"{num_images} of {num_classes}, {format_percent(self.growth, 1)} more "
                f"({rule if share else 'not trained on: --refresh-share 0'})"
            )
        return lines


def sight_of(
    counts: Mapping[str, int],
    totals: Mapping[str, int],
    known: Mapping[str, int],
    rules: ArrivalRules,
) -> Sight:
    """Compare a source with a model.

    Args:
        counts: training images of each class of the source.
        totals: its images of all splits.
        known: images of all splits that the model's classes have in its data set.
        rules: when a model is extended.
    """
    # A class of which every image is left out by --exclude is none.
    new = {name: n for name, n in counts.items() if name not in known and totals.get(name)}
    least = rules.least_images
    return Sight(
        ready={name: count for name, count in new.items() if count >= least},
        waiting={name: count for name, count in new.items() if count < least},
        grown={
            name: totals[name] - known[name]
            for name in totals
            if name in known and totals[name] > known[name]
        },
        fewer={name: found for name in known if (found := totals.get(name, 0)) < known[name]},
        num_known=sum(known.values()),
        rules=rules,
    )


def _listed(parts: Mapping[str, str]) -> str:
    shown = [f"{name} {text}" for name, text in list(parts.items())[:_NAMED]]
    rest = len(parts) - len(shown)
    return ", ".join([*shown, f"{rest:,} others"] if rest else shown)
