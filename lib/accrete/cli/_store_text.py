"""What a store holds, as lines for people; from the facts that lineage.py finds."""

from collections.abc import Sequence

from accrete.catalog.gc import Collection
from accrete.catalog.lineage import Facts
from accrete.catalog.verification import Verification
from accrete.config.rules import shown_rule
from accrete.core.units import MISSING, format_bytes, format_percent
from accrete.store.bucket import Keeping

_DIGITS = 12


def table_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a head, in columns."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join(lines)


def runs_text(runs: Sequence[Facts], unprepared: Sequence[str]) -> str:
    """Return a line a run."""
    rows = [
        (
            run["name"],
            run["kind"],
            f"{run['num_finished']}/{run['num_stages']}",
            format_percent(run["top1"]),
            run["data_set_digest"][:_DIGITS],
            format_bytes(run["num_bytes"]),
            shown_rule(run["rule"]),
        )
        for run in runs
    ]
    rows += [
        (name, "run", MISSING, MISSING, MISSING, MISSING, "no data set yet") for name in unprepared
    ]
    if not rows:
        return "no runs yet: `accrete run` starts one"
    return table_text(("RUN", "KIND", "STAGES", "TOP-1", "DATA SET", "NAMES", "RULE"), rows)


def stages_text(stages: Sequence[Facts]) -> str:
    """Return a line a finished stage."""
    if not stages:
        return "no finished stages"
    rows = [
        (
            stage["digest"][:_DIGITS],
            str(stage["index"]),
            f"{stage['num_classes']} (+{stage['num_new_classes']})",
            stage["model"],
            format_percent(stage["top1"]),
            format_bytes(stage["checkpoint_bytes"]),
            stage["created_at"][:16],
            ", ".join(stage["runs"]) or "of no run",
        )
        for stage in stages
    ]
    head = ("STAGE", "NUMBER", "CLASSES", "MODEL", "TOP-1", "CHECKPOINT", "CREATED", "RUNS")
    return table_text(head, rows)


def datasets_text(datasets: Sequence[Facts]) -> str:
    """Return a line a data set."""
    if not datasets:
        return "no data sets"
    rows = [
        (
            dataset["digest"][:_DIGITS],
            str(dataset["num_classes"]),
            f"{dataset['num_images']['train']:,}",
            f"{dataset['num_images']['test']:,}",
            str(dataset["num_shards"]),
            format_bytes(dataset["num_bytes"]),
            ", ".join(dataset["runs"]) or "of no run",
        )
        for dataset in datasets
    ]
    head = ("DATA SET", "CLASSES", "TRAINING IMAGES", "TEST", "SHARDS", "SIZE", "RUNS")
    return table_text(head, rows)


def lineage_text(facts: Facts) -> str:
    """Return what is known of a run, a stage or a data set."""
    if facts["kind"] == "stage":
        return _stage_text(facts)
    if facts["kind"] == "data set":
        return _dataset_text(facts)
    return _run_text(facts)


def _run_text(run: Facts) -> str:
    lines = [f"{run['kind']} {run['name']}: {run['rule']}"]
    if run["base"]:
        lines.append(f"grows {run['base']['origin']} ({run['base']['identity'][:_DIGITS]})")
    if run["weights"]:
        lines.append(_weights_line(run["weights"]))
    lines.append(_dataset_line(run["data_set"], run["data_set_digest"]))
    lines += [_stage_line(stage) for stage in run["stages"]]
    return "\n".join(lines)


def _weights_line(weights: Facts) -> str:
    return (
        f"begins from weights {weights['origin']} (a file of SHA-256 "
        f"{weights['file_sha256'][:_DIGITS]}, in the store {weights['sha256'][:_DIGITS]})"
    )


