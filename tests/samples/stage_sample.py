"""A finished stage's manifest, as small as it can be."""

from accrete.catalog.manifests import (
    FORMAT,
    StageManifest,
    StageResult,
    StageTimes,
    StageTraffic,
)
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.plan import Plan
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig
from accrete.config.schedule import resolve
from accrete.store.keys import ObjectRef

_PLAN = Plan(rule="all", class_order=("a", "b"), class_images=(9, 9), stage_sizes=(2,))


def stage_manifest(
    *,
    digest: str,
    index: int,
    class_names: tuple[str, ...],
    num_old_classes: int,
    images_seen: int = 1000,
    top1: float | None = 0.5,
    train_s: float = 1.0,
) -> StageManifest:
    """Return a manifest with these figures; the rest stands for nothing."""
    (schedule,) = resolve(Recipe(), _PLAN, image_side=8)
    file = ObjectRef(sha256="0" * 64, num_bytes=1)
    return StageManifest(
        format=FORMAT,
        digest=digest,
        index=index,
        parent=None,
        dataset="0" * 64,
        class_names=class_names,
        num_old_classes=num_old_classes,
        model=ModelConfig(name="small"),
        image=ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none"),
        normalization=Normalization(mean=(0.5,), std=(0.25,)),
        schedule=schedule,
        seed=0,
        checkpoint=file,
        metrics=file,
        result=StageResult(
            top1=top1,
            top1_old=None,
            top1_new=top1,
            loss=1.0,
            validation_top1=None,
            images_seen=images_seen,
            images_per_s=images_seen / train_s,
        ),
        times=StageTimes(pull_s=0.1, grow_s=0.1, train_s=train_s, evaluate_s=0.1, push_s=0.1),
        traffic=StageTraffic(
            pulled_bytes=0, prefetched_bytes=0, pushed_bytes=0, cache_hits=0, num_objects=0
        ),
        device="cpu",
        versions="test",
        created_at="2026-11-23T11:00:00+00:00",
    )
