"""The model of a stage: M_{j-1} with a wider head, continued from a snapshot, shared by peers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accrete.catalog.identity import StageSpec
from accrete.catalog.manifests import DatasetManifest
from accrete.config.known_networks import fits, fitting_size
from accrete.core.hashing import derive_seed
from accrete.core.serialization import from_json, to_json
from accrete.errors import AccreteError
from accrete.models.backbone import load_backbone
from accrete.models.checkpoint import Checkpoint, load_weights
from accrete.models.networks import Classifier, build_model, grow_head, grow_momentum
from accrete.stages.inputs import StageInputs, check_same_classes
from accrete.stages.snapshots import SnapshotInfo
from accrete.training.augmentation import scaled_size
from accrete.training.distributed import Peers, convert_sync_batchnorm, wrap_data_parallel
from accrete.training.loop import TrainState
from accrete.training.optimizer import Sgd, load_momentum, make_optimizer, momentum_of


@dataclass(slots=True, kw_only=True)
class Learner:
    """What training changes."""

    model: Classifier
    """M_j."""
    network: nn.Module
    """What is trained: the model, or among peers what exchanges its gradients."""
    optimizer: Sgd
    """Of the model's parameters."""
    state: TrainState
    """How far it is."""


def make_learner(
    spec: StageSpec,
    dataset: DatasetManifest,
    inputs: StageInputs,
    snapshot: Checkpoint[SnapshotInfo] | None,
    peers: Peers,
) -> Learner:
    """Return M_{j-1} with a wider head, as far as an earlier attempt brought it.

    Args:
        spec: the stage.
        dataset: what it trains on.
        inputs: what it begins from.
        snapshot: the earlier attempt's; None where there was none. The first process's counts.
        peers: the processes that train together.

    Raises:
        CheckpointMismatchError: the checkpoint has other classes or another network, or weights
            are of another one.
        AccreteError: the network cannot take images of this size.
    """
    model, optimizer = _grown_model(spec, dataset, inputs, peers.device)
    state = TrainState()
    if snapshot is not None:
        load_weights(model, snapshot)
        load_momentum(model, optimizer, snapshot.momentum)
        state = snapshot.info.state
    learner = Learner(model=model, network=model, optimizer=optimizer, state=state)
    if peers.world_size > 1:
        _broadcast_learner(learner, peers)
    return learner


def _grown_model(
    spec: StageSpec,
    dataset: DatasetManifest,
    inputs: StageInputs,
    device: torch.device,
) -> tuple[Classifier, Sgd]:
    """Return M_{j-1} with a head for N_j classes, and its optimizer."""
    checkpoint = inputs.checkpoint
    num_old = spec.num_old_classes if checkpoint else spec.num_classes
    model = build_model(
        spec.model, channels=dataset.image.channels, num_classes=num_old, seed=spec.seed
    )
    momentum: dict[str, Tensor] = {}
    if inputs.weights is not None:
        load_backbone(model, inputs.weights)
    if checkpoint is not None:
        check_same_classes(spec, checkpoint.info)
        load_weights(model, checkpoint)
        generator = torch.Generator().manual_seed(derive_seed("head", spec.seed, spec.draw))
        model.head = grow_head(model.head, spec.num_classes, generator)
        if spec.schedule.carry_momentum:
            momentum = grow_momentum(checkpoint.momentum, model)
    _check_image_size(model, dataset, spec)
    if spec.schedule.trained == "head":
        model.freeze_trunk()
    model = model.to(device).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, spec.schedule)
    load_momentum(model, optimizer, momentum)
    return model, optimizer


def _broadcast_learner(learner: Learner, peers: Peers) -> None:
    """Give every process the first one's weights, momentum and state."""
    model, optimizer = learner.model, learner.optimizer
    convert_sync_batchnorm(model, peers.device)
    names = peers.broadcast_object(sorted(momentum_of(model, optimizer)))
    zeros = {name: torch.zeros_like(p) for name, p in model.named_parameters() if name in names}
    load_momentum(model, optimizer, zeros | momentum_of(model, optimizer))
    momentum = momentum_of(model, optimizer)
    peers.broadcast([momentum[name] for name in names])
    state = peers.broadcast_object(to_json(learner.state))
    learner.state = from_json(TrainState, state, "the first process's state")
    learner.network = wrap_data_parallel(model)


def _check_image_size(model: Classifier, dataset: DatasetManifest, spec: StageSpec) -> None:
    """Refuse images that the network cannot take, before any work."""
    image = dataset.image
    height, width = scaled_size(image.height, image.width, spec.schedule.image_side)
    with torch.no_grad():
        try:
            model.eval()(torch.zeros(1, image.channels, height, width))
        except (RuntimeError, AssertionError, ValueError) as error:
            name = spec.model.name
            is_known = not all(fits(name, side) for side in (height, width))
            detail = f"it {fitting_size(name)}" if is_known else str(error).partition("\n")[0]
            raise AccreteError(
                f"model {name} cannot take images of {width}x{height} px: {detail}, or choose "
                "another --model"
            ) from error
