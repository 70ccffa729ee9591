"""Exported files: refused before any work, written whole or not at all, and right."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ROOT
from model_sample import CLASS_NAMES, make_trained
from odd_pictures import odd_files
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

import accrete
from accrete.errors import AccreteError, ConfigError, InputError
from accrete.models._onnx import TOLERANCE, checked_difference, write_onnx
from accrete.models.export import METADATA_KEY, export_metadata, export_model
from accrete.models.export_preconditions import check_export, optional_module
from accrete.models.networks import Classifier
from accrete.models.predictor import Predictor, predict_files

pytestmark = pytest.mark.usefixtures("one_thread")


class CountsItsCalls(nn.Module):
    """A trunk that gives other features each time: no graph can stand for it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return features (N, 1)."""
        self.num_calls += 1
        return images_NCHW.flatten(1)[:, :1] * 0 + self.num_calls


class ReadsItsImages(nn.Module):
    """A trunk whose Python looks at the pixels, which torch cannot trace."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return features (N, 1)."""
        return images_NCHW.flatten(1)[:, : 1 if float(images_NCHW.sum()) else 2]


@pytest.mark.parametrize(
    ("name", "format_name", "expected"),
    [
        ("a.safetensors", None, "safetensors"),
        ("a.ONNX", None, "onnx"),
        ("a.bin", "safetensors", "safetensors"),
        ("a", "onnx", "onnx"),
        ("a.onnx", "safetensors", "safetensors"),
    ],
)
def test_the_format_is_the_suffix_s_unless_it_is_given(
    name: str, format_name: str | None, expected: str, tmp_path: Path
) -> None:
    assert check_export(tmp_path / name, format_name, force=False) == expected


@pytest.mark.parametrize("name", ["a.pt", "onnx", "a.safetensors.gz"])
def test_a_suffix_of_no_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name}: name it .safetensors or .onnx"):
        check_export(tmp_path / name, None, force=False)


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    with pytest.raises(InputError, match=r"a\.onnx exists: .*--force"):
        check_export(tmp_path / "a.onnx", None, force=False)
    assert check_export(tmp_path / "a.onnx", None, force=True) == "onnx"


@pytest.mark.parametrize("force", [True, False])
def test_a_folder_is_never_replaced(force: bool, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(InputError, match=r"a\.onnx is a folder"):
        check_export(tmp_path / "a.onnx", None, force=force)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        check_export(tmp_path / "nowhere" / "a.onnx", None, force=False)


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be made"):
        check_export(tmp_path / f"{'x' * 300}.onnx", None, force=False)


def test_a_missing_package_is_told_with_what_to_install() -> None:
    with pytest.raises(
        InputError, match=r"needs no_such_module, .*: pip install 'accrete\[onnx\]'"
    ):
        optional_module("no_such_module")


def test_metadata_hold_what_using_a_network_takes() -> None:
    manifest = make_trained(channels=3, height=16).manifest
    assert export_metadata(manifest, "onnx", "zoo") == {
        "format": 1,
        "accrete_version": accrete.__version__,
        "run": "zoo",
        "stage": {"digest": "5e" * 32, "index": 2},
        "class_names": list(CLASS_NAMES),
        "image": {"height": 16, "width": 8, "channels": 3, "preprocessing": "none"},
        "pixels": {
            "channels": "RGB",
            "layout": "NCHW",
            "range": [0, 255],
            "upright": "EXIF",
            "background": "white",
            "resize": "cover",
            "interpolation": "bilinear",
            "antialias": True,
            "crop": "center",
        },
        "input": {"name": "images", "dtype": "uint8", "normalized": False, "output": "logits"},
        "normalization": {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]},
        "model": {"name": "small", "width": 0.25, "bn_after_relu": False},
    }
    of_weights = export_metadata(make_trained().manifest, "safetensors", None)
    assert of_weights["pixels"]["channels"] == "L"
    assert of_weights["input"] == {"dtype": "float32", "normalized": True}
    assert of_weights["run"] is None


def test_safetensors_hold_every_weight_and_the_metadata(tmp_path: Path) -> None:
    trained = make_trained()
    told = export_model(trained, tmp_path / "a.safetensors", "safetensors")
    assert told.startswith(f"{tmp_path}/a.safetensors: small, 4 classes, stage 2 (5e5e5e5e5e5e)")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    expected = trained.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    about = export_metadata(trained.manifest, "safetensors", None)
    assert json.loads(metadata.pop(METADATA_KEY)) == about
    assert metadata == {}


@pytest.mark.parametrize("suffix", ["safetensors", pytest.param("onnx", marks=pytest.mark.slow)])
def test_the_same_network_gives_the_same_bytes_in_a_file_like_any_other(
    suffix: str, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.{suffix}" for number in range(2)]
    for path in paths:
        export_model(make_trained(), path, suffix)
    (tmp_path / "plain").touch()
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"0.{suffix}",
        f"1.{suffix}",
        "plain",
    ]


