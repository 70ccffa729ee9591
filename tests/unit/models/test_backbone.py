"""A trained trunk for other classes: what files may be, and what does not fit is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from accrete.config.image_format import Normalization
from accrete.config.known_networks import IMAGENET
from accrete.config.run import ModelConfig
from accrete.core.hashing import canonical_json, sha256_of_file
from accrete.errors import AccreteError, CheckpointMismatchError, ConfigError, IntegrityError
from accrete.models.backbone import BackboneRequest, load_backbone, read_backbone, store_backbone
from accrete.models.networks import build_model, weighted_part
from accrete.store.object_store import ObjectStore

State = dict[str, Tensor]
RESNET = ModelConfig(name="torchvision:resnet18")
SMALL = ModelConfig(name="small", width=0.25)


@pytest.fixture(scope="module")
def resnet() -> State:
    """The state of torchvision's network of seven classes."""
    from torchvision import models  # seconds, in one worker

    torch.manual_seed(0)
    network = models.resnet18(num_classes=7)
    for buffer in network.buffers():  # as after training: batch norm's are ones and zeros before
        buffer.copy_(torch.rand_like(buffer) + 1 if buffer.is_floating_point() else buffer)
    state: State = network.state_dict()
    return state


@pytest.fixture
def write(tmp_path: Path) -> Callable[[State], Path]:
    def written(state: State, **metadata: Any) -> Path:
        path = tmp_path / "w.safetensors"
        notes = {"accrete": canonical_json(metadata).decode()} if metadata else {"format": "pt"}
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, notes)
        return path

    return written


def request(path: Path, **changes: Any) -> BackboneRequest:
    return BackboneRequest(**{"path": path, "model": RESNET} | changes)


def export_of(channels: int, model: ModelConfig = SMALL) -> tuple[State, dict[str, Any]]:
    """Return what `accrete export` writes of a network of three classes."""
    network = build_model(model, channels=channels, num_classes=3, seed=4)
    size = {"height": 24, "width": 32, "channels": channels, "preprocessing": "none"}
    metadata = {
        "format": 1,
        "class_names": ["a", "b", "c"],
        "image": size,
        "normalization": {"mean": [0.3] * channels, "std": [0.2] * channels},
        "model": {"name": model.name, "width": model.width, "bn_after_relu": False},
    }
    return network.state_dict(), metadata


def trunk_of(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("num_rows", [0, 1, 7])
def test_a_head_of_any_number_of_rows_is_left_out(resnet: State, write: Any, num_rows: int) -> None:
    head = {"fc.weight": torch.ones(num_rows, 512), "fc.bias": torch.ones(num_rows)}
    backbone = read_backbone(request(write(trunk_of(resnet) | (head if num_rows else {}))))
    assert_same(backbone.tensors, trunk_of(resnet))
    assert backbone.normalization == IMAGENET
    assert backbone.model == RESNET


def test_a_pickle_needs_its_hash_and_gives_the_same_trunk(
    resnet: State, write: Any, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {f"module.{name}": t for name, t in resnet.items()}}, path)
    with pytest.raises(ConfigError, match="are a pickle: give the SHA-256"):
        read_backbone(request(path))
    with pytest.raises(IntegrityError, match="not " + "0" * 64):
        read_backbone(request(path, sha256="0" * 64))
    backbone = read_backbone(request(path, sha256=sha256_of_file(path)))
    assert_same(backbone.tensors, read_backbone(request(write(resnet))).tensors)
    assert backbone.file_sha256 == sha256_of_file(path)


def test_counters_may_be_missing_a_wrapper_there_and_numbers_of_half_the_bits(
    resnet: State, write: Any
) -> None:
    kept = {name: t for name, t in resnet.items() if not name.endswith("num_batches_tracked")}
    state = {f"backbone.{name}": tensor.half() for name, tensor in kept.items()}
    found = read_backbone(request(write(state))).tensors
    assert found["layer1.0.bn1.num_batches_tracked"] == 0
    assert found["conv1.weight"].dtype == torch.float32
    assert torch.equal(found["conv1.weight"], resnet["conv1.weight"].half().float())


def test_torchvision_s_own_old_names_and_training_heads_are_known(write: Any) -> None:
    from torchvision import models

    dense = models.densenet121(num_classes=2).state_dict()
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in dense.items()
    }
    assert old.keys() != dense.keys()
    model = ModelConfig(name="torchvision:densenet121")
    found = read_backbone(request(write(old), model=model)).tensors
    assert found.keys() == {name for name in dense if not name.startswith("classifier.")}
    goog = models.googlenet(num_classes=2, init_weights=False).state_dict()
    model = ModelConfig(name="torchvision:googlenet")
    backbone = read_backbone(request(write(goog), model=model))
    assert not any(name.startswith("aux") for name in backbone.tensors)
    # torchvision's network of these weights rescales ImageNet's scaling to this one.
    assert backbone.normalization == Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)


