"""The chain of stages of a run: what each trains on, and its identity.

Pure. A stage's identity is a digest of all that decides its result: the parent's identity, the
shards of D_j, normalization and preprocessing, the class list, the model, the resolved schedule,
the seed and the format version. It is not made of the whole dataset manifest, which a class that
arrives later changes.
"""

from dataclasses import dataclass
from typing import Any

from accrete.catalog.manifests import FORMAT, SPLITS, DatasetManifest, StageManifest
from accrete.config.life import is_arrival, resolve_life
from accrete.config.plan import check_counts_match
from accrete.config.run import ModelConfig, RunConfig
from accrete.config.schedule import StageSchedule
from accrete.core.hashing import sha256_of_json
from accrete.core.serialization import to_json
from accrete.errors import CheckpointMismatchError
from accrete.store.keys import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """All that a stage needs to be told."""

    index: int
    """j, from 1."""
    digest: str
    """The stage's identity."""
    parent: str | None
    """Identity of stage j - 1, or of the run's base; None for the first stage without one."""
    base: ObjectRef | None = None
    """Checkpoint of the run's base, where that is the parent."""
    class_names: tuple[str, ...]
    """Seen classes, by label."""
    num_old_classes: int
    """N_{j-1}."""
    schedule: StageSchedule
    """Its window of the plan."""
    model: ModelConfig
    """The network."""
    seed: int
    """Of weights, sample order and augmentation."""
    is_arrival: bool = False
    """Whether it extends what there is, as a run of its own would."""

    @property
    def draw(self) -> int:
        """Which of the seed's draws are its own: 1 for an extension, whatever came before it."""
        return 1 if self.is_arrival else self.index

    @property
    def weights(self) -> ObjectRef | None:
        """Trained weights that its trunk begins from; None: its parent's, or random ones."""
        weights = self.model.weights
        if self.parent is not None or weights is None:
            return None
        return ObjectRef(sha256=weights.sha256, num_bytes=weights.num_bytes)

    @property
    def num_classes(self) -> int:
        """N_j."""
        return len(self.class_names)

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"stage {self.index}"


def stage_chain(config: RunConfig, dataset: DatasetManifest) -> tuple[StageSpec, ...]:
    """Return the stages of a run, each with its identity.

    Raises:
        CountsMismatchError: the data set is not the one that the plan was made for.
        ConfigError: the recipe does not fit the plan.
    """
    check_counts_match(config.plan, dataset.planned_counts)
    side = min(dataset.image.height, dataset.image.width)
    schedules = resolve_life(config, side)
    chain: list[StageSpec] = []
    first_parent = config.base.identity if config.base else None
    for stage, schedule in zip(config.plan.stages, schedules, strict=True):
        names = config.plan.class_order[: stage.num_classes]
        parent = chain[-1].digest if chain else first_parent
        identity = {
            "format": FORMAT,
            "parent": parent,
            "classes": list(names),
            "num_old_classes": stage.num_old_classes,
            "shards": _shards_of(dataset, names),
            "image": to_json(dataset.image),
            "normalization": to_json(dataset.normalization),
            "model": _identity_of_model(config.model),
            "schedule": to_json(schedule),
            "seed": config.seed,
        }
        chain.append(
            StageSpec(
                index=stage.index,
                digest=sha256_of_json(identity),
                parent=parent,
                base=None if chain else _base_checkpoint(config),
                class_names=names,
                num_old_classes=stage.num_old_classes,
                schedule=schedule,
                model=config.model,
                seed=config.seed,
                is_arrival=is_arrival(config, stage.index),
            )
        )
    return tuple(chain)


def check_parent(spec: StageSpec, parent: StageManifest | None) -> None:
    """Refuse a checkpoint other than the one that this stage of this plan grows from.

    A base is no stage of the run: it is not handed on, but named by the run's record.

    Raises:
        CheckpointMismatchError: says how many classes it has and how many were expected.
    """
    found = parent.digest if parent else None
    if found == (spec.parent if spec.base is None else None):
        return
    num_found = len(parent.class_names) if parent else 0
    raise CheckpointMismatchError(
        f"{spec.name} starts from {spec.num_old_classes} classes and stage "
        f"{(spec.parent or 'none')[:12]}, but was given a checkpoint of {num_found} classes, stage "
        f"{(found or 'none')[:12]}: is it another plan's, or {spec.name}'s own output?"
    )


def _base_checkpoint(config: RunConfig) -> ObjectRef | None:
    if config.base is None:
        return None
    return ObjectRef(sha256=config.base.checkpoint_sha256, num_bytes=config.base.checkpoint_bytes)


def _identity_of_model(model: ModelConfig) -> dict[str, Any]:
    """Return what of a network decides a result: of weights their content, not where it was."""
    identity: dict[str, Any] = to_json(model)
    for name in ("origin", "file_sha256", "image_side"):
        identity.get("weights", {}).pop(name, None)
    return identity


def _shards_of(dataset: DatasetManifest, names: tuple[str, ...]) -> list[list[list[str]]]:
    """Return the shard digests of each class and split, in class order."""
    by_name = dataset.by_name
    return [
        [[shard.sha256 for shard in by_name[name].shards(split)] for split in SPLITS]
        for name in names
    ]
