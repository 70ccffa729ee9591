"""Plans that are too large for an argument, and what a user edits: from YAML to what `prepare` did.

The store and the source are real; the steps' process is started as the launcher starts it, so an
argument that is too long ends it as it would there.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from accrete_pipelines import incremental
from backend import Backend, Done, artifact_store
from compiled_sample import on_a_short_stack
from conftest import Cli, Desk
from digits import digits_run
from kfp_api import kfp_at
from PIL import Image
from preparing import encoded, png
from proxy import Fault, Proxy
from yaml_sample import documents_in

from accrete.catalog.catalog import Catalog
from accrete.catalog.plans import read_plan, store_plan
from accrete.catalog.records import create_record, find_record
from accrete.config.placement import Placement
from accrete.config.plan import Plan, even_counts, parse_alpha, sizes_by_alpha
from accrete.config.planned import planned_argument, planned_document, split_config
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.core.hashing import sha256_of_bytes
from accrete.core.serialization import to_json, without_nones
from accrete.errors import IntegrityError, ObjectMissingError
from accrete.runners.pipeline_file import PipelineRequest, compile_to
from accrete.steps.prepare import prepare_step
from accrete.store import keys
from accrete.store.object_store import ObjectStore

LEMMA = "greater white-fronted goose, barnacle goose, Branta leucopsis"
"""Class names are as long as WordNet's synsets with all their lemmas."""


def names_of(num_classes: int) -> tuple[str, ...]:
    return tuple(f"n{number:08} {LEMMA}" for number in range(num_classes))


def many_classes(folder: Path, num_classes: int, side: int = 8) -> RunConfig:
    """Return a run over a small real source of so many classes, a training image each."""
    folder.mkdir()
    names = names_of(num_classes)
    for split, number_of in (("train", num_classes), ("test", 50)):
        images = [
            {"bytes": encoded(Image.new("L", (side, side), number % 256), "PNG"), "path": None}
            for number in range(number_of)
        ]
        table = pa.table({"image": images, "label": list(names[:number_of])})
        pq.write_table(table, folder / f"{split}-0.parquet")
    counts = even_counts(num_classes, 1)
    return RunConfig(
        source=SourceConfig(kind="parquet", location=str(folder)),
        plan=Plan(
            rule="alpha = 1 from 100 classes",
            class_order=names,
            class_images=counts,
            stage_sizes=sizes_by_alpha(counts, 100, parse_alpha("1")),
        ),
        model=ModelConfig(name="small"),
        recipe=Recipe(budget_epochs=1.0, flip="none", precision="fp32"),
    )


def request_for(config: RunConfig, store: ObjectStore, name: str) -> PipelineRequest:
    return PipelineRequest(
        config=config, placement=Placement(gpus=(0,)), run_name=name, store_uri=str(store.address)
    )


@contextmanager
def backend_of(store: ObjectStore, folder: Path) -> Iterator[Backend]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("ACCRETE_")}
    env |= store.settings.as_environment() | {"ACCRETE_CACHE": str(folder / "cache")}
    folder.mkdir(exist_ok=True)
    with artifact_store(folder) as artifacts:
        yield Backend(artifacts, store, env, folder)


def prepared(
    config: RunConfig, store: ObjectStore, folder: Path, edited: dict[str, Any] | None = None
) -> Done:
    """Compile a run, and run its first step from the YAML."""
    request = request_for(config, store, "many")
    store_plan(split_config(config)[1], store)
    compiled = folder / "many.yaml"
    on_a_short_stack(lambda: compile_to(incremental.build_pipeline(request), compiled))
    with backend_of(store, folder / "backend") as backend:
        return backend.run_file(compiled, request, edited=edited, only="prepare")["prepare"]


def assert_prepared(config: RunConfig, store: ObjectStore, folder: Path) -> None:
    done = prepared(config, store, folder)
    values = done.executor_input["inputs"]["parameterValues"]
    data = planned_document(split_config(config)[1])
    assert data is not None
    assert values["planned"] == {"sha256": sha256_of_bytes(data), "num_bytes": len(data)}
    assert len(json.dumps(done.executor_input)) < 8000
    record = find_record(store, "many")
    assert record is not None
    assert record.config == config
    assert record.config.digest == config.digest
    assert done.metadata["dataset"]["num_classes"] == len(config.plan.class_order)


