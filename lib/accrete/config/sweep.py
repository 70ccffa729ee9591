"""Sweeps: several runs over one data set, made by one pipeline.

Pure. A cell is a run: its classes are the first ones in the class order that all cells share. Cells
whose plans begin alike share those stages, since a stage's identity says nothing of what follows.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from accrete.config.life import resolve_life
from accrete.config.packing import UNPACKED, Packing
from accrete.config.plan import Plan, pack_steps, sizes_by_increment
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig, check_seed
from accrete.core.hashing import sha256_of_json
from accrete.core.serialization import to_json
from accrete.errors import ConfigError

PURPOSES = ("comparison", "convergence", "increments", "lifecycle")

MAX_CELLS = 1000
"""Each is a whole plan over all classes."""

CELLS_BETWEEN = ","
"""Between the names of a task's cells, which have none of it."""

_CELL_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a sweep."""

    name: str
    """Unique in the sweep; at most 63 of a-z, 0-9, - and dots."""
    kind: str
    """What it is in the report: `staged`, `scratch` or `cell`."""
    stage_sizes: tuple[int, ...]
    """n_j of its stages."""
    recipe: Recipe
    """How it is trained."""
    seed: int = 0
    """Of weights, sample order and augmentation."""
    arrival: Recipe | None = None
    """How its stages after the first are trained, as RunConfig has it."""

    ADDED_FIELDS: ClassVar[frozenset[str]] = frozenset(("arrival",))

    def __post_init__(self) -> None:
        if not _CELL_NAME.fullmatch(self.name):
            raise ConfigError(f"cell is named {self.name[:80]!r}: use a-z, 0-9, - and dots")
        check_seed(self.seed, f"seed of cell {self.name}")

    @property
    def num_classes(self) -> int:
        """N_T: classes after its last stage."""
        return sum(self.stage_sizes)


def seeded_cells(
    name: str, kind: str, stage_sizes: tuple[int, ...], recipe: Recipe, seeds: Iterable[int]
) -> list[Cell]:
    """Return one cell for each seed, named `<name>-s<seed>`."""
    first = Cell(name=name, kind=kind, stage_sizes=stage_sizes, recipe=recipe)
    return [replace(first, name=f"{name}-s{seed}", seed=seed) for seed in seeds]


def grid_cells(
    pairs: Sequence[tuple[int, int]], recipe: Recipe, seeds: Iterable[int], total: int | None = None
) -> list[Cell]:
    """Return a study's cells, seed by seed.

    Args:
        pairs: (n1, Δn), classes of the first stage and of each one after it.
        recipe: how all of them are trained.
        seeds: of each pair.
        total: classes that a cell grows to (the paper's Table II); None: it grows once (Table I).
    """
    sizes = {(n1, dn): sizes_by_increment(total, n1, dn) if total else (n1, dn) for n1, dn in pairs}
    return [
        cell
        for seed in seeds
        for n1, dn in pairs
        for cell in seeded_cells(f"n{n1}-d{dn}", "cell", sizes[n1, dn], recipe, [seed])
    ]


def scratch_cells(
    budgets: Iterable[tuple[int, float]], recipe: Recipe, seeds: Sequence[int]
) -> list[Cell]:
    """Return cells of one stage, for each number of classes and its epochs, and each seed."""
    return [
        cell
        for number, epochs in budgets
        for cell in seeded_cells(
            f"scratch-{number}-{epochs:g}",
            "scratch",
            (number,),
            replace(recipe, budget_epochs=epochs),
            seeds,
        )
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Everything that decides a sweep's results."""

    purpose: str
    """One of PURPOSES: what its report is of."""
    rule: str
    """What it sweeps over, for people."""
    source: SourceConfig
    """The images of all cells."""
    class_order: tuple[str, ...]
    """All classes; a cell has the first ones."""
    class_images: tuple[int, ...]
    """Training images of each, in class order."""
    model: ModelConfig
    """The network of all cells."""
    cells: tuple[Cell, ...]
    """In the order in which they are trained where one must wait for another."""

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise ConfigError(f"sweep is for {self.purpose!r}: choose one of {PURPOSES}")
        names = [cell.name for cell in self.cells]
        if not names:
            raise ConfigError("the sweep has no cell: give at least one")
        if len(names) > MAX_CELLS:
            raise ConfigError(f"the sweep has {len(names):,} cells: give at most {MAX_CELLS}")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"cell {twice!r} is in the sweep twice: name each value once")
        for cell in self.cells:
            self.run_config(cell)  # refuses a plan that does not fit the classes

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return sha256_of_json(to_json(self))

    def cell(self, name: str) -> Cell:
        """Return a cell by name.

        Raises:
            ConfigError: there is none.
        """
        for cell in self.cells:
            if cell.name == name:
                return cell
        raise ConfigError(f"the sweep has no cell {name!r}: compile the pipeline again")

    def run_config(self, cell: Cell) -> RunConfig:
        """Return a cell as a run."""
        return RunConfig(
            source=self.source,
            plan=Plan(
                rule=f"{cell.kind} {cell.name}",
                class_order=self.class_order,
                class_images=self.class_images,
                stage_sizes=cell.stage_sizes,
            ),
            model=self.model,
            recipe=cell.recipe,
            seed=cell.seed,
            arrival=cell.arrival,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTask:
    """One training task of a sweep's pipeline."""

    cell: str
    """The cell that it is run for; others may build on it. Several whole cells, one after another,
    have commas between them."""
    stages: range
    """Its stages, from 1; of several cells, those of the longest."""
    parent: int | None
    """Position of the task that it continues, None where it begins a chain."""


def sweep_tasks(sweep: Sweep, packing: Packing = UNPACKED) -> list[SweepTask]:
    """Return the training tasks of a sweep, parents before their children.

    A task is a stage, and one that several cells have in common is one task; short ones of a cell
    that nothing else builds on are one. Where that gives more tasks than a DAG may hold, a task is
    a whole cell, or several that follow each other, and common stages are found in the store.

    Args:
        sweep: its cells.
        packing: how many tasks there may be, and what is short.
    """
    most = packing.max_steps
    work = _by_stage(sweep, packing)
    if len(work.tasks) <= most:
        return _pack_short(work.tasks, work.seconds, packing.step_overhead_s)
    bundles = [sweep.cells[of[0] - 1 : of[-1]] for of in pack_steps(work.images, most)]
    return [
        SweepTask(
            cell=CELLS_BETWEEN.join(cell.name for cell in bundle),
            stages=range(1, max(len(cell.stage_sizes) for cell in bundle) + 1),
            parent=None,
        )
        for bundle in bundles
    ]


def _pack_short(tasks: list[SweepTask], seconds: list[float], least_s: float) -> list[SweepTask]:
    """Return the tasks, with short ones joined to those of their cell that they continue."""
    num_children = Counter(task.parent for task in tasks)
    packed: list[SweepTask] = []
    loads: list[float] = []
    moved: list[int] = []
    for index, task in enumerate(tasks):
        parent = None if task.parent is None else moved[task.parent]
        is_alone = parent is not None and num_children[task.parent] == 1
        is_last = num_children[index] == 0
        if (
            parent is not None
            and is_alone
            and packed[parent].cell == task.cell
            and (loads[parent] < least_s or (is_last and seconds[index] < least_s))
        ):
            joined = range(packed[parent].stages.start, task.stages.stop)
            packed[parent] = replace(packed[parent], stages=joined)
            loads[parent] += seconds[index]
            moved.append(parent)
        else:
            packed.append(replace(task, parent=parent))
            loads.append(seconds[index])
            moved.append(len(packed) - 1)
    return packed


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be trained, stage by stage."""

    tasks: list[SweepTask]
    """One for each stage, one for what cells have in common."""
    seconds: list[float]
    """That each of them trains for."""
    images: list[int]
    """That each cell trains on beyond what cells before it have in common with it, at least 1."""


def _by_stage(sweep: Sweep, packing: Packing) -> _Work:
    """Return the stages of all cells."""
    tasks: list[SweepTask] = []
    seconds: list[float] = []
    images: list[int] = []
    known: dict[str, int] = {}
    for cell in sweep.cells:
        own = 0
        config = sweep.run_config(cell)
        schedules = resolve_life(config, image_side=32)
        parent: int | None = None
        for index, size in enumerate(cell.stage_sizes, start=1):
            # What came before is the parent, which stands for all that it was made of.
            schedule = schedules[index - 1]
            key = sha256_of_json([parent, size, to_json(schedule), cell.seed])
            if key not in known:
                known[key] = len(tasks)
                tasks.append(
                    SweepTask(cell=cell.name, stages=range(index, index + 1), parent=parent)
                )
                seconds.append(packing.seconds(schedule.num_images_seen))
                own += schedule.num_images_seen
            parent = known[key]
        images.append(max(own, 1))
    return _Work(tasks, seconds, images)
