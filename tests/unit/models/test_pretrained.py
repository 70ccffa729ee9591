"""Weights from elsewhere: read as they are, or refused in a line; never run."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from accrete.config.image_format import Normalization
from accrete.config.known_networks import IMAGENET
from accrete.config.run import ModelConfig
from accrete.core.hashing import sha256_of_file
from accrete.errors import AccreteError, CheckpointMismatchError, ConfigError, IntegrityError
from accrete.models.pretrained import WeightsRequest, read_weights

NAMES = ("ant", "bee", "cat")
SQUEEZED = ModelConfig(name="torchvision:resnet18")


@pytest.fixture(scope="module")
def network() -> Any:
    """A torchvision network of three classes, in evaluation mode."""
    from torchvision import models  # seconds, in one worker

    torch.manual_seed(0)
    return models.resnet18(num_classes=3).eval()


@pytest.fixture
def state_file(network: Any, tmp_path: Path) -> Path:
    path = tmp_path / "resnet18.safetensors"
    save_file(network.state_dict(), path)
    return path


def request(path: Path, **changes: Any) -> WeightsRequest:
    return WeightsRequest(**{"path": path, "class_names": NAMES, "model": SQUEEZED} | changes)


def test_a_torchvision_state_computes_what_torchvision_does(network: Any, state_file: Path) -> None:
    weights = read_weights(request(state_file, side=64))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(weights.network.eval()(images), network(images))
    assert weights.class_names == NAMES
    assert weights.normalization == IMAGENET
    assert (weights.image.height, weights.image.width, weights.image.channels) == (64, 64, 3)


@pytest.mark.parametrize("with_auxiliary", [False, True])
def test_a_googlenet_is_known_with_its_scaling_and_training_heads(
    tmp_path: Path, with_auxiliary: bool
) -> None:
    from torchvision import models

    torch.manual_seed(0)
    network = models.googlenet(num_classes=3, aux_logits=with_auxiliary, init_weights=False).eval()
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    model = ModelConfig(name="torchvision:googlenet")
    weights = read_weights(request(tmp_path / "a.safetensors", model=model))
    assert weights.normalization == Normalization(mean=(0.5,) * 3, std=(0.5,) * 3)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(weights.network.eval()(images), network(images))


@pytest.mark.parametrize("nested", [None, "state_dict", "model"])
def test_a_pickle_is_read_where_its_hash_is_given(
    network: Any, tmp_path: Path, nested: str | None
) -> None:
    path = tmp_path / "resnet18.pth"
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({nested: state, "epoch": 3} if nested else state, path)
    with pytest.raises(ConfigError, match="are a pickle: give the SHA-256"):
        read_weights(request(path))
    with pytest.raises(IntegrityError, match="not " + "0" * 64):
        read_weights(request(path, sha256="0" * 64))
    weights = read_weights(request(path, sha256=sha256_of_file(path).upper()))
    assert torch.equal(weights.network.head.weight, network.fc.weight)


class Harmful:
    """Unpickling it calls a function of the file's choice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    path, mark = tmp_path / "harmful.pth", tmp_path / "mark"
    path.write_bytes(pickle.dumps({"fc.weight": Harmful(mark)}))
    with pytest.raises(AccreteError, match=r"no torch state file|hold more than tensors"):
        read_weights(request(path, sha256=sha256_of_file(path)))
    assert not mark.exists()


def test_other_scaling_is_the_user_s_to_say(state_file: Path) -> None:
    own = Normalization(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert read_weights(request(state_file, normalization=own)).normalization == own


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": None}, ConfigError, "do not say what network"),
        ({"model": ModelConfig(name="small")}, ConfigError, "give --model torchvision:NAME"),
        ({"class_names": None}, ConfigError, "do not name their classes"),
        ({"class_names": ("a", "b")}, CheckpointMismatchError, "3 outputs, but 2 classes"),
        ({"class_names": ("a", "b", "a")}, ConfigError, "class 'a' twice"),
        (
            {"model": ModelConfig(name="torchvision:resnet34")},
            CheckpointMismatchError,
            "do not fit torchvision:resnet34",
        ),
        ({"model": ModelConfig(name="torchvision:nonsense")}, ConfigError, "does not have"),
    ],
)
def test_what_does_not_fit_is_refused(
    state_file: Path, changes: dict[str, Any], error: type[AccreteError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_weights(request(state_file, **changes))


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{}"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(AccreteError, match="no safetensors file"):
        read_weights(request(path))
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(AccreteError, match=r"no torch state file|hold more than tensors"):
        read_weights(request(path, sha256=sha256_of_file(path)))