@pytest.mark.slow
def test_a_plan_that_no_process_takes_as_an_argument_is_prepared_from_the_compiled_pipeline(
    store: ObjectStore, tmp_path: Path
) -> None:
    config = many_classes(tmp_path / "source", 1900)
    whole = json.dumps(without_nones(to_json(config)))
    with pytest.raises(OSError, match="too long"):
        os.posix_spawn("/bin/true", ["true", whole], {})
    assert_prepared(config, store, tmp_path)


@pytest.mark.slow
def test_imagenet_21k_s_number_of_classes_is_prepared(store: ObjectStore, tmp_path: Path) -> None:
    assert_prepared(many_classes(tmp_path / "source", 21_841), store, tmp_path)


@pytest.mark.slow
def test_four_thousand_classes_are_trained_on_this_machine(desk: Desk, tmp_path: Path) -> None:
    many_classes(tmp_path / "source", 4000)
    options = ("--data", str(tmp_path / "source"), "--initial", "1000", "--budget-epochs", "1")
    done = desk.run("run", "--name", "wide", "--model", "small", "--flip", "none", *options)
    assert done.returncode == 0, done.stderr
    assert "4000" in done.stdout


@pytest.fixture
def in_pod(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A pod's environment, and what `prepare` gets beside the configuration."""
    for name, value in store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCRETE_CACHE", str(tmp_path / "cache"))
    return {
        "run_name": "edited",
        "store_uri": str(store.address),
        "dataset_path": str(tmp_path / "dataset"),
        "plan_path": str(tmp_path / "plan"),
    }


def refusal(capsys: pytest.CaptureFixture[str], **arguments: Any) -> str:
    """Return the one line that `prepare` ends with."""
    with pytest.raises(SystemExit):
        prepare_step(**arguments)
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if line.startswith("accrete: error: "))
    return line


DIGITS = digits_run(2, 3, 5)


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        ({"plan": {"rule": "alpha = 2"}}, "config has 'plan', which cannot be edited"),
        ({"alpha": 2}, "config has an unknown field 'alpha'"),
        ({"seed": -1}, "seed is -1: it must lie between"),
        ({"source": {"kind": "cifar10"}}, "source cifar10 needs --data"),
        ({"source": {"kind": "digits", "test_fraction": 0.5}}, "but the plan was made for"),
        ({"model": {"name": "torchvision:resnet81"}}, "which torchvision does not have"),
        ({"model": {"name": "torchvision:vit_b_16"}}, "torchvision:vit_b_16"),
        ({"recipe": {"budget_epochs": 0}}, "budget epochs is 0"),
        ({"recipe": None}, "config.recipe is None"),
    ],
)
def test_an_edited_configuration_that_does_not_fit_is_refused_before_any_work(
    edited: dict[str, Any],
    message: str,
    in_pod: dict[str, Any],
    store: ObjectStore,
    capsys: pytest.CaptureFixture[str],
) -> None:
    editable, planned = split_config(DIGITS)
    config = {**editable, **edited}
    line = refusal(capsys, config=config, planned=planned, num_stages=3.0, **in_pod)
    assert message in line
    assert store.list_keys("objects/") == []
    assert find_record(store, "edited") is None


