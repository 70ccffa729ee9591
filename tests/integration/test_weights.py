"""Runs that begin from trained weights: by their command, in what is stored, and what is kept."""

import dataclasses
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from by_steps import enter_pod, run_by_steps
from conftest import Cli
from digits import SOURCE, digits_run, stage_context
from preparing import image_folder, preparer
from safetensors.torch import save_file

from accrete.catalog.catalog import Catalog
from accrete.catalog.gc import collect
from accrete.catalog.identity import stage_chain
from accrete.catalog.inventory import read_inventory
from accrete.catalog.lineage import run_lineage
from accrete.catalog.verification import verify_store
from accrete.config.image_format import Normalization
from accrete.config.known_networks import IMAGENET
from accrete.config.run import ModelConfig, RunConfig
from accrete.core.hashing import sha256_of_file
from accrete.core.serialization import from_json, to_json
from accrete.errors import ConfigError
from accrete.models.backbone import BackboneRequest, read_backbone, store_backbone
from accrete.models.checkpoint import load_checkpoint
from accrete.models.networks import build_model, weighted_part
from accrete.stages._learner import make_learner
from accrete.stages.inputs import pull_inputs
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.training.distributed import ALONE

RESNET = ModelConfig(name="torchvision:resnet18")
FOUR = ("0", "1", "2", "3")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A torchvision state of seven classes, as safetensors; beside it the same as a pickle."""
    from torchvision import models

    torch.manual_seed(0)
    state = models.resnet18(num_classes=7).state_dict()
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(state, path)
    torch.save(state, path.with_suffix(".pth"))
    return path


def begun_from(path: Path, store: ObjectStore, *sizes: int, **recipe: Any) -> RunConfig:
    """Return a run over four digits that begins from a file of a resnet18."""
    config = digits_run(*sizes, only_classes=FOUR, **{"budget_epochs": 1.0} | recipe)
    model = store_backbone(read_backbone(BackboneRequest(path=path, model=RESNET)), store)
    return dataclasses.replace(config, model=model)


@pytest.mark.slow
def test_the_first_stage_begins_from_the_file_s_trunk_and_only_the_first(
    resnet_file: Path, catalog: Catalog, cache: NodeCache, tmp_path: Path
) -> None:
    config = begun_from(resnet_file, catalog.store, 2, 2)
    prepare = preparer(catalog, tmp_path / "work")
    dataset = prepare(config.source, model=config.model).manifest
    assert dataset.normalization == config.model.normalization_for(1)
    first, second = stage_chain(config, dataset)
    inputs = pull_inputs(first, dataset, None, cache)
    model = make_learner(first, dataset, inputs, None, ALONE).model
    state = read_backbone(BackboneRequest(path=resnet_file, model=RESNET)).tensors
    found = weighted_part(model).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    fresh = build_model(RESNET, channels=1, num_classes=2, seed=first.seed)
    assert torch.equal(model.head.weight, fresh.head.weight)

    stage = run_stage(first, dataset, stage_context(catalog, cache)).manifest
    assert second.weights is None
    inputs = pull_inputs(second, dataset, stage.checkpoint, cache)
    model = make_learner(second, dataset, inputs, None, ALONE).model
    checkpoint = load_checkpoint(cache.fetch([stage.checkpoint]).paths[stage.checkpoint.sha256])
    grown = model.trunk.state_dict()
    assert torch.equal(grown["1.conv1.weight"], checkpoint.weights["trunk.1.conv1.weight"])
    assert not torch.equal(grown["1.conv1.weight"], state["conv1.weight"])
    assert stage.model == config.model


def test_identities_go_by_content_and_none_changes_without_weights(
    resnet_file: Path, catalog: Catalog, tmp_path: Path
) -> None:
    config = begun_from(resnet_file, catalog.store, 2, 2)
    weights = config.model.weights
    assert weights is not None
    dataset = preparer(catalog, tmp_path / "work")(config.source).manifest

    def digests(model: ModelConfig) -> list[str]:
        chain = stage_chain(dataclasses.replace(config, model=model), dataset)
        assert from_json(type(chain[0]), to_json(chain[0]), "stage") == chain[0]
        return [spec.digest for spec in chain]

    renamed = dataclasses.replace(weights, origin="b", file_sha256="0" * 64, image_side=None)
    other = dataclasses.replace(weights, sha256="0" * 64)
    begun = digests(config.model)
    assert digests(dataclasses.replace(config.model, weights=renamed)) == begun
    assert not set(begun) & set(digests(dataclasses.replace(config.model, weights=other)))
    assert not set(begun) & set(digests(RESNET))
    assert "weights" not in to_json(RESNET)


def test_images_are_scaled_as_weights_expect_and_decoded_once(
    resnet_file: Path, catalog: Catalog, tmp_path: Path
) -> None:
    model = begun_from(resnet_file, catalog.store, 2, 2).model
    prepare = preparer(catalog, tmp_path / "work")
    folder = image_folder(tmp_path / "images", {"a": 6, "b": 6}, lambda _: 12)
    first = prepare(folder, model=model)
    assert (first.reused, first.manifest.normalization) == (False, IMAGENET)
    assert prepare(folder, model=model).reused
    plain = prepare(folder)
    assert not plain.reused
    assert plain.manifest.classes == first.manifest.classes
    assert plain.manifest.normalization != IMAGENET

    digits = prepare(SOURCE).manifest
    pushed = catalog.store.traffic.pushed_bytes
    scaled = prepare(SOURCE, model=model)  # of the shards that are there
    assert scaled.reused
    assert scaled.manifest == dataclasses.replace(
        digits, normalization=Normalization(mean=(0.449,), std=(0.226,))
    )
    assert catalog.store.traffic.pushed_bytes == pushed


def test_weights_for_other_images_are_refused_and_nothing_is_published(
    resnet_file: Path, catalog: Catalog, tmp_path: Path
) -> None:
    model = begun_from(resnet_file, catalog.store, 2, 2).model
    prepare = preparer(catalog, tmp_path / "work")
    with pytest.raises(ConfigError, match="take colour images, but these are grey"):
        prepare(SOURCE, model=dataclasses.replace(model, name="small"))
    assert not catalog.prepared_datasets()
    assert not catalog.store.list_keys(keys.dataset_prefix())


@pytest.mark.slow
def test_weights_are_kept_as_long_as_a_run_names_them_verified_and_shown(
    resnet_file: Path,
    catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    enter_pod(catalog.store, tmp_path / "cache", monkeypatch)
    config = begun_from(resnet_file, catalog.store, 4)
    weights = config.model.weights
    assert weights is not None
    run_by_steps(catalog.store, "begun", config)
    key = keys.object_key(weights.sha256)
    time.sleep(1.1)
    collect(catalog, timedelta(0), dead_after_s=4)
    assert catalog.store.size_of(key) == weights.num_bytes
    inventory = read_inventory(catalog)
    assert not verify_store(catalog, inventory, inventory.references()).damages
    facts = run_lineage(inventory, inventory.runs["begun"])
    assert facts["weights"]["origin"] == "resnet18.safetensors"

    catalog.store.delete(key)
    (damage,) = verify_store(catalog, inventory, inventory.references()).damages
    assert damage.key == key
    assert "give --weights again" in damage.remedy
    with pytest.raises(SystemExit):
        run_by_steps(catalog.store, "again", dataclasses.replace(config, seed=1))
    assert "submit the run again with --weights" in capsys.readouterr().err

    begun_from(resnet_file, catalog.store, 4)  # stores them again
    for name in catalog.store.list_keys(keys.run_prefix()):
        catalog.store.delete(name)
    time.sleep(1.1)
    collect(catalog, timedelta(0), dead_after_s=4)
    assert catalog.store.size_of(key) is None


@pytest.mark.slow
def test_a_run_begins_from_a_state_file_and_its_rerun_finds_the_stages(
    cli: Cli, resnet_file: Path, tmp_path: Path
) -> None:
    names = tmp_path / "four.txt"
    names.write_text("\n".join(FOUR))
    run = (
        *("run", "--source", "digits", "--only-classes", str(names), "--stages", "2,2"),
        *("--budget-epochs", "1", "--gpus", "0", "--model", "torchvision:resnet18"),
    )
    done = cli(*run, "--weights", str(resnet_file), "--name", "begun")
    assert done.returncode == 0, done.stderr
    assert "model torchvision:resnet18 from weights resnet18.safetensors" in done.stderr
    assert "8x8 px stay as they are, but weights resnet18.safetensors were made for" in done.stderr
    report = json.loads((tmp_path / "home" / "runs" / "begun" / "report.json").read_text())
    assert report["weights"]["origin"] == "resnet18.safetensors"
    page = (tmp_path / "home" / "runs" / "begun" / "report.html").read_text()
    assert "Begins from the trained weights resnet18.safetensors" in page

    pickled = resnet_file.with_suffix(".pth")
    sha256 = sha256_of_file(pickled)
    done = cli(*run, "--weights", str(pickled), "--weights-sha256", sha256, "--name", "pickled")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "home" / "runs" / "pickled" / "report.json").read_text())
    assert all(stage["reused"] for stage in report["stages"])


@pytest.mark.slow
def test_an_export_begins_a_run_which_is_extended_and_compared(cli: Cli, tmp_path: Path) -> None:
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("0\n1\n2\n3\n")
    new.write_text("4\n5\n6\n7\n")
    short = ("--source", "digits", "--budget-epochs", "1", "--gpus", "0")
    weights = str(tmp_path / "old.safetensors")
    for arguments in (
        ("run", *short, "--only-classes", str(old), "--stages", "4", "--width", "0.5"),
        ("export", "old", weights),
        ("run", *short, "--only-classes", str(new), "--stages", "2,2", "--weights", weights),
        ("extend", "new", *short, "--only-classes", str(old)),
        (
            *("compare", *short, "--only-classes", str(new), "--stages", "2,2"),
            *("--weights", weights, "--seeds", "1", "--no-figure", "--scratch-epochs", "1"),
        ),
    ):
        kind = arguments[0]
        name = {"run": "new" if "--weights" in arguments else "old"}.get(kind, kind)
        named = () if kind == "export" else ("--name", name)
        done = cli(*arguments, *named)
        assert done.returncode == 0, (arguments, done.stderr)
    shown = {name: json.loads(cli("show", name, "--json").stdout) for name in ("new", "extend")}
    assert shown["new"]["weights"]["origin"] == "old.safetensors"
    assert shown["new"]["config"]["model"]["width"] == 0.5
    assert shown["extend"]["weights"] is None  # its base is a stage, whose lineage has them
    stage = json.loads(cli("show", shown["extend"]["stages"][0]["digest"], "--json").stdout)
    assert stage["weights"]["origin"] == "old.safetensors"
    staged = json.loads(cli("show", "compare", "--json").stdout)["stages"]
    assert all(stage["finished"] for stage in staged)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "no.pth"), "weights no.pth do not exist"),
        (("--weights", "no.pth", "--model", "torchvision:resnet19"), "did you mean torchvision:"),
        (("--weights", "PTH", "--model", RESNET.name), "are a pickle: give the SHA-256"),
        (
            ("--weights", "PTH", "--model", RESNET.name, "--weights-sha256", "0" * 64),
            "they are another file than the one meant",
        ),
        (("--weights", "FILE"), "do not say what network they are of: give --model torchvision"),
        (("--weights", "FILE", "--model", "vgg19"), "and --model vgg19 takes exported files alone"),
        pytest.param(
            ("--weights", "FILE", "--model", "torchvision:resnet34"),
            "do not fit torchvision:",
            marks=pytest.mark.slow,
        ),
        (
            ("--weights", "FILE", "--weights-std", "1,1"),
            "--weights-mean and --weights-std go together: give both",
        ),
    ],
)
def test_weights_that_cannot_be_used_are_refused_in_a_line(
    cli: Cli, resnet_file: Path, options: tuple[str, ...], message: str
) -> None:
    places = {"FILE": str(resnet_file), "PTH": str(resnet_file.with_suffix(".pth"))}
    done = cli("run", "--source", "digits", *(places.get(each, each) for each in options))
    assert done.returncode in (2, 4)
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert message in line
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_pipeline_is_compiled_where_the_store_takes_the_weights(
    cli: Cli, resnet_file: Path, store: ObjectStore, tmp_path: Path
) -> None:
    output = tmp_path / "out.yaml"
    compiled = ("compile", "--source", "digits", "--model", RESNET.name, "--gpus", "0")
    compiled += ("--weights", str(resnet_file), "-o", str(output))
    done = cli(*compiled, ACCRETE_S3_ENDPOINT="")
    assert done.returncode == 2
    assert "weights resnet18.safetensors go to the store that the run's steps have" in done.stderr
    assert not output.exists()
    done = cli(*compiled)
    assert done.returncode == 0, done.stderr
    (stored,) = store.list_keys("objects/")
    assert stored.rpartition("/")[2] in output.read_text()