def test_the_scaling_is_the_user_s_to_say(resnet: State, write: Any) -> None:
    own = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    assert read_backbone(request(write(resnet), normalization=own)).normalization == own


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        (without("layer4.1.conv2.weight"), RESNET, "lack 'layer4.1.conv2.weight': are they of"),
        (lambda s: s | {"conv1.weight": torch.ones(64, 3, 3, 3)}, RESNET, "64, 3, 3, 3) instead"),
        (lambda s: s | {"bn1.weight": torch.ones(64, dtype=torch.int64)}, RESNET, "int64"),
        (lambda s: s | {"layer1.2.x": torch.ones(1)}, RESNET, "have 'layer1.2.x', which it has"),
        (lambda s: s | {"bn1.bias": torch.full((64,), torch.nan)}, RESNET, "bn1.bias that are no"),
        (lambda s: s, ModelConfig(name="torchvision:resnet34"), "resnet34: they lack 'layer1.2."),
        (
            lambda s: {name.replace("layer1", "stages"): tensor for name, tensor in s.items()},
            RESNET,
            "lack 'layer1.0.conv1.weight', and have 'stages.0.bn1.bias', which it has not",
        ),
    ],
)
def test_what_does_not_fit_the_trunk_is_refused_by_name(
    resnet: State, write: Any, change: Callable[[State], State], model: ModelConfig, message: str
) -> None:
    path = write(change(trunk_of(resnet)))
    with pytest.raises(CheckpointMismatchError) as refused:
        read_backbone(request(path, model=model))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("model", [None, SMALL])
def test_a_state_without_torchvision_s_network_is_refused(
    resnet: State, write: Any, model: ModelConfig | None
) -> None:
    with pytest.raises(ConfigError, match=r"do not say what network .* give --model torchvision"):
        read_backbone(request(write(resnet), model=model))


def test_an_exported_file_says_its_network_scaling_and_size(write: Any) -> None:
    state, metadata = export_of(1)
    backbone = read_backbone(request(write(state, **metadata), model=None))
    assert backbone.model == SMALL
    assert backbone.normalization == Normalization(mean=(0.3,), std=(0.2,))
    assert backbone.image_side == 24
    assert "trunk." + next(iter(backbone.tensors)) in state
    scaling = {"normalization": IMAGENET}
    with pytest.raises(ConfigError, match="say themselves what their input was scaled by"):
        read_backbone(request(write(state, **metadata), model=None, **scaling))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(1, 3), (3, 1), *(pytest.param(same, same, marks=pytest.mark.slow) for same in (1, 3))],
)
def test_an_export_of_torchvision_s_begins_grey_and_colour_runs(
    write: Any, store: ObjectStore, cache: Any, theirs: int, ours: int
) -> None:
    state, metadata = export_of(theirs, RESNET)
    backbone = read_backbone(request(write(state, **metadata), model=None))
    weights = store_backbone(backbone, store).weights
    assert weights is not None
    from accrete.store.keys import ObjectRef

    ref = ObjectRef(sha256=weights.sha256, num_bytes=weights.num_bytes)
    network = build_model(RESNET, channels=ours, num_classes=5, seed=0)
    head = network.head.weight.clone()
    load_backbone(network, cache.fetch([ref]).paths[ref.sha256])
    assert_same(dict(weighted_part(network).state_dict()), backbone.tensors)
    assert torch.equal(network.head.weight, head)
    prefix = "trunk.1." if theirs == 1 else "trunk."
    assert torch.equal(backbone.tensors["conv1.weight"], state[f"{prefix}conv1.weight"])


def test_a_trunk_is_stored_by_its_content_alone(
    resnet: State, write: Any, store: ObjectStore, tmp_path: Path
) -> None:
    path = write(resnet)
    first = store_backbone(read_backbone(request(path)), store).weights
    bare = write(trunk_of(resnet)).rename(tmp_path / "bare.safetensors")
    second = store_backbone(read_backbone(request(bare)), store).weights
    assert first is not None
    assert second is not None
    assert (first.sha256, first.num_bytes) == (second.sha256, second.num_bytes)
    assert (first.origin, second.origin) == ("w.safetensors", "bare.safetensors")
    assert len(store.list_keys("objects/")) == 1


def test_a_stored_trunk_of_another_network_is_refused(resnet: State, write: Any) -> None:
    with pytest.raises(AccreteError, match="do not fit this network"):
        load_backbone(
            build_model(SMALL, channels=3, num_classes=2, seed=0), write(trunk_of(resnet))
        )