@pytest.mark.parametrize(
    ("channels", "height"), [(1, 8), pytest.param(3, 24, marks=pytest.mark.slow)]
)
def test_onnx_runtime_computes_pytorch_s_logits_from_pixels(
    channels: int, height: int, tmp_path: Path
) -> None:
    trained = make_trained(channels=channels, height=height)
    export_model(trained, tmp_path / "a.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for size in (1, 5, 130):
        shape = (size, channels, height, 8)
        images_NCHW = np.random.default_rng(size).integers(0, 256, shape, np.uint8)
        mean, std = ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
        scaled = torch.from_numpy(images_NCHW).double() / 255
        for channel in range(channels):
            scaled[:, channel] = (scaled[:, channel] - mean[channel]) / std[channel]
        with torch.no_grad():
            expected = trained.network(scaled.float()).numpy()
        (found,) = session.run(None, {"images": images_NCHW})
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_the_onnx_file_names_inputs_outputs_and_metadata(tmp_path: Path) -> None:
    trained = make_trained(channels=3)
    export_model(trained, tmp_path / "a.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    ends = [
        (end.name, end.type, end.shape) for end in (*session.get_inputs(), *session.get_outputs())
    ]
    assert ends == [
        ("images", "tensor(uint8)", ["N", 3, 8, 8]),
        ("logits", "tensor(float)", ["N", 4]),
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    about = export_metadata(trained.manifest, "onnx", None)
    assert json.loads(metadata.pop(METADATA_KEY)) == about
    assert metadata == {}


@pytest.mark.slow
def test_the_documentation_s_lines_give_a_colour_model_what_predict_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = make_trained(channels=3, height=24, width=16, preprocessing="short-side-center-crop")
    export_model(trained, tmp_path / "digits.onnx", "onnx")
    Image.effect_noise((9, 12), 90).save(tmp_path / "noise.png")
    files = [tmp_path / name for name in odd_files(tmp_path, tmp_path / "noise.png")]
    (lines,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "using.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    for file in files:
        shutil.copy(file, "photo.png")
        exec(lines, {})  # noqa: S102  our own
    served = [line.split() for line in capsys.readouterr().out.splitlines()]
    predictor = Predictor(trained, torch.device("cpu"), top=1, batch_size=64)
    found = predict_files(predictor, files, skip_bad=False, tell=lambda _: None)
    guesses = [prediction.guesses[0] for prediction in found]
    assert [name for name, _ in served] == [guess.class_name for guess in guesses]
    expected = [guess.probability for guess in guesses]
    assert [float(share) for _, share in served] == pytest.approx(expected, abs=1e-4)
    assert len({round(share, 3) for share in expected}) > len(files) / 2


@pytest.mark.slow
def test_the_onnx_file_says_nothing_of_the_machine_that_made_it(tmp_path: Path) -> None:
    export_model(make_trained(), tmp_path / "a.onnx", "onnx")
    model = onnx.load(tmp_path / "a.onnx")
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = (tmp_path / "a.onnx").read_bytes()
    assert b".py" not in content
    assert str(tmp_path).encode() not in content


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        (CountsItsCalls(), "as ONNX differs from PyTorch by .* export it as safetensors"),
        pytest.param(
            ReadsItsImages(),
            "cannot be exported to ONNX .* export it as safetensors",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_network_that_onnx_cannot_hold_is_one_error_and_leaves_nothing(
    trunk: nn.Module, message: str, tmp_path: Path
) -> None:
    trained = make_trained(network=Classifier(trunk, nn.Linear(1, 4)))
    (tmp_path / "a.onnx").write_bytes(b"the one before")
    with pytest.raises(AccreteError, match=message):
        export_model(trained, tmp_path / "a.onnx", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    assert (tmp_path / "a.onnx").read_bytes() == b"the one before"


@pytest.mark.slow
def test_the_check_sees_other_weights_and_graphs_that_do_not_fit(tmp_path: Path) -> None:
    trained = make_trained()
    write_onnx(trained, {}, tmp_path / "a.onnx")
    assert checked_difference(trained, tmp_path / "a.onnx") <= TOLERANCE
    with torch.no_grad():
        trained.network.head.bias[2] += 0.01
    with pytest.raises(AccreteError, match=r"differs from PyTorch by 0\.01 in the logits of 1 im"):
        checked_difference(trained, tmp_path / "a.onnx")
    larger = make_trained(height=16)
    with pytest.raises(AccreteError, match="ONNX Runtime cannot compute model small for 1 images"):
        checked_difference(larger, tmp_path / "a.onnx")


def test_more_weights_than_an_onnx_file_holds_are_refused(tmp_path: Path) -> None:
    huge = Classifier(nn.Flatten(), nn.Linear(64, 10_000_000, device="meta"))
    with pytest.raises(InputError, match=r"2\.4 GiB of weights, an ONNX file holds 2 GiB"):
        write_onnx(make_trained(network=huge), {}, tmp_path / "a.onnx")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(AccreteError, match=r"a\.safetensors cannot be written \(No such file"):
        export_model(make_trained(), tmp_path / "gone" / "a.safetensors", "safetensors")
