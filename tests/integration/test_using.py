"""A trained run in use: predictions for files, and exported files that need no accrete."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import ROOT, Cli
from digits import SOURCE, digits_run, stage_context
from numpy.typing import NDArray
from odd_pictures import odd_files
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import create_record, make_record
from accrete.config.run import RunConfig
from accrete.data.prepare import prepare_dataset
from accrete.models.labelled_images import evaluate_batches, stored_batches
from accrete.models.predictor import Predictor, load_model
from accrete.monitoring.journal import Journal
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Pixels = NDArray[np.uint8]

NUM_PICTURES = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A store with three runs: `whole`; `half`, of whose stages one is done; `begun`."""

    catalog: Catalog
    cache: NodeCache
    cache_path: Path
    whole: list[StageManifest]
    half: list[StageManifest]

    def expected_logits(self, images_NHWC: Pixels, stage: int = -1) -> NDArray[np.float32]:
        """Return a stage's logits (N, K), normalized here and computed by PyTorch."""
        network = load_model(self.whole[stage], self.cache).network
        with torch.no_grad():
            return network(normalized(images_NHWC, self.whole[stage])).numpy()


def normalized(images_NHWC: Pixels, manifest: StageManifest) -> torch.Tensor:
    (mean,), (std,) = manifest.normalization.mean, manifest.normalization.std
    scaled = (images_NHWC.astype(np.float64) / 255 - mean) / std
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.fixture(scope="module")
def trained(store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train once; 1 of 4 stages of the second run."""
    address = parse_store_uri(f"s3://accrete/{uuid4().hex}")
    catalog = Catalog(ObjectStore(store_settings, address))
    folder = tmp_path_factory.mktemp("trained")
    cache = NodeCache(folder / "cache", catalog.store)
    config = digits_run(budget_epochs=12.0)
    work = folder / "work"
    dataset = prepare_dataset(SOURCE, config.plan, catalog, work, lambda _: lambda _: None).manifest

    def train(name: str, config: RunConfig, num_stages: int) -> list[StageManifest]:
        chain = stage_chain(config, dataset)
        create_record(catalog.store, make_record(name, config, dataset.digest, chain))
        context = stage_context(catalog, cache)
        return [run_stage(spec, dataset, context).manifest for spec in chain[:num_stages]]

    with Journal("begun", keys.prepare_step_name(), store=catalog.store, folder=None):
        pass
    return Trained(
        catalog=catalog,
        cache=cache,
        cache_path=folder / "cache",
        whole=train("whole", config, 4),
        half=train("half", dataclasses.replace(config, seed=1), 1),
    )


@pytest.fixture
def command(cli: Cli, trained: Trained) -> Command:
    """Runs `accrete …` on the store of the trained runs."""
    store = str(trained.catalog.store.address)

    def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
        places = {"ACCRETE_STORE": store, "ACCRETE_CACHE": str(trained.cache_path)}
        return cli(*arguments, **(places | env))

    return run


@pytest.fixture(scope="module")
def digit_images() -> Pixels:
    """Some of scikit-learn's digits as the digits source has them."""
    images = np.rint(load_digits().images[::30] * (255 / 16)).astype(np.uint8)
    assert len(images) == NUM_PICTURES
    return images[..., None]


@pytest.fixture
def pictures(digit_images: Pixels, tmp_path: Path) -> list[Path]:
    """The images as PNG files, `pictures/<class>/<number>.png`, in the images' order."""
    paths = [
        tmp_path / "pictures" / str(digit) / f"{number:02}.png"
        for number, digit in enumerate(load_digits().target[::30])
    ]
    for path, image in zip(paths, digit_images, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path)
    return paths


def test_a_folder_s_images_are_told_apart_and_json_has_a_line_for_each(
    command: Command, pictures: list[Path]
) -> None:
    done = command("predict", "whole", "pictures", "--json", "--batch-size", "7")
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["file"] for each in found] == sorted(
        path.relative_to(path.parents[2]).as_posix() for path in pictures
    )
    assert all(len(each["predictions"]) == 3 for each in found)
    right = [each["predictions"][0]["class"] == each["file"].split("/")[1] for each in found]
    assert sum(right) > 0.8 * NUM_PICTURES


