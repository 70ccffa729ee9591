"""Classes that arrive later: a finished model grows, and what is stored of it is not touched."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from conftest import Cli
from digits import digits_run, stage_context
from PIL import Image
from sklearn.datasets import load_digits

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import stage_chain
from accrete.catalog.lookup import dataset_digest
from accrete.catalog.manifests import StageManifest
from accrete.catalog.records import create_record, make_record
from accrete.data.prepare import prepare_dataset
from accrete.errors import ConfigError, RunNotFoundError
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

OLD = tuple("01234567")


@pytest.fixture(scope="module")
def trained(
    store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Catalog, StageManifest]:
    """A store with the run `eight`, which knows the digits 0 to 7."""
    catalog = Catalog(ObjectStore(store_settings, parse_store_uri(f"s3://accrete/{uuid4().hex}")))
    folder = tmp_path_factory.mktemp("eight")
    config = digits_run(8, only_classes=OLD, budget_epochs=12.0)
    dataset = prepare_dataset(
        config.source, config.plan, catalog, folder / "work", lambda _: lambda _: None
    ).manifest
    chain = stage_chain(config, dataset)
    create_record(catalog.store, make_record("eight", config, dataset.digest, chain))
    context = stage_context(catalog, NodeCache(folder / "cache", catalog.store))
    return catalog, run_stage(chain[0], dataset, context).manifest


@pytest.fixture
def extend(cli: Cli, trained: tuple[Catalog, StageManifest], tmp_path: Path) -> Any:
    """Runs `accrete extend …` on that store."""
    store = str(trained[0].store.address)
    return lambda *arguments: cli(
        "extend",
        *arguments,
        *digits(arguments),
        "--gpus",
        "0",
        "--budget-epochs",
        "3",
        ACCRETE_STORE=store,
    )


def digits(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return what names the digits where nothing else is named."""
    return () if "--source" in arguments else ("--source", "digits")


def names_file(path: Path, *names: str) -> str:
    path.write_text("\n".join(names))
    return str(path)


def digit_folder(path: Path, digit: int, count: int, *, mirrored: bool = False) -> Path:
    """Images of one digit as 8×8 grey PNG files, in a class folder of that name.

    Those of the source `digits` itself, or such as it does not have.
    """
    bunch = load_digits()
    (path / str(digit)).mkdir(parents=True)
    for number, image in enumerate(bunch.images[bunch.target == digit][:count]):
        pixels = (image * (255 / 16)).round().astype("uint8")
        seen = pixels[:, ::-1] if mirrored else pixels
        Image.fromarray(seen).save(path / str(digit) / f"{number}.png")
    return path


def objects_of(catalog: Catalog) -> dict[str, str]:
    """Return when each object was written, by key."""
    store = catalog.store
    found = store._client.list_objects(
        store.address.bucket, prefix=f"{store.address.prefix}objects/", recursive=True
    )
    return {item.object_name: str(item.last_modified) for item in found}


def assert_refused(done: Any, *words: str) -> None:
    assert done.returncode in (2, 3, 4), done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert all(word in line for word in words), line
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_two_digits_join_a_model_of_eight(
    cli: Cli, extend: Any, trained: tuple[Catalog, StageManifest], tmp_path: Path
) -> None:
    catalog, base = trained
    before = objects_of(catalog)
    new = names_file(tmp_path / "new.txt", "8", "9")
    done = extend("eight", "--only-classes", new, "--name", "ten")
    assert done.returncode == 0, done.stderr

    report = json.loads((tmp_path / "home" / "runs" / "ten" / "report.json").read_text())
    (stage,) = report["stages"]
    assert report["base"] == {
        "origin": "stage 1 of run eight",
        "identity": base.digest,
        "num_classes": 8,
        "top1": base.result.top1,
    }
    assert (stage["num_classes"], stage["num_new_classes"]) == (10, 2)
    assert stage["parent"] == base.digest
    assert stage["top1_old"] > 0.6  # after 19 steps; by chance a fifth
    assert stage["top1_new"] > 0.7

    changes = report["class_changes"]
    assert sorted(row["name"] for row in changes["classes"]) == list(OLD)
    assert changes["tests"] == ["exact McNemar test on the same images"]
    assert changes["num_compared"] == 8
    after = {row["name"]: row for row in stage["per_class"]}
    weighted = 0.0
    for row in changes["classes"]:
        assert row["num_images"] == after[row["name"]]["num_images"]
        assert row["after"] == after[row["name"]]["top1"]
        difference = (row["num_gained"] - row["num_lost"]) / row["num_images"]
        assert row["change"] == pytest.approx(difference)
        weighted += row["before"] * row["num_images"]
    num_images = sum(row["num_images"] for row in changes["classes"])
    assert weighted / num_images == pytest.approx(base.result.top1)
    assert changes["summary"] in done.stderr

    old, grown = catalog.dataset(base.dataset), catalog.dataset(report["dataset"]["digest"])
    assert grown.extends == old.digest
    assert grown.classes[:8] == tuple(old.by_name[name] for name in OLD)
    assert (grown.image, grown.normalization) == (old.image, old.normalization)

    after = objects_of(catalog)
    assert {key: after[key] for key in before} == before  # no old byte was written again
    new_shards = {s.sha256 for entry in grown.classes[8:] for s in entry.all_shards}
    finished = catalog.stage(stage["digest"])
    assert finished is not None
    made = new_shards | {finished.checkpoint.sha256, finished.metrics.sha256}
    assert {key.rpartition("/")[2] for key in after.keys() - before.keys()} == made

    again = extend("eight", "--only-classes", new, "--name", "ten")
    assert again.returncode == 0, again.stderr
    assert "reused" in again.stdout

    shown = cli("show", "eight@latest", "--json", ACCRETE_STORE=str(catalog.store.address))
    told = f"eight@latest is stage 1 of run ten ({finished.digest[:12]}), 10 classes"
    assert shown.stderr == f"note: {told}\n"
    assert json.loads(shown.stdout)["digest"] == finished.digest
    nothing_new = extend("eight@latest", "--only-classes", new)
    assert_refused(nothing_new, "class '8' of the source", "exists in stage 1 of run ten")


