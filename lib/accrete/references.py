"""What names what: from runs to stages and data sets, and from these to objects. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from accrete.config import BaseModel
from accrete.manifests import DatasetManifest, FileRef, ShardRef, StageManifest
from accrete.runs import RunRecord, SweepRecord


@dataclass(slots=True, kw_only=True)
class References:
    """Everything that some runs, stages and data sets name, directly or through each other."""

    stages: set[str] = field(default_factory=set)
    """Identities of stages, finished or not."""
    datasets: set[str] = field(default_factory=set)
    """Digests of data sets."""
    objects: dict[str, int] = field(default_factory=dict)
    """SHA-256 and size in bytes of objects."""


def stages_of_record(record: RunRecord | SweepRecord) -> tuple[str, ...]:
    """Return the identities of a run's stages, or of those of all cells of a sweep, each once."""
    if isinstance(record, RunRecord):
        return record.stages
    return tuple(dict.fromkeys(stage for cell in record.cells for stage in cell.stages))


def base_of_record(record: RunRecord | SweepRecord) -> BaseModel | None:
    """Return the trained model that a run grows, None for a run from scratch or a sweep."""
    return record.config.base if isinstance(record, RunRecord) else None


def follow(
    records: Iterable[RunRecord | SweepRecord],
    stages: Mapping[str, StageManifest],
    datasets: Mapping[str, DatasetManifest],
    *,
    more_stages: Iterable[str] = (),
    more_datasets: Iterable[str] = (),
) -> References:
    """Return all that some records name, through manifests that exist.

    Args:
        records: where to begin.
        stages: manifests of finished stages, by identity.
        datasets: dataset manifests, by digest.
        more_stages: stages to begin with besides.
        more_datasets: data sets to begin with besides.
    """
    found = References(stages=set(more_stages), datasets=set(more_datasets))
    for record in records:
        found.stages.update(stages_of_record(record))
        found.datasets.add(record.dataset)
        _add_base(found, base_of_record(record))
    _follow_stages(found, stages)
    _follow_datasets(found, datasets)
    return found


def _add_base(found: References, base: BaseModel | None) -> None:
    if base is None:
        return
    found.objects[base.checkpoint_sha256] = base.checkpoint_bytes
    found.stages.add(base.identity)  # that of a file of weights is no stage's, and does no harm
    if base.dataset is not None:
        found.datasets.add(base.dataset)


def _follow_stages(found: References, stages: Mapping[str, StageManifest]) -> None:
    waiting = list(found.stages)
    while waiting:
        manifest = stages.get(waiting.pop())
        if manifest is None:
            continue  # not finished
        _add_objects(found, (manifest.checkpoint, manifest.metrics))
        found.datasets.add(manifest.dataset)
        if manifest.parent is not None and manifest.parent not in found.stages:
            found.stages.add(manifest.parent)
            waiting.append(manifest.parent)


def _follow_datasets(found: References, datasets: Mapping[str, DatasetManifest]) -> None:
    waiting = list(found.datasets)
    while waiting:
        manifest = datasets.get(waiting.pop())
        if manifest is None:
            continue
        for entry in manifest.classes:
            _add_objects(found, entry.all_shards)
        if manifest.extends is not None and manifest.extends not in found.datasets:
            found.datasets.add(manifest.extends)
            waiting.append(manifest.extends)


def _add_objects(found: References, refs: Iterable[FileRef | ShardRef]) -> None:
    found.objects.update({ref.sha256: ref.num_bytes for ref in refs})
