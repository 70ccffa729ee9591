"""How large a compiled pipeline becomes on a cluster, and whether Argo and Linux take it.

Kubeflow Pipelines makes one Workflow of a pipeline: its specification holds each component once,
and per task a part of the DAG and what is Kubernetes' own; each task leaves six nodes in its
status, and each node repeats most of that. Estimated here from the IR, by the shape of recorded
Workflows (Kubeflow Pipelines 2.17.0, Argo Workflows 4.0.5); a test compares.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from accrete.errors import ConfigError

MAX_WORKFLOW_BYTES = 1 << 20
"""Argo refuses a Workflow that is longer with its nodes compressed (`DefaultMaxWorkflowSize` in
its workflow/packer); etcd would take half as much again by default."""
MAX_ARGUMENT_BYTES = (128 << 10) - 1
"""Linux takes no longer argument of a process (MAX_ARG_STRLEN); drivers have theirs as such."""

_SHARE = 0.8
"""Of the limit: attempts that are tried again leave nodes of their own."""

_CARE = 0.95
"""Of what would fit, so that it does: steps differ, and prepare and report are smaller."""

_SPEC_BYTES = 12_500
"""Of templates that every Workflow has."""
_TASK_BYTES = 1_900
"""Of a task in the DAG's template, beside its own text."""
_NODE_BYTES = 640
"""Of a node, beside its inputs and outputs."""
_PATCH_BYTES = 1_500
"""Of the patch that a driver makes for a pod, beside component, container and Kubernetes' part."""
_NOISE = 75
"""Random words of 64 digits by which each task's nodes differ: ids, times, digests."""

_TRAINING = "train-"
"""How the names of training tasks begin."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSize:
    """What a pipeline comes to, estimated; in bytes."""

    num_tasks: int
    """All of them."""
    spec_bytes: int
    """Of the Workflow's specification."""
    status_bytes: int
    """Of its nodes when all have run, compressed."""
    argument_bytes: int
    """Of the longest argument of a driver."""

    @property
    def workflow_bytes(self) -> int:
        """Of the whole object."""
        return self.spec_bytes + self.status_bytes


def workflow_size(spec: Document, platforms: Document) -> WorkflowSize:
    """Return what a pipeline comes to.

    Args:
        spec: the IR's pipeline spec.
        platforms: the IR's platform spec; may be empty.
    """
    tasks = spec["root"]["dag"]["tasks"]
    kubernetes = _executors(platforms.get("platforms", {}).get("kubernetes", {}))
    components, containers = spec["components"], _executors(spec)
    root = _text(spec["root"])
    once: set[str] = set()
    nodes: list[str] = []
    arguments = [len(root)]
    spec_bytes = _SPEC_BYTES + _escaped(root)
    for name, task in tasks.items():
        component = components[task["componentRef"]["name"]]
        label = component.get("executorLabel")
        # What is the same but for its label is there once.
        texts = [
            _text({key: each for key, each in component.items() if key != "executorLabel"}),
            _text(containers.get(label, {})),
        ]
        own = [_text(task), _text(kubernetes.get(label, {}))]
        once.update(texts)
        spec_bytes += _TASK_BYTES + sum(map(_escaped, own))
        arguments += [len(each.encode()) for each in (*texts, *own)]
        nodes += _nodes(name, [*texts, *own])
    spec_bytes += sum(map(_escaped, once))
    return WorkflowSize(
        num_tasks=len(tasks),
        spec_bytes=spec_bytes,
        status_bytes=len(base64.b64encode(gzip.compress("".join(nodes).encode()))),
        argument_bytes=max(arguments),
    )


def check_pipeline(pipeline: Any) -> None:
    """Refuse a KFP pipeline that Argo or Linux would refuse.

    Raises:
        ConfigError: as of `check_size`.
    """
    from google.protobuf import json_format

    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platforms = json_format.MessageToDict(pipeline.platform_spec)
    num_training = sum(name.startswith(_TRAINING) for name in spec["root"]["dag"]["tasks"])
    check_size(workflow_size(spec, platforms), num_training)


def check_size(size: WorkflowSize, num_training: int) -> None:
    """Refuse a pipeline that Argo or Linux would refuse.

    Args:
        size: of the pipeline.
        num_training: its training steps.

    Raises:
        ConfigError: says which limit, by how much, and what would fit.
    """
    most = int(MAX_WORKFLOW_BYTES * _SHARE)
    if size.workflow_bytes > most:
        per_task = (size.workflow_bytes - _SPEC_BYTES) / size.num_tasks
        all_tasks = (most - _SPEC_BYTES) / per_task * _CARE
        fitting = int(all_tasks) - (size.num_tasks - num_training)
        raise ConfigError(
            f"a pipeline of {num_training} training steps is too large for Argo: its Workflow "
            f"comes to about {size.workflow_bytes >> 10:,} KiB ({size.spec_bytes >> 10:,} of "
            f"specification, {size.status_bytes >> 10:,} of states), of which {most >> 10:,} may "
            f"be used (Argo's limit is 1,024); {_advice(fitting)}"
        )
    if size.argument_bytes > MAX_ARGUMENT_BYTES:
        share = MAX_ARGUMENT_BYTES / size.argument_bytes * _CARE
        raise ConfigError(
            f"a pipeline of {num_training} training steps is too large for Linux: it is handed to "
            f"a process in an argument of {size.argument_bytes >> 10:,} KiB, of 127 at most; "
            f"{_advice(int(num_training * share))}"
        )


def _advice(fitting: int) -> str:
    less = "ask for less in each step (--node-selector, --toleration, --gpu-kind, --pull-secret)"
    return f"--max-steps {fitting} fits, or {less}" if fitting > 0 else less


def _executors(spec: Document) -> Document:
    found: Document = spec.get("deploymentSpec", {}).get("executors", {})
    return found


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _escaped(text: str) -> int:
    """Return the bytes of a text as a JSON string."""
    return len(json.dumps(text))


def _nodes(name: str, texts: Iterable[str]) -> list[str]:
    """Return what a task's six nodes are made of: two of its driver, four around its pod."""
    component, container, _, kubernetes = given = list(map(json.dumps, texts))
    words = (hashlib.sha256(f"{name}/{number}".encode()).hexdigest() for number in range(_NOISE))
    noise = "".join(words)
    patch = json.dumps(component + container + kubernetes) + "p" * _PATCH_BYTES
    driver = "".join(given) + patch + name * 5 + "n" * _NODE_BYTES
    pod = patch + name * 5 + "m" * _NODE_BYTES
    return [driver, driver, pod, pod, pod, pod, noise]