@pytest.mark.slow
def test_more_images_of_a_known_class_are_added_where_the_user_says_so(
    extend: Any, trained: tuple[Catalog, StageManifest], tmp_path: Path
) -> None:
    catalog, base = trained
    folder = str(digit_folder(tmp_path / "more", 3, 20, mirrored=True))
    options = ("eight", "--source", "imagefolder", "--data", folder)
    assert_refused(extend(*options), "class '3'", "exists in stage 1 of run eight", "--more-images")

    done = extend(*options, "--more-images", "--name", "more")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "home" / "runs" / "more" / "report.json").read_text())
    (stage,) = report["stages"]
    assert (stage["num_classes"], stage["num_new_classes"]) == (8, 0)
    old, grown = catalog.dataset(base.dataset), catalog.dataset(report["dataset"]["digest"])
    assert grown.by_name["3"].train[0] == old.by_name["3"].train[0]
    assert grown.by_name["3"].num_images("train") == old.by_name["3"].num_images("train") + 16
    assert grown.by_name["3"].num_images("test") == old.by_name["3"].num_images("test") + 4


@pytest.mark.slow
def test_images_that_are_stored_already_are_not_stored_again(
    extend: Any, trained: tuple[Catalog, StageManifest], tmp_path: Path
) -> None:
    catalog, _ = trained
    folder = digit_folder(tmp_path / "again", 3, 20, mirrored=True)
    same = digit_folder(tmp_path / "same", 3, 2) / "3"
    for file in same.iterdir():
        file.rename(folder / "3" / f"copy-{file.name}")
    objects, names = objects_of(catalog), ("--source", "imagefolder", "--data", str(folder))
    refused = extend("eight", *names, "--more-images", "--name", "again")
    assert_refused(refused, "2 images of class '3'", str(folder), "accrete watch")
    assert objects_of(catalog) == objects


@pytest.mark.slow
def test_what_was_exported_can_be_extended(
    cli: Cli, extend: Any, trained: tuple[Catalog, StageManifest], tmp_path: Path
) -> None:
    catalog, base = trained
    weights = str(tmp_path / "eight.safetensors")
    done = cli("export", "eight", weights, ACCRETE_STORE=str(catalog.store.address))
    assert done.returncode == 0, done.stderr
    done = extend("--weights", weights, "--source", "digits", "--name", "imported")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "home" / "runs" / "imported" / "report.json").read_text())
    (stage,) = report["stages"]
    assert report["base"]["origin"] == "eight.safetensors"
    assert report["plan"]["class_order"][:8] == list(OLD)
    assert stage["top1_old"] > 0.6  # after 19 steps; by chance a fifth
    assert report["dataset"]["mean"] == list(base.normalization.mean)  # the model's, not the data's

    new = names_file(tmp_path / "new.txt", "8", "9")
    options = ("--weights", weights, "--only-classes", new)
    assert_refused(extend(*options), "class '0' of eight.safetensors is not in the source")
    done = extend(*options, "--old-dataset", base.dataset[:12], "--name", "both")
    assert done.returncode == 0, done.stderr


def test_a_data_set_is_known_by_its_first_digits(trained: tuple[Catalog, StageManifest]) -> None:
    catalog, base = trained
    assert dataset_digest(catalog, base.dataset[:12]) == base.dataset
    assert dataset_digest(catalog, base.dataset) == base.dataset
    with pytest.raises(RunNotFoundError, match=f"no data set {'0' * 12}"):
        dataset_digest(catalog, "0" * 12)
    for wrong in (base.dataset[:11], "animals", "../datasets/00", "0" * 65):
        with pytest.raises(ConfigError, match="give 12 or more of the hexadecimal digits"):
            dataset_digest(catalog, wrong)


