"""A finished stage's network that was never trained, for what is done with networks afterwards."""

import torch
from torch import Tensor, nn
from training_sample import make_schedule

from accrete.catalog.manifests import (
    FORMAT,
    StageManifest,
    StageResult,
    StageTimes,
    StageTraffic,
)
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.run import ModelConfig
from accrete.models.networks import Classifier, build_model
from accrete.models.predictor import TrainedModel
from accrete.store.keys import ObjectRef

CLASS_NAMES = ("ape", "bee", "cat", "dog")


def make_trained(
    *,
    channels: int = 1,
    height: int = 8,
    width: int = 8,
    preprocessing: str = "none",
    network: Classifier | None = None,
) -> TrainedModel:
    """Return a network of four classes; its weights are random, the same each time."""
    config = ModelConfig(name="small", width=0.25)
    if network is None:
        network = build_model(config, channels=channels, num_classes=len(CLASS_NAMES), seed=0)
        _spread(network, torch.rand(64, channels, height, width, generator=_generator()) * 4 - 2)
    image = ImageFormat(
        encoding="raw",
        height=height,
        width=width,
        channels=channels,
        preprocessing=preprocessing,
    )
    means, deviations = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
    manifest = _manifest(
        config, image, Normalization(mean=means[:channels], std=deviations[:channels])
    )
    network = network.eval().to(memory_format=torch.channels_last)
    return TrainedModel(manifest=manifest, network=network)


def _spread(network: Classifier, images_NCHW: Tensor) -> None:
    """Give a network the statistics of some images, and answers that differ."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all it sees
    with torch.no_grad():
        network.train()(images_NCHW)
        network.head.weight.mul_(10)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _manifest(
    config: ModelConfig, image: ImageFormat, normalization: Normalization
) -> StageManifest:
    file = ObjectRef(sha256="ab" * 32, num_bytes=1)
    return StageManifest(
        format=FORMAT,
        digest="5e" * 32,
        index=2,
        parent="4d" * 32,
        dataset="da" * 32,
        class_names=CLASS_NAMES,
        num_old_classes=2,
        model=config,
        image=image,
        normalization=normalization,
        schedule=make_schedule(10),
        seed=0,
        checkpoint=file,
        metrics=file,
        result=StageResult(
            top1=0.5,
            top1_old=0.5,
            top1_new=0.5,
            loss=1.0,
            validation_top1=None,
            images_seen=160,
            images_per_s=1.0,
        ),
        times=StageTimes(pull_s=0.0, grow_s=0.0, train_s=1.0, evaluate_s=0.0, push_s=0.0),
        traffic=StageTraffic(
            pulled_bytes=0, prefetched_bytes=0, pushed_bytes=0, cache_hits=0, num_objects=0
        ),
        device="cpu",
        versions="",
        created_at="2026-11-23T11:00:00Z",
    )
