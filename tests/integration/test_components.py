"""The components' own functions, called as KFP's executor calls them: alone, with artifacts."""

import importlib
import inspect
import json
import pkgutil
from pathlib import Path
from typing import Any

import accrete_components
import pytest
from accrete_components.prepare.component import prepare
from accrete_components.report.component import report
from accrete_components.train_first_stage.component import train_stage as first_stage
from accrete_components.train_stage.component import train_stage
from digits import digits_run
from kfp.dsl import HTML, Artifact, Dataset, Metrics, Model
from kfp.dsl.base_component import BaseComponent
from kfp.dsl.executor import Executor

from accrete.config.planned import split_config
from accrete.config.run import RunConfig
from accrete.store.object_store import ObjectStore


def one_class_first() -> RunConfig:
    """Three stages that begin with a single class, as in the paper's Figure 1."""
    return digits_run(1, 4, 5, budget_epochs=12.0)


@pytest.fixture
def in_pod(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The environment of a pod, and the parameters that every step gets."""
    for name, value in store.settings.as_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCRETE_CACHE", str(tmp_path / "cache"))
    return {"run_name": "by-hand", "store_uri": str(store.address)}


@pytest.mark.slow
def test_the_functions_make_a_run_without_a_runner(
    in_pod: dict[str, Any], tmp_path: Path, store: ObjectStore
) -> None:
    def artifact(kind: type[Artifact], name: str) -> Any:
        return kind(name=name, uri=str(tmp_path / name), metadata={})

    dataset, plan = artifact(Dataset, "dataset"), artifact(Artifact, "plan")
    config, planned = split_config(one_class_first())
    prepare.python_func(
        config=config, planned=planned, num_stages=3, dataset=dataset, plan=plan, **in_pod
    )
    assert dataset.metadata["num_classes"] == 10
    inputs = {"dataset": dataset, "plan": plan, **in_pod}

    first, metrics = artifact(Model, "first"), artifact(Metrics, "first metrics")
    first_stage.python_func(first_stage=1, last_stage=1, model=first, metrics=metrics, **inputs)
    assert metrics.metadata["top1"] == 1.0  # of one class
    last, metrics = artifact(Model, "last"), artifact(Metrics, "last metrics")
    train_stage.python_func(
        first_stage=2, last_stage=3, model=last, metrics=metrics, parent=first, **inputs
    )
    assert metrics.metadata["num_classes"] == 10
    assert metrics.metadata["top1"] > 0.5
    assert last.metadata["manifest_uri"].startswith("s3://")

    page, figures = artifact(HTML, "page"), artifact(Artifact, "figures")
    metrics = artifact(Metrics, "report metrics")
    report.python_func(model=last, page=page, figures=figures, metrics=metrics, plan=plan, **in_pod)
    stages = json.loads(Path(figures.path).read_text())["stages"]
    assert [stage["num_classes"] for stage in stages] == [1, 5, 10]
    assert Path(page.path).read_bytes() == store.read_note("runs/by-hand/report.html")


def test_a_pipeline_compiled_for_another_plan_is_refused(
    in_pod: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset(name="dataset", uri=str(tmp_path / "dataset"))
    plan = Artifact(name="plan", uri=str(tmp_path / "plan"))
    config, planned = split_config(one_class_first())
    with pytest.raises(SystemExit) as caught:
        prepare.python_func(
            config=config, planned=planned, num_stages=4, dataset=dataset, plan=plan, **in_pod
        )
    assert caught.value.code == 2
    assert "compiled for 4 stages, its config has 3: compile it again" in capsys.readouterr().err


def components() -> dict[str, Any]:
    """Return every component there is, by its folder."""
    found = {}
    for folder in pkgutil.iter_modules(accrete_components.__path__):
        module = importlib.import_module(f"accrete_components.{folder.name}.component")
        (found[folder.name],) = (
            value for value in vars(module).values() if isinstance(value, BaseComponent)
        )
    return found


COMPONENTS = components()


def test_each_folder_is_a_component_that_the_list_has() -> None:
    folder = Path(accrete_components.__path__[0])
    listed = (folder / "README.md").read_text()
    for name in COMPONENTS:
        assert f"[{name}]({name}/README.md)" in listed
        assert (folder / name / "README.md").is_file()
    assert len(COMPONENTS) == listed.count("/README.md)")


@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_s_body_is_short(name: str) -> None:
    source = inspect.getsource(COMPONENTS[name].python_func)
    body = source.split('"""')[2]
    assert len(body.splitlines()) <= 22


@pytest.mark.parametrize("name", COMPONENTS)
def test_kfp_s_executor_can_make_every_artifact_that_it_is_told_no_type_of(
    name: str, tmp_path: Path
) -> None:
    """A backend sends no schemaTitle with an input: the annotation must do."""
    spec = COMPONENTS[name].component_spec
    inputs = {
        each: {
            "artifacts": [
                {"name": "8", "type": {"instanceSchema": ""}, "uri": str(tmp_path / each)}
            ]
        }
        for each, taken in (spec.inputs or {}).items()
        if taken.type.startswith("system.")
    }
    outputs = {"outputFile": str(tmp_path / "output_metadata.json")}
    executor = Executor({"inputs": {"artifacts": inputs}, "outputs": outputs}, COMPONENTS[name])
    assert executor.input_artifacts.keys() == inputs.keys()
    assert all(isinstance(made, Artifact) for made in executor.input_artifacts.values())
    assert bool(inputs) == (name not in ("look", "prepare"))
