"""The components for Kubeflow Pipelines' administrator, over a stock installation's objects."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from manifest_sample import MANIFESTS, Document, kustomize, of_kind
from yaml_sample import document_in, documents_in

COMPONENTS = MANIFESTS / "components"

# What manifests/kustomize/third-party/argo/base of kubeflow/pipelines 2.17.0 has of these two, as
# far as it matters here.
CONTROLLER = """
apiVersion: v1
kind: ConfigMap
metadata: {name: workflow-controller-configmap, namespace: kubeflow}
data:
  executor: |
    imagePullPolicy: IfNotPresent
  workflowDefaults: |
    spec:
      ttlStrategy:
        secondsAfterCompletion: 3600
        secondsAfterSuccess: 3600
        secondsAfterFailure: 3600
      templateDefaults:
        retryStrategy:
          limit: '2'
          retryPolicy: OnError
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: workflow-controller, namespace: kubeflow}
spec:
  selector: {matchLabels: {app: workflow-controller}}
  template:
    metadata: {labels: {app: workflow-controller}}
    spec:
      containers:
        - name: workflow-controller
          image: quay.io/argoproj/workflow-controller:v4.0.5
          args: [--configmap, workflow-controller-configmap]
          env:
            - name: TRANSIENT_ERROR_PATTERN
              value: preempt|evict
"""


def rendered(folder: Path, *components: str) -> tuple[Document, Document]:
    """Return the controller's ConfigMap and Deployment with the components added."""
    here = folder.resolve()
    (here / "controller.yaml").write_text(CONTROLLER)
    overlay = {
        "resources": ["controller.yaml"],
        "components": [os.path.relpath(COMPONENTS / name, here) for name in components],
    }
    (here / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    documents = documents_in(kustomize(here))
    ((config,), (deployment,)) = (of_kind(documents, k) for k in ("ConfigMap", "Deployment"))
    return config, deployment


def defaults(config: Document) -> Document:
    return document_in(config["data"]["workflowDefaults"])["spec"]


def test_the_retries_component_changes_the_retry_strategy_and_nothing_else(tmp_path: Path) -> None:
    stock_config, stock_deployment = documents_in(CONTROLLER)
    config, deployment = rendered(tmp_path, "argo-retries")
    assert deployment == stock_deployment
    assert config["data"].keys() == stock_config["data"].keys()
    assert config["data"]["executor"] == stock_config["data"]["executor"]
    before, after = defaults(stock_config), defaults(config)
    strategy = after["templateDefaults"].pop("retryStrategy")
    before["templateDefaults"].pop("retryStrategy")
    assert after == before
    assert strategy.keys() == {"limit", "retryPolicy", "expression"}
    assert (strategy["limit"], strategy["retryPolicy"]) == ("2", "Always")


@pytest.mark.parametrize(
    ("what", "status", "exit_code", "again"),
    [
        ("a deleted pod", "Error", "-1", True),
        ("a restarted node: 'main: Unknown (exit code 255)'", "Failed", "255", True),
        ("a pod without memory: OOMKilled", "Failed", "137", True),
        ("a pod told to end", "Failed", "143", True),
        ("a step that failed: the launcher's own code", "Failed", "1", False),
        ("a DAG around such a step", "Failed", "-1", False),
    ],
)
def test_pods_that_are_lost_are_tried_again_and_failed_steps_are_not(
    what: str, status: str, exit_code: str, again: bool, tmp_path: Path
) -> None:
    # Argo's expressions are of the language expr, which reads this one as Python does.
    config, _ = rendered(tmp_path, "argo-retries")
    expression: str = defaults(config)["templateDefaults"]["retryStrategy"]["expression"]
    names: dict[str, Any] = {
        "asInt": int, "lastRetry": SimpleNamespace(status=status, exitCode=exit_code),
    }  # fmt: skip
    assert eval(expression, {"__builtins__": {}}, names) is again, what  # noqa: S307  our own


def test_the_requeue_component_adds_one_variable(tmp_path: Path) -> None:
    stock_config, stock_deployment = documents_in(CONTROLLER)
    config, deployment = rendered(tmp_path, "argo-requeue")
    assert config == stock_config
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (stock,) = stock_deployment["spec"]["template"]["spec"]["containers"]
    added = [variable for variable in container["env"] if variable not in stock["env"]]
    assert added == [{"name": "DEFAULT_REQUEUE_TIME", "value": "2s"}]
    assert len(container["env"]) == len(stock["env"]) + 1
    assert {k: v for k, v in container.items() if k != "env"} == {
        k: v for k, v in stock.items() if k != "env"
    }


def test_both_components_stand_together(tmp_path: Path) -> None:
    config, deployment = rendered(tmp_path, "argo-retries", "argo-requeue")
    assert "Always" in config["data"]["workflowDefaults"]
    assert "DEFAULT_REQUEUE_TIME" in str(deployment)