def _stage_text(stage: Facts) -> str:
    manifest = stage["manifest"]
    new = manifest["class_names"][manifest["num_old_classes"] :]
    schedule = manifest["schedule"]
    lines = [
        f"stage {stage['index']}, {stage['digest']}",
        f"made {stage['created_at']} on {stage['device']}, {stage['versions']}; "
        f"of {', '.join(stage['runs']) or 'no run'}",
        f"classes: {manifest['num_old_classes']} old, {len(new)} new: {_listed(new)}",
        f"top-1 {format_percent(stage['top1'])}, after {stage['images_seen']:,} images in "
        f"{schedule['num_steps']:,} steps at most; model {stage['model']}, seed {manifest['seed']}",
        f"checkpoint {stage['checkpoint_sha256']}, {format_bytes(stage['checkpoint_bytes'])}",
        f"metrics {manifest['metrics']['sha256']}",
        "it came from:",
    ]
    lines += [f"  {_stage_line(parent)}" for parent in stage["parents"]]
    if stage["weights"]:
        lines.append(f"  {_weights_line(stage['weights'])}")
    lines.append(f"  {_dataset_line(stage['data_set'], stage['data_set_digest'])}")
    lines += [
        f"    {shard['sha256'][:_DIGITS]}  {shard['num_images']:>6,} {shard['split']} images of "
        f"{shard['class']}"
        for shard in stage["shards"] or ()
    ]
    return "\n".join(lines)


def _dataset_text(dataset: Facts) -> str:
    rows = [
        (
            each["name"],
            *(f"{each['num_images'][split]:,}" for split in ("train", "validation", "test")),
            format_bytes(each["num_bytes"]),
        )
        for each in dataset["classes"]
    ]
    head = ("CLASS", "TRAINING", "VALIDATION", "TEST", "SIZE")
    return f"{_dataset_line(dataset, dataset['digest'])}\n{table_text(head, rows)}"


def _stage_line(stage: Facts) -> str:
    if not stage["finished"]:
        return f"stage {stage['digest'][:_DIGITS]}: not finished"
    return (
        f"stage {stage['index']}  {stage['digest'][:_DIGITS]}  {stage['num_classes']} classes "
        f"(+{stage['num_new_classes']})  top-1 {format_percent(stage['top1'])}  "
        f"checkpoint {stage['checkpoint_sha256'][:_DIGITS]}"
    )


def _dataset_line(dataset: Facts | None, digest: str) -> str:
    if dataset is None:
        return f"data set {digest[:_DIGITS]}: gone, or damaged"
    image, images = dataset["image"], dataset["num_images"]
    extends = f"; extends {dataset['extends'][:_DIGITS]}" if dataset["extends"] else ""
    return (
        f"data set {digest[:_DIGITS]}: {dataset['num_classes']} classes, {images['train']:,} "
        f"training and {images['test']:,} test images of "
        f"{image['width']}x{image['height']}x{image['channels']} in {dataset['num_shards']} "
        f"shards, {format_bytes(dataset['num_bytes'])}{extends}"
    )


def verification_text(found: Verification, *, sizes_only: bool) -> str:
    """Return what verifying came to: a line for each damage, and one for all."""
    lines = []
    for damage in found.damages:
        owners = f" (named by {', '.join(damage.named_by)})" if damage.named_by else ""
        lines.append(f"{damage.key} {damage.problem}{owners}: {damage.remedy}")
    unfinished = f", {found.num_unfinished} stages not finished" if found.num_unfinished else ""
    how = "looked for" if sizes_only else "read back and hashed"
    lines.append(
        f"{found.num_objects:,} objects of {format_bytes(found.num_bytes)} {how}, "
        f"{found.num_manifests:,} records and manifests read{unfinished}: "
        f"{f'{len(found.damages)} damaged' if found.damages else 'all whole'}"
    )
    return "\n".join(lines)


def collection_text(found: Collection, keeping: Keeping | None, *, removed: bool) -> str:
    """Return what a collection came to.

    Args:
        found: what no run names.
        keeping: what the bucket keeps of what is deleted; None: that is not known.
        removed: whether it was removed.
    """
    if not found.all:
        return "nothing to remove: runs name everything that is old enough"
    kinds = {
        "objects": found.objects,
        "snapshots": found.snapshots,
        "stage manifests": found.stages,
        "dataset manifests": found.datasets,
        "notes of prepared sources": found.notes,
    }
    parts = [f"{len(items):,} {kind}" for kind, items in kinds.items() if items]
    what = f"{', '.join(parts)}; {format_bytes(found.num_bytes)} in all"
    remark = ""
    if keeping is not None and keeping.is_versioned:
        remark = (
            "\nthe bucket keeps what is deleted as old versions: nothing is freed before those "
            "expire (docs/store.md)"
        )
    elif keeping is not None and keeping.was_versioned:
        remark = "\nversions from before the bucket's versioning was suspended stay (docs/store.md)"
    if removed:
        return f"removed {what}{remark}"
    return f"would remove {what}\nnothing was removed: --delete does it{remark}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} others" if len(names) > 10 else shown