@pytest.mark.slow
def test_a_class_is_retired_and_two_are_merged(
    cli: Cli, extend: Any, trained: tuple[Catalog, StageManifest], tmp_path: Path
) -> None:
    """As docs/arrivals.md has it: 0 goes, and 1 and 7 become one class of straight strokes."""
    catalog, base = trained
    kept = names_file(tmp_path / "kept.txt", *"23456")
    weights = str(tmp_path / "kept.safetensors")
    store = str(catalog.store.address)
    done = cli("export", "eight", weights, "--only-classes", kept, ACCRETE_STORE=store)
    assert done.returncode == 0, done.stderr
    digit_folder(tmp_path / "merged", 1, 60)
    digit_folder(tmp_path / "merged", 7, 60)
    strokes = tmp_path / "merged" / "strokes"
    strokes.mkdir()
    for digit in ("1", "7"):
        for path in (tmp_path / "merged" / digit).iterdir():
            path.rename(strokes / f"{digit}-{path.name}")
        (tmp_path / "merged" / digit).rmdir()
    source = ("--source", "imagefolder", "--data", str(tmp_path / "merged"))
    old = ("--weights", weights, "--old-dataset", base.dataset)
    done = extend(*old, *source, "--name", "merged")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "home" / "runs" / "merged" / "report.json").read_text())
    (stage,) = report["stages"]
    assert report["plan"]["class_order"] == [*"23456", "strokes"]
    assert stage["top1_old"] > 0.6  # after 19 steps; by chance a fifth
    assert {each.name for each in catalog.dataset(report["dataset"]["digest"]).classes} == {
        *"23456",
        "strokes",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("one model", "--weights FILE")),
        (("nobody", "--only-classes", "NEW"), ("no run 'nobody'",)),
        (("eight", "--only-classes", "OLD"), ("class '0'", "7 others", "exists")),
        (("eight", "--only-classes", "ODD"), ("class 'ten'", "does not have", "it has 10")),
        (("eight", "--only-classes", "NEW", "--stages", "1,2"), ("adds 3 classes", "has 2")),
        (("eight", "--only-classes", "NEW", "--stages", "2,0"), ("stage 2 adds 0",)),
        (("eight", "--only-classes", "NEW", "--stage", "2"), ("stage is 2", "has 1")),
        (("eight", "--only-classes", "NEW", "--model", "vgg19"), ("--model", "--weights only")),
        (("--weights", "no.safetensors"), ("no.safetensors do not exist",)),
        (("eight", "--source", "imagefolder", "--data", "COLOUR"), ("colour", "grey")),
        (("eight", "--source", "imagefolder", "--data", "LARGE"), ("12x12 px", "takes 8x8")),
    ],
)
def test_what_cannot_be_added_is_refused_in_one_line(
    extend: Any, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    for name, mode, side in (("colour", "RGB", 8), ("large", "L", 12)):
        for number in range(5):
            path = tmp_path / name / "new" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (side, side), 20 * number if mode == "L" else (number, 0, 9)).save(path)
    places = {
        "NEW": names_file(tmp_path / "new.txt", "8", "9"),
        "OLD": names_file(tmp_path / "old.txt", *OLD),
        "ODD": names_file(tmp_path / "odd.txt", "ten"),
        "COLOUR": str(tmp_path / "colour"),
        "LARGE": str(tmp_path / "large"),
    }
    assert_refused(extend(*(places.get(word, word) for word in arguments)), *words)


@pytest.mark.slow
def test_images_of_another_size_can_be_scaled(extend: Any, tmp_path: Path) -> None:
    for number in range(10):
        path = tmp_path / "large" / "new" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 16), 20 * number).save(path)
    options = ("--source", "imagefolder", "--data", str(tmp_path / "large"), "--image-size", "8")
    done = extend("eight", *options)
    assert done.returncode == 0, done.stderr


def test_a_missing_old_shard_is_named(
    cli: Cli, catalog: Catalog, cache: NodeCache, tmp_path: Path
) -> None:
    config = dataclasses.replace(digits_run(2, only_classes=("0", "1")))
    dataset = prepare_dataset(
        config.source, config.plan, catalog, tmp_path / "work", lambda _: lambda _: None
    ).manifest
    chain = stage_chain(config, dataset)
    create_record(catalog.store, make_record("two", config, dataset.digest, chain))
    run_stage(chain[0], dataset, stage_context(catalog, cache))
    lost = dataset.by_name["1"].train[0]
    key = keys.object_key(lost.sha256)
    catalog.store._client.remove_object(
        catalog.store.address.bucket, catalog.store.address.prefix + key
    )
    new = names_file(tmp_path / "new.txt", "2")
    done = cli("extend", "two", "--source", "digits", "--only-classes", new, "--gpus", "0")
    assert_refused(done, "class '1' of stage 1 of run two has lost a shard", key)