def test_json_holds_the_network_s_own_probabilities(
    command: Command, pictures: list[Path], digit_images: Pixels, trained: Trained
) -> None:
    arguments = [str(path) for path in pictures[:5]]
    done = command("predict", "whole", *arguments, "--top", "10", "--json")
    logits = torch.from_numpy(trained.expected_logits(digit_images[:5]))
    expected = torch.softmax(logits.double(), dim=1)
    names = trained.whole[-1].class_names
    for line, row in zip(done.stdout.splitlines(), expected, strict=True):
        guesses = json.loads(line)["predictions"]
        assert sorted(guess["label"] for guess in guesses) == list(range(10))
        probabilities = [guess["probability"] for guess in guesses]
        assert probabilities == sorted(probabilities, reverse=True)
        assert probabilities == pytest.approx([float(row[g["label"]]) for g in guesses], abs=1e-4)
        assert all(guess["class"] == names[guess["label"]] for guess in guesses)


def test_the_table_names_files_and_classes_and_what_was_skipped(
    command: Command, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "pictures" / "notes.txt").write_text("not a picture")
    done = command("predict", "whole", "pictures", "--top", "2")
    assert done.returncode == 0
    assert done.stderr == "note: 1 file left out: .txt ×1\n"
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["file", "#1", "#2"]
    assert len(rows) == NUM_PICTURES
    shape = re.compile(r"(pictures/\d/\d\d\.png)  (\d) +(\d+\.\d) %  (\d) +(\d+\.\d) %")
    cells = [match.groups() for match in map(shape.fullmatch, rows) if match]
    assert len(cells) == NUM_PICTURES
    assert sum(file.split("/")[1] == first for file, first, *_ in cells) > 0.8 * NUM_PICTURES


def test_colour_and_large_images_are_converted_and_told_once(
    command: Command, pictures: list[Path], tmp_path: Path
) -> None:
    plain = command("predict", "whole", *map(str, pictures), "--json")
    found = [json.loads(line)["predictions"][0] for line in plain.stdout.splitlines()]
    surest = max(range(len(found)), key=lambda number: found[number]["probability"])
    for name in ("one.png", "two.png"):
        image = (
            Image.open(pictures[surest]).convert("RGB").resize((80, 80), Image.Resampling.NEAREST)
        )
        image.save(tmp_path / name)
    done = command("predict", "whole", "one.png", "two.png", "--json")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "note: one.png is in colour and the model takes grey: such images are converted",
        "note: one.png has 80x80 px, all training images had 8x8: such images are scaled to "
        "cover that, and cropped",
    ]
    classes = [json.loads(line)["predictions"][0]["class"] for line in done.stdout.splitlines()]
    assert classes == [found[surest]["class"]] * 2


def test_an_earlier_stage_and_a_digest_know_fewer_classes(
    command: Command, pictures: list[Path], trained: Trained
) -> None:
    by_number = command("predict", "whole", str(pictures[0]), "--stage", "2", "--json")
    digits = trained.whole[1].digest[:12]
    by_digest = command("predict", digits, str(pictures[0]), "--top", "3", "--json")
    assert by_number.returncode == by_digest.returncode == 0
    assert by_number.stdout == by_digest.stdout
    known = {guess["class"] for guess in json.loads(by_number.stdout)["predictions"]}
    assert known < set(trained.whole[1].class_names)
    both = command("predict", "whole", str(pictures[0]), "--stage", "1", "--json")
    assert len(json.loads(both.stdout)["predictions"]) == 2


def test_the_newest_model_is_said_and_its_output_is_as_ever(
    command: Command, pictures: list[Path], trained: Trained
) -> None:
    plain = command("predict", "whole", str(pictures[0]), "--json")
    newest = command("predict", "whole@latest", str(pictures[0]), "--json")
    assert newest.returncode == 0, newest.stderr
    assert newest.stdout == plain.stdout
    digits = trained.whole[-1].digest[:12]
    assert newest.stderr == f"note: whole@latest is stage 4 of run whole ({digits}), 10 classes\n"


