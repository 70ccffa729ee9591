"""The CA of a store's certificate reaches whoever talks to the store: steps, pods, containers."""

import os
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from accrete_pipelines.incremental import build_pipeline
from click.testing import CliRunner
from compiled_sample import compiled
from manifest_sample import MANIFESTS, Document, breaches, environment, kustomize, pod_specs
from yaml_sample import documents_in

from accrete.cli.main import accrete
from accrete.config.placement import Placement
from accrete.config.plan import Plan, even_counts
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.errors import ConfigError, InputError
from accrete.runners._containers import _ca_mount, _reachable
from accrete.runners.pipeline_file import PipelineRequest
from accrete.store.settings import StoreSettings

VARIABLE, FOLDER = "ACCRETE_S3_CA_BUNDLE", "/etc/accrete/store-ca"


def documents_with(**placement: Any) -> list[Document]:
    plan = Plan(
        rule="the list 2,2",
        class_order=("a", "b", "c", "d"),
        class_images=even_counts(4),
        stage_sizes=(2, 2),
    )
    request = PipelineRequest(
        config=RunConfig(
            source=SourceConfig(kind="parquet", location="s3://images/four"),
            plan=plan,
            model=ModelConfig(name="small"),
        ),
        placement=Placement(**placement),
        run_name="ca",
        store_uri="s3://accrete",
    )
    return compiled(build_pipeline, request)


def test_every_step_mounts_the_ca_and_is_told_where() -> None:
    spec, platform = documents_with(store_ca="team-ca")
    configs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    containers = spec["deploymentSpec"]["executors"]
    assert len(containers) == 4  # prepare, two stages, report
    for name, executor in containers.items():
        variables = {v["name"]: v["value"] for v in executor["container"]["env"]}
        assert variables[VARIABLE] == f"{FOLDER}/ca.crt"
        (mount,) = configs[name]["configMapAsVolume"]
        assert mount["mountPath"] == FOLDER
        assert mount["configMapName"] == "team-ca"
        assert not mount.get("optional")


def test_a_step_without_a_ca_of_its_own_mounts_none() -> None:
    spec, platform = documents_with()
    assert VARIABLE not in str(spec)
    assert "configMapAsVolume" not in str(platform)


def test_a_ca_s_config_map_with_an_impossible_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="ConfigMap of the store's CA is 'No_Name'"):
        Placement(store_ca="No_Name")


def test_the_command_line_passes_it_on(tmp_path: Path) -> None:
    path = tmp_path / "out.yaml"
    options = ["--stages", "5,5", "--store-ca", "team-ca", "-o", str(path)]
    done = CliRunner().invoke(accrete, ["compile", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "configMapName: team-ca" in path.read_text()


@pytest.fixture
def with_ca(tmp_path: Path) -> list[Document]:
    """The base for an external store and several nodes, with the component."""
    here = tmp_path.resolve()
    overlay = {
        "resources": [os.path.relpath(MANIFESTS / "base", here)],
        "components": [
            os.path.relpath(MANIFESTS / "components" / name, here)
            for name in ("external-s3", "multi-node", "store-ca")
        ],
    }
    (here / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    return documents_in(kustomize(here))


def checks_ca(container: Document) -> None:
    assert environment(container)[VARIABLE]["value"] == f"{FOLDER}/ca.crt"
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["store-ca"] == {"name": "store-ca", "mountPath": FOLDER, "readOnly": True}


def test_pods_of_the_manifests_that_talk_to_the_store_trust_the_ca(with_ca: list[Document]) -> None:
    runtime = next(d for d in with_ca if d["kind"] == "TrainingRuntime")
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pods = [*pod_specs(with_ca), job["template"]["spec"]["template"]["spec"]]
    talking = [p for p in pods if "containers" in p and "ACCRETE_S3_ENDPOINT" in str(p)]
    assert len(talking) == 2
    for pod in talking:
        assert {"name": "store-ca", "configMap": {"name": "accrete-store-ca"}} in pod["volumes"]
        checks_ca(pod["containers"][0])
        assert breaches(pod) == []


def test_the_changed_job_is_still_what_kubernetes_takes(with_ca: list[Document]) -> None:
    for document in with_ca:
        if document["kind"] == "Job":
            kubernetes_validate.validate(document, "1.33", strict=True)


def test_the_component_does_without_the_nodes_runtime(tmp_path: Path) -> None:
    here = tmp_path.resolve()
    overlay = {
        "resources": [os.path.relpath(MANIFESTS / "base", here)],
        "components": [os.path.relpath(MANIFESTS / "components" / "store-ca", here)],
    }
    (here / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    assert kustomize(here).count("name: store-ca") == 2


def test_containers_of_a_local_run_see_the_ca_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _ca_mount("ca.pem") == {
        "target": "/store-ca.pem",
        "source": str(tmp_path / "ca.pem"),
        "type": "bind",
        "read_only": True,
    }


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_store_with_tls_on_loopback_cannot_be_passed_on_to_containers(host: str) -> None:
    settings = StoreSettings(endpoint=f"https://{host}:1", access_key="a", secret_key="b")
    with (
        pytest.raises(InputError, match="has TLS on loopback, where no container reaches it"),
        _reachable(None, settings, "label"),
    ):
        pass
