"""Checkpoints: what is saved comes back bit for bit, and nothing else is ever loaded."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from accrete.catalog.manifests import FORMAT
from accrete.config.image_format import ImageFormat, Normalization
from accrete.config.run import ModelConfig
from accrete.errors import AccreteError, CheckpointMismatchError, IntegrityError
from accrete.models.checkpoint import (
    Checkpoint,
    CheckpointInfo,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from accrete.models.networks import Classifier, build_model

CONFIG = ModelConfig(name="small", width=0.25)
INFO = CheckpointInfo(
    format=FORMAT,
    stage="5e" * 32,
    class_names=("α", "b", "c"),
    model=CONFIG,
    image=ImageFormat(encoding="raw", height=8, width=8, channels=1, preprocessing="none"),
    normalization=Normalization(mean=(0.3,), std=(0.25,)),
)


def make_model(num_classes: int = 3, seed: int = 0) -> Classifier:
    """Return a small network that has seen a batch, so that its statistics are no defaults."""
    model = build_model(CONFIG, channels=1, num_classes=num_classes, seed=seed)
    images_NCHW = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    model.train()(images_NCHW)
    return model


def make_momentum(model: Classifier) -> dict[str, Tensor]:
    """Return a momentum buffer for each parameter."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(parameter.shape, generator=generator)
        for name, parameter in model.named_parameters()
    }


def saved(path: Path, momentum: bool = True) -> Checkpoint:
    """Save a checkpoint and load it again."""
    model = make_model()
    save_checkpoint(path, model.state_dict(), make_momentum(model) if momentum else {}, INFO)
    return load_checkpoint(path)


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """Return whether two sets of tensors have the same names, types and bits."""
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in left
    )


def test_checkpoint_comes_back_bit_equal(tmp_path: Path) -> None:
    model = make_model()
    checkpoint = saved(tmp_path / "checkpoint")
    assert checkpoint.info == INFO
    assert equal(checkpoint.weights, dict(model.state_dict()))
    assert equal(checkpoint.momentum, make_momentum(model))
    assert checkpoint.weights["trunk.1.num_batches_tracked"] == 1


def test_checkpoint_without_momentum_comes_back_without(tmp_path: Path) -> None:
    assert saved(tmp_path / "checkpoint", momentum=False).momentum == {}


def test_weights_that_are_loaded_give_the_same_logits(tmp_path: Path) -> None:
    other = make_model(seed=1)
    load_weights(other, saved(tmp_path / "checkpoint"))
    images_NCHW = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(other.eval()(images_NCHW), make_model().eval()(images_NCHW))


def test_model_in_channels_last_gives_the_same_bytes(tmp_path: Path) -> None:
    saved(tmp_path / "plain", momentum=False)
    model = make_model().to(memory_format=torch.channels_last)
    save_checkpoint(tmp_path / "channels_last", model.state_dict(), {}, INFO)
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "channels_last").read_bytes()


@pytest.mark.slow
def test_same_content_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    saved(tmp_path / "here")
    program = "import sys, test_checkpoint; from pathlib import Path; "
    program += "test_checkpoint.saved(Path(sys.argv[1]))"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    subprocess.run(
        [sys.executable, "-c", program, tmp_path / "there"],
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": path},
        check=True,
    )
    digests = {hashlib.sha256((tmp_path / n).read_bytes()).hexdigest() for n in ("here", "there")}
    assert len(digests) == 1


def test_other_weights_give_other_bytes(tmp_path: Path) -> None:
    for seed in (0, 1):
        save_checkpoint(tmp_path / str(seed), make_model(seed=seed).state_dict(), {}, INFO)
    assert (tmp_path / "0").read_bytes() != (tmp_path / "1").read_bytes()


class _Trap:
    """An object whose pickle writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "caught")


def test_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weights": _Trap(tmp_path / "sprung")}, tmp_path / "model.pt")
    torch.load(tmp_path / "model.pt", weights_only=False)
    assert (tmp_path / "sprung").exists()
    (tmp_path / "sprung").unlink()
    with pytest.raises(IntegrityError, match=r"model\.pt is not an accrete checkpoint"):
        load_checkpoint(tmp_path / "model.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_file_that_is_cut_short_is_refused_by_name(tmp_path: Path, share: float) -> None:
    saved(tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(IntegrityError, match="cut is not an accrete checkpoint"):
        load_checkpoint(tmp_path / "cut")


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="nowhere is not an accrete checkpoint"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("metadata", [None, {"other": "{}"}, {"accrete": "no JSON"}])
def test_safetensors_file_of_another_program_is_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other", metadata=metadata)
    with pytest.raises(IntegrityError, match="other is not an accrete checkpoint"):
        load_checkpoint(tmp_path / "other")


@pytest.mark.parametrize("text", ["[]", "3", json.dumps({"format": FORMAT})])
def test_metadata_that_is_not_a_checkpoint_s_is_refused_by_name(tmp_path: Path, text: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other", metadata={"accrete": text})
    with pytest.raises(AccreteError, match="other"):
        load_checkpoint(tmp_path / "other")


def test_checkpoint_of_another_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    info = dataclasses.replace(INFO, format=FORMAT + 1)
    save_checkpoint(tmp_path / "newer", make_model().state_dict(), {}, info)
    with pytest.raises(IntegrityError, match=f"newer has format {FORMAT + 1}.* reads {FORMAT}"):
        load_checkpoint(tmp_path / "newer")


def test_checkpoint_of_another_number_of_classes_does_not_fit(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "checkpoint")
    match = r"the checkpoint of stage 5e5e5e5e5e5e… does not fit: .*head\.bias.*\[3\].*\[4\]"
    with pytest.raises(CheckpointMismatchError, match=match):
        load_weights(make_model(num_classes=4), checkpoint)


def test_a_network_whose_layers_have_versions_takes_its_checkpoint(tmp_path: Path) -> None:
    config = ModelConfig(name="torchvision:mnasnet0_5")
    network = build_model(config, channels=3, num_classes=3, seed=0)
    save_checkpoint(tmp_path / "mnasnet", network.state_dict(), {}, INFO)
    other = build_model(config, channels=3, num_classes=3, seed=1)
    load_weights(other, load_checkpoint(tmp_path / "mnasnet"))
    expected = network.state_dict()
    assert all(torch.equal(t, expected[name]) for name, t in other.state_dict().items())


def test_checkpoint_of_another_network_does_not_fit(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "checkpoint")
    other = build_model(ModelConfig(name="vgg19", width=0.05), channels=1, num_classes=3, seed=0)
    with pytest.raises(CheckpointMismatchError, match="does not fit: "):
        load_weights(other, checkpoint)