def test_other_images_than_the_plan_s_are_refused_with_the_class(
    in_pod: dict[str, Any], store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(png(number))
    editable, planned = split_config(DIGITS)
    editable["source"] = {"kind": "imagefolder", "location": str(tmp_path / "photos")}
    line = refusal(capsys, config=editable, planned=planned, num_stages=3, **in_pod)
    assert "class '0' has 0 training images, but the plan was made for" in line
    assert store.list_keys("objects/") == []


def test_what_may_be_edited_is_what_is_run_and_recorded(
    in_pod: dict[str, Any], store: ObjectStore
) -> None:
    editable, planned = split_config(DIGITS)
    editable["seed"], editable["recipe"]["lr"] = 7.0, 0.125
    prepare_step(config=editable, planned=planned, num_stages=3, **in_pod)
    record = find_record(store, "edited")
    assert record is not None
    recipe = replace(DIGITS.recipe, lr=0.125)
    assert record.config == replace(DIGITS, seed=7, recipe=recipe)


def whole_config(config: RunConfig, **plan: Any) -> dict[str, Any]:
    """Return the parameter of a pipeline that was compiled before the plan was a constant."""
    whole: dict[str, Any] = without_nones(to_json(config))
    whole["plan"] |= plan
    return whole


def test_a_pipeline_that_was_compiled_before_is_prepared_as_it_is(
    in_pod: dict[str, Any], store: ObjectStore
) -> None:
    config = digits_run(alpha="1")
    prepare_step(config=whole_config(config), num_stages=4, **in_pod)
    record = find_record(store, "edited")
    assert record is not None
    assert record.config == config


def test_a_rule_beside_edited_stages_becomes_what_they_are(
    in_pod: dict[str, Any], store: ObjectStore
) -> None:
    edited = whole_config(digits_run(alpha="1"), rule="alpha = 0.5 from 2 classes")
    prepare_step(config=edited, num_stages=4, **in_pod)
    record = find_record(store, "edited")
    assert record is not None
    assert record.config.plan.rule == "the list 2,2,4,2"
    prepare_step(config=edited, num_stages=4, **in_pod)  # a retry
    edited = whole_config(digits_run(alpha="1"), stage_sizes=[1, 2, 3, 4])
    prepare_step(config=edited, num_stages=4, **in_pod | {"run_name": "other"})
    record = find_record(store, "other")
    assert record is not None
    assert record.config.plan.rule == "the list 1,2,3,4"


@pytest.mark.parametrize("rule", ["alpha = 3", "my own words", "the list 5,5"])
def test_a_rule_in_nobody_s_form_becomes_the_list_in_a_file_too(
    rule: str, in_pod: dict[str, Any], store: ObjectStore, capfd: pytest.CaptureFixture[str]
) -> None:
    editable, planned = split_config(digits_run(alpha="1"))
    planned["plan"]["rule"] = rule
    prepare_step(config=editable, planned=planned, num_stages=4, **in_pod)
    record = find_record(store, "edited")
    assert record is not None
    assert record.config.plan.rule == "the list 2,2,4,2"
    assert f"the configuration says {rule!r} beside other stages" in capfd.readouterr().out


@pytest.mark.parametrize("name", ["a/b", "UP", "sp ace", "", "../x", "a" * 64])
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(
    name: str, in_pod: dict[str, Any], store: ObjectStore, capfd: pytest.CaptureFixture[str]
) -> None:
    editable, planned = split_config(digits_run(alpha="1"))
    with pytest.raises(SystemExit):
        prepare_step(config=editable, planned=planned, num_stages=4, **in_pod | {"run_name": name})
    assert "accrete: error: run name is" in capfd.readouterr().err
    assert store.list_keys("") == []


@pytest.mark.parametrize("num_cut", [0, 2, pytest.param(12, marks=pytest.mark.slow)])
def test_a_clone_with_a_name_that_is_taken_leaves_the_other_run_as_it_is(
    num_cut: int,
    in_pod: dict[str, Any],
    store: ObjectStore,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    editable, planned = split_config(digits_run(alpha="1"))
    prepare_step(config=editable, planned=planned, num_stages=4, **in_pod)
    before = {key: store.read_note(key) for key in store.list_keys("")}
    editable["recipe"]["lr"] = 0.05
    plan = lambda request: Fault(answer_bytes=0) if request.number <= num_cut else None  # noqa: E731
    with Proxy(store.settings.endpoint, plan) as proxy:
        monkeypatch.setenv("ACCRETE_S3_ENDPOINT", proxy.endpoint)
        monkeypatch.setenv("ACCRETE_STORE_WAIT", "60")
        with pytest.raises(SystemExit):
            prepare_step(config=editable, planned=planned, num_stages=4, **in_pod)
    assert proxy.num_faults == num_cut
    out, said = capfd.readouterr()
    assert ("; it is asked again for 1:00 (ACCRETE_STORE_WAIT)" in out) == (num_cut > 5)
    assert "exists with another configuration (alpha = 1 from 2 classes; recipe.lr is " in said
    assert ", and 0.05 here): choose another --name (in Kubeflow: run_name)" in said
    assert {key: store.read_note(key) for key in store.list_keys("")} == before


@pytest.mark.slow
@pytest.mark.parametrize("is_away", [False, True])
def test_a_name_that_may_be_another_run_s_keeps_its_journal(
    is_away: bool,
    in_pod: dict[str, Any],
    store: ObjectStore,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether nobody tells whose it is, or what is asked can be no run at all."""
    editable, planned = split_config(digits_run(alpha="1"))
    prepare_step(config=editable, planned=planned, num_stages=4, **in_pod)
    before = {key: store.read_note(key) for key in store.list_keys("")}
    cut = lambda r: Fault(answer_bytes=0) if "/runs/" in r.path and r.method == "GET" else None  # noqa: E731
    with Proxy(store.settings.endpoint, cut if is_away else lambda _: None) as proxy:
        monkeypatch.setenv("ACCRETE_S3_ENDPOINT", proxy.endpoint)
        asked = editable if is_away else None
        with pytest.raises(SystemExit) as ended:
            prepare_step(config=asked, planned=planned, num_stages=4, **in_pod)
    assert ended.value.code == (3 if is_away else 2)
    assert ("cannot be reached" if is_away else "config is None") in capfd.readouterr().err
    assert {key: store.read_note(key) for key in store.list_keys("")} == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": None}, "config is None: it must be an object"),
        ({"config": []}, "config is []: it must be an object"),
        ({"planned": "x"}, "planned is 'x': it must be an object"),
        ({"planned": {"plan": {}, "later": 1}}, "planned has 'later', which is not known here"),
    ],
)
def test_what_is_no_configuration_is_one_line(
    changed: dict[str, Any],
    said: str,
    in_pod: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    editable, planned = split_config(digits_run(alpha="1"))
    given = {"config": editable, "planned": planned} | changed
    with pytest.raises(SystemExit):
        prepare_step(**given, num_stages=4, **in_pod)
    assert said in capfd.readouterr().err


def test_a_recipe_s_name_cannot_be_edited_beside_its_values(
    in_pod: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    editable, planned = split_config(digits_run(alpha="1"))
    editable["recipe"]["name"] = "paper"
    with pytest.raises(SystemExit):
        prepare_step(config=editable, planned=planned, num_stages=4, **in_pod)
    assert "config.recipe has 'name', which cannot be edited" in capfd.readouterr().err


def test_kfp_s_own_syntax_in_a_class_name_goes_through_the_store() -> None:
    config = digits_run(alpha="1")
    names = ("{{channel:task=;name=run_name;type=STRING;}}", *config.plan.class_order[1:])
    _, planned = split_config(replace(config, plan=replace(config.plan, class_order=names)))
    assert set(planned_argument(planned)) == {"sha256", "num_bytes"}


def test_a_run_that_was_recorded_with_such_a_rule_goes_on(
    in_pod: dict[str, Any], store: ObjectStore
) -> None:
    config = digits_run(alpha="1")
    prepare_step(config=whole_config(config), num_stages=4, **in_pod | {"run_name": "honest"})
    honest = find_record(store, "honest")
    assert honest is not None
    config = replace(config, plan=replace(config.plan, rule="alpha = 0.5 from 2 classes"))
    create_record(store, replace(honest, name="edited", config=config))
    prepare_step(config=whole_config(config), num_stages=4, **in_pod)
    record = find_record(store, "edited")
    assert record is not None
    assert record.config == config


def large_planned() -> dict[str, Any]:
    names = names_of(300)
    plan = Plan(rule="all", class_order=names, class_images=(1,) * 300, stage_sizes=(300,))
    return split_config(replace(DIGITS, plan=plan))[1]


def test_a_plan_is_stored_once_and_read_back(store: ObjectStore) -> None:
    planned = large_planned()
    store_plan(planned, store)
    (listed,) = store.list_objects(keys.plan_prefix())
    store_plan(planned, store)
    assert list(store.list_objects(keys.plan_prefix())) == [listed]
    assert read_plan(planned_argument(planned), store) == planned


def test_a_small_plan_needs_no_store(store: ObjectStore) -> None:
    planned = split_config(DIGITS)[1]
    store_plan(planned, store)
    assert store.list_keys(keys.plan_prefix()) == []
    assert read_plan(planned_argument(planned), store) == planned


def test_a_plan_that_is_gone_or_changed_is_named(
    store: ObjectStore, in_pod: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    planned = large_planned()
    argument = planned_argument(planned)
    key = keys.plan_key(argument["sha256"])
    editable = split_config(DIGITS)[0]
    line = refusal(capsys, config=editable, planned=argument, num_stages=1, **in_pod)
    assert f"{store.uri(key)} is not there" in line
    assert "was store_uri changed" in line
    with pytest.raises(ObjectMissingError, match="compile it again"):
        read_plan(argument, store)
    store.write_note(key, b"{}")
    with pytest.raises(IntegrityError, match="holds 2 other bytes"):
        read_plan(argument, store)
    with pytest.raises(IntegrityError, match="holds other bytes"):
        store_plan(planned, store)


def test_a_plan_stays_when_all_else_is_removed_and_is_verified(
    store: ObjectStore, catalog: Catalog, cli: Cli
) -> None:
    planned = large_planned()
    store_plan(planned, store)
    (key,) = store.list_keys(keys.plan_prefix())
    assert cli("gc", "--keep", "0s", "--delete").returncode == 0
    assert cli("verify").returncode == 0
    assert store.list_keys("plans/") == [key]
    store.write_note(key, b"[]")
    found = cli("verify", "--delete-damaged")
    assert found.returncode == 4
    assert "is not the plan that pipelines were compiled for" in found.stdout
    assert store.list_keys("plans/") == []


OF_MANY = ("--source", "parquet", "--data", "s3://images/many", "--gpus", "1")


def counts_file(folder: Path, num_classes: int) -> str:
    path = folder / "counts.json"
    path.write_text(json.dumps(dict.fromkeys(names_of(num_classes), 10)))
    return str(path)


def test_compiling_a_large_plan_stores_it_first(desk: Desk, store: ObjectStore) -> None:
    counts = ("--counts", counts_file(desk.folder, 4000))
    done = desk.run("compile", *OF_MANY, *counts, "-o", "out.yaml")
    assert done.returncode == 0, done.stderr
    (key,) = store.list_keys(keys.plan_prefix())
    spec = documents_in((desk.folder / "out.yaml").read_text())[0]
    values = spec["root"]["dag"]["tasks"]["prepare"]["inputs"]["parameters"]
    assert values["planned"]["runtimeValue"]["constant"]["sha256"] == keys.parse_plan_key(key)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ACCRETE_S3_ENDPOINT": ""}, "it goes to the store that the steps have (no object store:"),
        ({"ACCRETE_S3_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_without_a_store_a_large_plan_is_not_compiled(
    changed: dict[str, str], message: str, desk: Desk
) -> None:
    counts = ("--counts", counts_file(desk.folder, 4000))
    done = desk.run("compile", *OF_MANY, *counts, "-o", "out.yaml", **changed)
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert not (desk.folder / "out.yaml").exists()


def test_without_a_store_a_small_plan_is_compiled(desk: Desk) -> None:
    counts = ("--counts", counts_file(desk.folder, 20))
    done = desk.run("compile", *OF_MANY, *counts, "-o", "out.yaml", ACCRETE_S3_ENDPOINT="")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, None),
        ({"ACCRETE_S3_ENDPOINT": ""}, "it goes to the store that the steps have"),
    ],
)
def test_a_large_plan_is_stored_before_anything_is_submitted(
    changed: dict[str, str], message: str | None, desk: Desk, store: ObjectStore
) -> None:
    counts = ("--counts", counts_file(desk.folder, 400))
    with kfp_at() as api:
        done = desk.run("run", *OF_MANY, *counts, "--endpoint", api.address, **changed)
    assert (done.returncode == 0) == (message is None), done.stderr
    assert len(api.posted) == (message is None)
    assert (message or "") in (done.stderr.splitlines() or [""])[-1]
    assert len(store.list_keys(keys.plan_prefix())) == (message is None)