def test_a_bad_image_ends_the_command_or_is_left_out(
    command: Command, pictures: list[Path]
) -> None:
    pictures[3].write_bytes(pictures[3].read_bytes()[:60])
    failed = command("predict", "whole", "pictures")
    assert failed.returncode == 2
    assert re.fullmatch(
        rf"accrete: error: pictures/\d/{pictures[3].name} cannot be decoded .*\n", failed.stderr
    )
    done = command("predict", "whole", "pictures", "--on-bad-image", "skip", "--json")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == NUM_PICTURES - 1
    assert re.fullmatch(
        rf"note: bad images left out: 1, the first is pictures/\d/{pictures[3].name}\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "nothing", "a.png"), "no run 'nothing' in s3://accrete/"),
        (("predict", "0123456789abcdef", "a.png"), "no run '0123456789abcdef' in s3://accrete/"),
        (("predict", "No_Good", "a.png"), "run name is 'No_Good'"),
        (("predict", "begun", "a.png"), "run 'begun' has no stage yet"),
        (("predict", "half", "a.png"), "stage 4 of run 'half' is not finished, --stage 1 is"),
        (("predict", "whole", "a.png", "--stage", "5"), "stage is 5: run 'whole' has 4"),
        (("predict", "whole", "a.png", "--stage", "0"), "stage is 0: run 'whole' has 4"),
        (("predict", "whole@3", "a.png"), "model is 'whole@3': after @ only latest"),
        (("predict", "nothing@latest", "a.png"), "no run is called 'nothing'"),
        (("predict", "half@latest", "a.png"), "half@latest has no finished model"),
        (("predict", "whole@latest", "a.png", "--stage", "2"), "is the last stage of a run"),
        (("predict", "whole", "a.png", "--top", "11"), "top is 11: the stage has 10 classes"),
        (("predict", "whole", "a.png", "--top", "0"), "top is 0"),
        (("predict", "whole", "a.png", "--stage", "1", "--top", "3"), "top is 3: the stage has 2"),
        (("predict", "whole", "a.png", "--batch-size", "0"), "batch size is 0"),
        (("predict", "whole", "a.png", "nowhere"), "nowhere does not exist"),
        (("predict", "whole", "empty"), "no image in empty"),
        (("predict", "whole"), "Missing argument 'PATH...'"),
        (("evaluate", "nothing"), "no run 'nothing' in s3://accrete/"),
        (("evaluate", "whole", "--split", "validation"), "has no validation images"),
        (("evaluate", "whole", "--split", "all"), "--split all goes with --data"),
        (("evaluate", "whole", "--image-size", "9"), "--image-size has no effect on evaluate"),
        (("evaluate", "whole", "--batch-size", "0"), "batch size is 0"),
        (("evaluate", "whole", "--data", "nowhere"), "nowhere"),
        (("evaluate", "whole", "--data", "ape"), "no image of a class that the model has"),
        (("evaluate", "whole", "--data", "ape", "--split", "test"), "has no split test, it has"),
        (("export", "nothing", "out.onnx"), "no run 'nothing' in s3://accrete/"),
        (("export", "half", "out.onnx", "--stage", "3"), "stage 3 of run 'half' is not finished"),
        (("export", "whole", "out.pt"), "output is out.pt: name it .safetensors or .onnx"),
        (("export", "whole", "nowhere/out.onnx"), "there is no folder nowhere"),
        (("export", "whole", "a.png", "--format", "onnx"), "output a.png exists"),
        (("export", "whole", "empty", "--format", "onnx", "--force"), "output empty is a folder"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_two(
    arguments: tuple[str, ...], message: str, command: Command, tmp_path: Path
) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "ape" / "ape").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "ape" / "ape" / "0.png")
    done = command(*arguments)
    assert done.returncode == 2
    errors = done.stderr.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("accrete: error: ")
    assert message in errors[0]
    made = {path.name for path in tmp_path.iterdir()} - {"home", "cache"}
    assert made == {"a.png", "ape", "empty"}


def test_a_stage_s_digest_with_another_stage_s_number_is_refused(
    command: Command, pictures: list[Path], trained: Trained
) -> None:
    digest = trained.whole[1].digest
    done = command("predict", digest, str(pictures[0]), "--stage", "3")
    assert done.returncode == 2
    assert f"stage is 3, but {digest[:12]} is a stage itself, number 2" in done.stderr


def test_a_tampered_checkpoint_is_never_used(
    command: Command, pictures: list[Path], trained: Trained, tmp_path: Path
) -> None:
    checkpoint = trained.half[0].checkpoint
    store = trained.catalog.store
    store.write_note(keys.object_key(checkpoint.sha256), b"\x00" * checkpoint.num_bytes)
    cold = {"ACCRETE_CACHE": str(tmp_path / "cold")}
    done = command("predict", "half", str(pictures[0]), "--stage", "1", **cold)
    assert done.returncode == 4
    assert checkpoint.sha256[:12] in done.stderr
    assert len(done.stderr.splitlines()) == 1


