"""What an evaluation came to, for people as a table and for programs as JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accrete.core.units import MISSING, format_counted, format_percent

if TYPE_CHECKING:
    from accrete.catalog.manifests import StageManifest
    from accrete.training.evaluation import Evaluation

_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """How a model did on some images."""

    manifest: "StageManifest"
    """The model."""
    found: "Evaluation"
    """What it took them for."""
    images: str
    """Which images, in words."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Images that were left out, by their class, which the model does not have."""
    num_bad: int = 0
    """Bad images that were left out."""

    @property
    def top1(self) -> float | None:
        """Share of the images that it has right."""
        return self.found.top1(0, len(self.manifest.class_names))


def evaluation_json(evaluated: Evaluated) -> dict[str, Any]:
    """Return all of it as JSON values."""
    manifest, found = evaluated.manifest, evaluated.found
    return {
        "stage": {"digest": manifest.digest, "index": manifest.index},
        "images": evaluated.images,
        "num_images": found.num_images,
        "top1": evaluated.top1,
        "loss": found.loss,
        "classes": [
            {
                "name": name,
                "label": label,
                "num_images": sum(row),
                "num_right": row[label],
                "top1": row[label] / sum(row) if sum(row) else None,
            }
            for label, (name, row) in enumerate(
                zip(manifest.class_names, found.confusion, strict=True)
            )
        ],
        "confusion": found.confusion,
        "left_out": {"classes": dict(evaluated.unknown), "bad_images": evaluated.num_bad},
    }


def evaluation_lines(evaluated: Evaluated) -> list[str]:
    """Return the sums and a row a class, the worst first; classes without images last."""
    manifest, found = evaluated.manifest, evaluated.found
    names = manifest.class_names
    rows = sorted(
        range(len(names)),
        key=lambda label: _rank(found.confusion[label], label),
    )
    width = max(len("class"), *map(len, names))
    return [
        f"top-1 {format_percent(evaluated.top1)}, loss {found.loss:.4f}: "
        f"{format_counted(found.num_images, 'image')}, {evaluated.images}, by stage "
        f"{manifest.index} ({manifest.digest[:12]}), {len(names):,} classes",
        f"{'images':>8} {'right':>8} {'top-1':>9}  {'class':<{width}}  mostly taken for",
        *(_row(label, found.confusion[label], names, width) for label in rows),
    ]


def _rank(row: Sequence[int], label: int) -> tuple[bool, float]:
    total = sum(row)
    return total == 0, row[label] / total if total else 0.0


def _row(label: int, row: Sequence[int], names: Sequence[str], width: int) -> str:
    total = sum(row)
    wrong = [(count, other) for other, count in enumerate(row) if count and other != label]
    most, other = max(wrong, key=lambda each: each[0], default=(0, 0))
    taken = f"{names[other]} ({most:,})" if most else MISSING
    top1 = format_percent(row[label] / total if total else None)
    return f"{total:>8,} {row[label]:>8,} {top1:>9}  {names[label]:<{width}}  {taken}"


def left_out_text(unknown: Counter[str]) -> str:
    """Return in one line which images were left out since the model does not have their class."""
    shown = ", ".join(repr(name) for name in list(unknown)[:_NAMED])
    more = ", …" if len(unknown) > _NAMED else ""
    images = format_counted(unknown.total(), "image")
    classes = format_counted(len(unknown), "class", "classes")
    return f"left out: {images} of {classes} that the model does not have: {shown}{more}"
