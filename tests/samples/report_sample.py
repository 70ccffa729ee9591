"""A report of any plan, its figures drawn from a fixed seed."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

PHASES = ("pull_s", "grow_s", "train_s", "evaluate_s", "push_s")


def make_report(
    sizes: Sequence[int], *, names: Sequence[str] | None = None, num_test_images: int = 36
) -> dict[str, Any]:
    """Return a report of stages that add `sizes` classes, its figures drawn from a fixed seed."""
    rng = np.random.default_rng(0)
    order = list(names or (f"class {label}" for label in range(sum(sizes))))
    class_images = [int(count) for count in rng.integers(400, 500, size=len(order))]
    stages: list[dict[str, Any]] = []
    for size in sizes:
        stages.append(
            _make_stage(
                rng,
                stages,
                size=size,
                order=order,
                class_images=class_images,
                num_test_images=num_test_images,
            )
        )
    seen = sum(stage["images_seen"] for stage in stages)
    train_s = sum(stage["train_s"] for stage in stages)
    return {
        "format": 1,
        "run": {
            "name": "digits-a1-3f2c91",
            "created_at": "2026-11-23T11:00:00Z",
            "accrete_version": "0.1.0",
            "config_digest": _digest("config"),
            "seed": 0,
        },
        "config": {"source": {"kind": "digits"}, "recipe": {"lr": 0.1, "batch_size": 64}},
        "base": None,
        "weights": None,
        "assumptions": ["Weight decay is 0.0005: the paper leaves it open."],
        "dataset": {
            "digest": _digest("data"),
            "num_classes": len(order),
            "num_train_images": sum(class_images),
            "num_validation_images": 0,
            "num_test_images": num_test_images * len(order),
            "image_shape": [1, 8, 8],
            "mean": [0.30518],
            "std": [0.37602],
            "skipped_images": 0,
            "split": "stratified, 20 % by seed 0",
        },
        "plan": _make_plan(sizes, order, class_images),
        "stages": stages,
        "totals": {
            "images_seen": seen,
            "train_s": train_s,
            "wall_s": sum(stage[name] for stage in stages for name in stage if name in PHASES),
            "top1": stages[-1]["top1"],
        },
        "scratch_estimate": {
            "images_seen": 2 * seen,
            "train_s": 2 * train_s,
            "method": "The last stage's rate over the images of as many epochs on all classes.",
        },
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _make_plan(
    sizes: Sequence[int], order: Sequence[str], class_images: Sequence[int]
) -> dict[str, Any]:
    ends = [int(end) for end in np.cumsum(sizes)]
    images = [sum(class_images[:end]) for end in ends]
    return {
        "rule": f"alpha = 1 from {sizes[0]} classes",
        "class_order": list(order),
        "num_train_images_per_class": list(class_images),
        "stages": [
            {
                "index": index,
                "num_new_classes": size,
                "num_classes": end,
                "num_new_images": sum(class_images[end - size : end]),
                "num_images": seen,
            }
            for index, (size, end, seen) in enumerate(zip(sizes, ends, images, strict=True), 1)
        ],
        "images_per_epoch": sum(images),
        "scratch_images_per_epoch": len(sizes) * images[-1],
    }


def _make_stage(
    rng: np.random.Generator,
    earlier: Sequence[dict[str, Any]],
    *,
    size: int,
    order: Sequence[str],
    class_images: Sequence[int],
    num_test_images: int,
) -> dict[str, Any]:
    num_old = earlier[-1]["num_classes"] if earlier else 0
    num_classes = num_old + size
    skill = np.where(rng.random(num_classes) < 0.8, 9.0, 3.0) * 4
    weights = rng.random((num_classes, num_classes)) ** 4 + np.diag(skill)
    confusion = np.stack([rng.multinomial(num_test_images, row / row.sum()) for row in weights])
    hits = np.diag(confusion) / num_test_images
    num_steps = 14 * sum(class_images[:num_classes]) // 64
    first_step = sum(stage["num_steps"] for stage in earlier)
    steps = range(0, num_steps, max(1, num_steps // 60))
    fade = np.log(num_classes) * np.exp(-np.arange(len(steps)) / 9) + 0.05
    return {
        "index": len(earlier) + 1,
        "num_new_classes": size,
        "num_classes": num_classes,
        "new_classes": list(order[num_old:num_classes]),
        "digest": _digest(f"stage {num_classes}"),
        "parent": earlier[-1]["digest"] if earlier else None,
        "reused": len(earlier) == 1,
        "top1": float(hits.mean()),
        "top1_old": float(hits[:num_old].mean()) if num_old else None,
        "top1_new": float(hits[num_old:].mean()),
        "loss": float(1 - hits.mean()),
        "images_seen": 64 * num_steps,
        "num_steps": num_steps,
        "num_epochs": 14.0,
        "pull_s": 0.31,
        "grow_s": 0.02,
        "train_s": num_steps / 40,
        "evaluate_s": 0.05 * num_classes,
        "push_s": 0.25,
        "images_per_s": 2560.0,
        "pulled_bytes": 64 * sum(class_images[num_old:num_classes]),
        "prefetched_bytes": 64 * size,
        "pushed_bytes": 1_200_000,
        "cache_hits": 3,
        "checkpoint_sha256": _digest(f"checkpoint {num_classes}"),
        "device": "cpu",
        "history": [
            {
                "step": first_step + step + 1,
                "epoch": 14 * step / num_steps,
                "lr": 0.1 * (1 - step / num_steps),
                "loss": float(loss * rng.uniform(0.9, 1.1)),
            }
            for step, loss in zip(steps, fade, strict=True)
        ],
        "per_class": [
            {"name": name, "top1": float(hit), "num_images": num_test_images}
            for name, hit in zip(order, hits, strict=False)
        ],
        "confusion": confusion.tolist(),
    }