def plain_small_network(num_classes: int) -> nn.ModuleDict:
    """Return the network `small` for grey images as anyone could write it."""
    layers: list[nn.Module] = []
    channels = 1
    for number, block in enumerate([[16], [32, 32], [64, 64], [128, 128]]):
        if number:
            layers.append(nn.MaxPool2d(2))
        for width in block:
            conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
    trunk = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.ModuleDict({"trunk": trunk, "head": nn.Linear(channels, num_classes)}).eval()


def test_exported_weights_work_in_a_plain_torch_network(
    command: Command, digit_images: Pixels, trained: Trained, tmp_path: Path
) -> None:
    done = command("export", "whole", "digits.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("digits.safetensors: small, 10 classes, stage 4 (")
    with safe_open(tmp_path / "digits.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["accrete"])
    assert about["class_names"] == list(trained.whole[-1].class_names)
    network = plain_small_network(len(about["class_names"]))
    network.load_state_dict(load_file(tmp_path / "digits.safetensors"))
    (mean,), (std,) = about["normalization"]["mean"], about["normalization"]["std"]
    pixels_NCHW = torch.from_numpy(digit_images).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        features = network["trunk"](((pixels_NCHW / 255 - mean) / std).float())
        logits = network["head"](features).numpy()
    np.testing.assert_allclose(logits, trained.expected_logits(digit_images), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 4])
def test_exported_onnx_gives_pytorch_s_logits(
    stage: int, command: Command, digit_images: Pixels, trained: Trained, tmp_path: Path
) -> None:
    num_classes = {2: 4, 4: 10}[stage]
    done = command("export", "whole", "digits.onnx", "--stage", str(stage))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{num_classes} classes, stage {stage} (" in done.stdout
    session = onnxruntime.InferenceSession(tmp_path / "digits.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["accrete"])
    assert about["class_names"] == list(trained.whole[-1].class_names[:num_classes])
    expected = trained.expected_logits(digit_images, stage - 1)
    for images in (digit_images[:1], digit_images[:5], digit_images):
        (logits,) = session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})
        assert logits.shape == (len(images), num_classes)
        np.testing.assert_allclose(logits, expected[: len(images)], rtol=0, atol=1e-4)


SERVED_WITHOUT_ACCRETE = """
import shutil, sys
from pathlib import Path
program = compile(Path("program.py").read_text(), "program.py", "exec")
for path in sys.argv[1:]:
    shutil.copy(path, "photo.png")
    exec(program, {})
assert not {"accrete", "torch"} & sys.modules.keys()
"""


@pytest.mark.slow
def test_the_documentation_s_lines_serve_an_exported_file_as_predict_does(
    command: Command, pictures: list[Path], trained: Trained, tmp_path: Path
) -> None:
    exported = command("export", "whole@latest", "digits.onnx")
    assert exported.returncode == 0, exported.stderr
    text = (ROOT / "docs" / "using.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    names = [*odd_files(tmp_path, pictures[3]), *map(str, pictures[:5])]
    served = subprocess.run(
        [sys.executable, "-c", SERVED_WITHOUT_ACCRETE, *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert served.returncode == 0, served.stderr
    predicted = command("predict", "whole", *names, "--json", "--top", "1")
    lines = [json.loads(line)["predictions"][0] for line in predicted.stdout.splitlines()]
    found = [line.split() for line in served.stdout.splitlines()]
    assert [name for name, _ in found] == [guess["class"] for guess in lines]
    shares = [float(share) for _, share in found]
    assert shares == pytest.approx([guess["probability"] for guess in lines], abs=1e-4)
    assert len(set(shares)) > len(names) / 2
    session = onnxruntime.InferenceSession(tmp_path / "digits.onnx")
    about = json.loads(session.get_modelmeta().custom_metadata_map["accrete"])
    assert (about["run"], about["stage"]["digest"]) == ("whole", trained.whole[-1].digest)


def test_a_stage_is_evaluated_on_the_test_images_that_are_stored_with_it(
    command: Command, trained: Trained
) -> None:
    done = command("evaluate", "whole", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    (result,) = [stage.result for stage in trained.whole[-1:]]
    assert found["top1"] == result.top1
    assert found["loss"] == pytest.approx(result.loss, rel=1e-5)
    assert found["stage"] == {"digest": trained.whole[-1].digest, "index": 4}
    dataset = trained.catalog.dataset(trained.whole[-1].dataset)
    sizes = {entry.name: entry.num_images("test") for entry in dataset.classes}
    assert {each["name"]: each["num_images"] for each in found["classes"]} == sizes
    assert found["num_images"] == sum(sizes.values())
    newest = command("evaluate", "whole@latest", "--split", "train")
    assert newest.stderr.startswith("note: whole@latest is stage 4 of run whole")
    head, columns, *rows = newest.stdout.splitlines()
    assert re.fullmatch(
        rf"top-1 \d+\.\d\d %, loss 0\.\d+: {dataset.num_images('train'):,} images, stored train "
        r"split of data set [0-9a-f]{12}, by stage 4 \([0-9a-f]{12}\), 10 classes",
        head,
    )
    assert columns.split() == ["images", "right", "top-1", "class", "mostly", "taken", "for"]
    assert len(rows) == 10


def test_a_stage_s_record_has_a_bit_for_each_test_image_that_it_has_right(
    trained: Trained,
) -> None:
    manifest = trained.whole[-1]
    predictor = Predictor(
        load_model(manifest, trained.cache), torch.device("cpu"), top=1, batch_size=64
    )
    batches = [*stored_batches(manifest, "test", trained.catalog, trained.cache, 7)]
    labels = np.concatenate([labels_B for _, labels_B in batches])
    right = np.frombuffer(evaluate_batches(predictor, batches).right, np.uint8)
    record = trained.cache.fetch([manifest.metrics]).paths[manifest.metrics.sha256]
    recorded = json.loads(record.read_bytes())["test_right"]
    assert recorded == [np.packbits(right[labels == label]).tobytes().hex() for label in range(10)]
    assert 0 < right.sum() < len(right)


def test_labelled_files_are_evaluated_and_classes_that_the_model_lacks_are_said(
    command: Command, pictures: list[Path], tmp_path: Path, trained: Trained
) -> None:
    guessed = command("predict", "whole", "pictures", "--json", "--top", "1", "--stage", "2")
    known = trained.whole[1].class_names
    lines = [json.loads(line) for line in guessed.stdout.splitlines()]
    pairs = [(line["file"].split("/")[1], line["predictions"][0]["class"]) for line in lines]
    pairs = [(true, guess) for true, guess in pairs if true in known]
    done = command("evaluate", "whole", "--stage", "2", "--data", "pictures", "--json")
    assert done.returncode == 0, done.stderr
    num_unknown = NUM_PICTURES - len(pairs)
    assert done.stderr.startswith(
        f"note: left out: {num_unknown} images of 6 classes that the model does not have: '"
    )
    found = json.loads(done.stdout)
    assert found["images"] == "all of pictures"
    assert found["num_images"] == len(pairs)
    assert found["top1"] == sum(true == guess for true, guess in pairs) / len(pairs)
    assert sum(found["left_out"]["classes"].values()) == num_unknown

    Image.open(pictures[0]).convert("RGB").resize((30, 50)).save(pictures[0])
    pictures[1].write_bytes(pictures[1].read_bytes()[:50])
    done = command("evaluate", "whole", "--data", "pictures", "--on-bad-image", "skip")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "note: bad images left out: 1\n"
    assert f": {NUM_PICTURES - 1} images, all of pictures, by stage 4" in done.stdout


def test_a_file_that_is_there_is_replaced_only_by_force(
    command: Command, trained: Trained, tmp_path: Path
) -> None:
    output = tmp_path / "digits.safetensors"
    output.write_bytes(b"mine")
    refused = command("export", "whole", output.name)
    assert refused.returncode == 2
    assert refused.stderr == (
        "accrete: error: output digits.safetensors exists: choose another name, "
        "or --force to replace it\n"
    )
    assert output.read_bytes() == b"mine"
    assert command("export", "whole", output.name, "--force", "--stage", "1").returncode == 0
    assert load_file(output)["head.weight"].shape == (len(trained.whole[0].class_names), 128)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["predict", "evaluate", "export"])
def test_each_command_explains_itself(name: str, cli: Cli) -> None:
    done = cli(name, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
