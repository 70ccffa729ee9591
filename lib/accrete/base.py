"""What a run may grow: a finished stage, named as users name stages."""

from accrete.catalog import Catalog
from accrete.config import BaseModel, ModelConfig
from accrete.manifests import StageManifest
from accrete.stage_lookup import find_stage


def base_of_stage(manifest: StageManifest, origin: str) -> BaseModel:
    """Return a finished stage as a base; the data set that it was trained on has the old shards.

    Args:
        manifest: the stage.
        origin: how the user named it.
    """
    return BaseModel(
        origin=origin,
        identity=manifest.digest,
        checkpoint_sha256=manifest.checkpoint.sha256,
        checkpoint_bytes=manifest.checkpoint.num_bytes,
        dataset=manifest.dataset,
        image=manifest.image,
        normalization=manifest.normalization,
        top1=manifest.result.top1,
    )


def find_base(
    catalog: Catalog, name: str, index: int | None
) -> tuple[BaseModel, ModelConfig, tuple[str, ...]]:
    """Return a base, its network and its class names, by label.

    Args:
        catalog: where to look.
        name: a run's name, or at least 12 digits of a stage's digest.
        index: j, from 1, of a run's stages; None: the last.

    Raises:
        RunNotFoundError: the store knows neither such a run nor such a stage.
        InputError: the run has no such stage, or it is not finished.
    """
    manifest = find_stage(catalog, name, index)
    is_digest = manifest.digest.startswith(name)
    origin = f"stage {name[:12]}" if is_digest else f"stage {manifest.index} of run {name}"
    return base_of_stage(manifest, origin), manifest.model, manifest.class_names
