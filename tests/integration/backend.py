"""A compiled pipeline's tasks, run as a Kubeflow backend runs them, without one.

Stands for the backend's driver (makes the `executor_input`) and launcher (puts the inputs' files
where the executor looks for them, runs the task's command, takes the outputs away). The form is
that of Kubeflow Pipelines 2.17.0: what differs from kfp.local is said where it is made. The command
between them is the compiled pipeline's own: kfp's executor and our component.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from compiled_sample import on_a_short_stack
from conftest import HANGS_S
from yaml_sample import documents_in

from accrete.runners.pipeline_file import PipelineRequest, compile_to, send_plan
from accrete.store.object_store import ObjectStore

Document = dict[str, Any]

SESSION = json.dumps(
    {
        "Provider": "minio",
        "Params": {
            "accessKeyKey": "accesskey",
            "disableSSL": "true",
            "endpoint": "seaweedfs.kubeflow:9000",
            "fromEnv": "false",
            "maxRetries": "5",
            "region": "minio",
            "secretKeyKey": "secretkey",
            "secretName": "mlpipeline-minio-artifact",
        },
    },
    separators=(",", ":"),
)
"""How the launcher reaches the artifact store: the driver adds it to each input's metadata."""


class TaskFailedError(Exception):
    """A task's command ended with another code than 0; the message is what it said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactStore:
    """KFP's store of artifacts, and where a pod sees it."""

    uri: str
    """Of its artifacts: `minio://…`, or a folder."""
    path: Path
    """Where kfp's executor looks for `uri`."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """By URI."""

    def local(self, uri: str) -> Path:
        """Return where the executor looks for an artifact."""
        return self.path / uri.removeprefix(self.uri).lstrip("/")


@contextmanager
def artifact_store(folder: Path) -> Iterator[ArtifactStore]:
    """Give an empty store of artifacts.

    kfp's executor looks for `minio://…` below /minio, where the backend mounts an empty volume. Who
    may not write there gets the same form with plain paths for URIs.
    """
    bucket = f"mlpipeline-{uuid4().hex}"
    path = Path("/minio") / bucket
    is_ours = not path.parent.exists()
    try:
        path.mkdir(parents=True)
    except OSError:
        path = folder / "minio"
        path.mkdir()
        yield ArtifactStore(uri=str(path), path=path)
        return
    try:
        yield ArtifactStore(uri=f"minio://{bucket}", path=path)
    finally:
        shutil.rmtree(path)
        if is_ours:
            with suppress(OSError):  # a test beside this one is at it
                path.parent.rmdir()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of a task."""

    executor_input: Document
    """What it was handed."""
    metadata: dict[str, Document]
    """Of its output artifacts."""


class Backend:
    """Runs compiled pipelines; MLMD's ids go on from one to the next."""

    def __init__(
        self, store: ArtifactStore, plans: ObjectStore, env: dict[str, str], folder: Path
    ) -> None:
        """Run nothing yet.

        Args:
            store: of KFP's artifacts.
            plans: where plans go that are too large for an argument.
            env: the pods' variables.
            folder: for the compiled pipelines and the pods' temporary files.
        """
        self._store, self._plans = store, plans
        self._env, self._folder = env, folder
        self._last_id = 0

    def run(self, build: Any, request: PipelineRequest) -> dict[str, Done]:
        """Compile a pipeline and run its tasks, each after those that it waits for.

        Raises:
            TaskFailedError: a task failed.
        """
        send_plan(request, self._plans)
        compiled = self._folder / f"{request.run_name}.yaml"
        on_a_short_stack(lambda: compile_to(build(request), compiled))
        return self.run_file(compiled, request)

    def run_file(
        self,
        compiled: Path,
        request: PipelineRequest,
        *,
        edited: Document | None = None,
        only: str | None = None,
    ) -> dict[str, Done]:
        """Run a compiled pipeline's tasks.

        Args:
            compiled: its YAML.
            request: that it is of, for the run's name.
            edited: what a user made of other parameters.
            only: the one task to run; it waits for none.

        Raises:
            TaskFailedError: a task failed.
        """
        spec = documents_in(compiled.read_text())[0]
        given = {"run_name": request.run_name, "store_uri": request.store_uri} | (edited or {})
        return self.run_spec(spec, given, only)

    def run_spec(self, spec: Document, given: Document, only: str | None = None) -> dict[str, Done]:
        """Run the tasks of a pipeline's specification.

        Args:
            spec: of the pipeline.
            given: values of parameters; the others have their defaults.
            only: the one task to run; it waits for none.

        Raises:
            TaskFailedError: a task failed.
        """
        defined = spec["root"]["inputDefinitions"]["parameters"]
        arguments = {
            name: given.get(name, each.get("defaultValue")) for name, each in defined.items()
        }
        run = f"{self._store.uri}/v2/artifacts/{spec['pipelineInfo']['name']}/{uuid4()}"
        return self._run_tasks(spec, spec["root"], arguments, run, only)

    def _run_tasks(
        self, spec: Document, part: Document, arguments: Document, run: str, only: str | None = None
    ) -> dict[str, Done]:
        """Run the tasks of the root, or of a part that is run under a condition."""
        tasks, done = part["dag"]["tasks"], {}
        made: dict[tuple[str, str], Document] = {}
        if only is not None:
            tasks = {only: tasks[only]}
        ended: set[str] = set()
        while waiting := [name for name in tasks if name not in ended]:
            name = next(
                name for name in waiting if set(tasks[name].get("dependentTasks", ())) <= ended
            )
            ended.add(name)
            component = spec["components"][tasks[name]["componentRef"]["name"]]
            inputs = _inputs(tasks[name], arguments, made)
            if not _is_met(tasks[name], inputs["parameterValues"]):
                continue
            if "dag" in component:
                done |= self._run_tasks(spec, component, inputs["parameterValues"], run)
            else:
                uri = f"{run}/{name}/{uuid4()}"
                done[name] = self._run_task(spec, name, component, inputs, made, uri)
        return done

    def _run_task(  # noqa: PLR0917  what a driver knows of a task
        self,
        spec: Document,
        name: str,
        component: Document,
        inputs: Document,
        made: dict[tuple[str, str], Document],
        uri: str,
    ) -> Done:
        executor_input = {
            "inputs": inputs,
            "outputs": _outputs(component, uri, str(self._store.local(uri))),
        }
        self._put_files(executor_input)
        container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        self._execute(container, executor_input)
        for output, value in self._take_parameters(component, executor_input).items():
            made[name, output] = {"value": value}
        metadata = self._take_files(executor_input)
        for output, kept in metadata.items():
            self._last_id += 1
            (artifact,) = executor_input["outputs"]["artifacts"][output]["artifacts"]
            made[name, output] = {
                # Not what the task called it, but its number in MLMD.
                "name": str(self._last_id),
                # Never a schemaTitle: the executor makes the artifact from the annotation.
                "type": {"instanceSchema": ""},
                "uri": artifact["uri"],
                "metadata": kept | {"display_name": output, "store_session_info": SESSION},
            }
        return Done(executor_input=executor_input, metadata=metadata)

    def _put_files(self, executor_input: Document) -> None:
        """Do what the launcher does before: inputs' files, outputs' folders, and nothing else."""
        for entry in executor_input["inputs"].get("artifacts", {}).values():
            for artifact in entry["artifacts"]:
                if artifact["uri"] in self._store.objects:
                    path = self._store.local(artifact["uri"])
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self._store.objects[artifact["uri"]])
        for entry in executor_input["outputs"].get("parameters", {}).values():
            Path(entry["outputFile"]).parent.mkdir(parents=True, exist_ok=True)
        for entry in executor_input["outputs"]["artifacts"].values():
            for artifact in entry["artifacts"]:
                self._store.local(artifact["uri"]).parent.mkdir(parents=True, exist_ok=True)

    def _execute(self, container: Document, executor_input: Document) -> None:
        """Run a task's command as the compiled pipeline has it."""
        command = [
            json.dumps(executor_input) if part == "{{$}}" else part
            for part in [*container["command"], *container["args"]]
        ]
        variables = {each["name"]: each["value"] for each in container.get("env", [])}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command, env=self._env | variables | {"PATH": path, "TMPDIR": str(self._folder)},
            cwd=self._folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=HANGS_S, check=False,
        )  # fmt: skip
        if done.returncode:
            raise TaskFailedError(done.stdout[-3000:])

    def _take_parameters(self, component: Document, executor_input: Document) -> Document:
        """Return the output parameters, as the launcher reads them by their type.

        Source: launcher_v2.go, executeV2: texts as they are, all else is JSON.
        """
        kinds = component.get("outputDefinitions", {}).get("parameters", {})
        values = {}
        for name, entry in executor_input["outputs"].get("parameters", {}).items():
            text = Path(entry["outputFile"]).read_text()
            is_text = kinds[name]["parameterType"] == "STRING"
            values[name] = text if is_text else json.loads(text, parse_constant=_refuse)
        return values

    def _take_files(self, executor_input: Document) -> dict[str, Document]:
        """Do what the launcher does after: outputs to the store; the pod's volume is gone."""
        outputs = executor_input["outputs"]
        written = json.loads(Path(outputs["outputFile"]).read_text(), parse_constant=_refuse)
        metadata = {}
        for name, entry in written["artifacts"].items():
            (artifact,) = entry["artifacts"]
            path = self._store.local(artifact["uri"])
            if path.is_file():
                self._store.objects[artifact["uri"]] = path.read_bytes()
            metadata[name] = {key: _kept(value) for key, value in artifact["metadata"].items()}
        shutil.rmtree(self._store.path)
        self._store.path.mkdir(parents=True)
        return metadata


_EQUALS = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '([^']*)'")


def _is_met(task: Document, values: Document) -> bool:
    """Return whether a task is run: of CEL, this knows a text that a parameter must equal."""
    condition = task.get("triggerPolicy", {}).get("condition")
    if condition is None:
        return True
    match = _EQUALS.fullmatch(condition)
    assert match is not None, condition
    return bool(values[match[1]] == match[2])


def _inputs(task: Document, arguments: Document, made: dict[tuple[str, str], Document]) -> Document:
    """Return what the driver hands over: nothing for a parameter that the pipeline leaves out."""
    parameters, artifacts = {}, {}
    for name, source in task["inputs"].get("parameters", {}).items():
        if "runtimeValue" in source:
            value = source["runtimeValue"]["constant"]
        elif "taskOutputParameter" in source:
            producer = source["taskOutputParameter"]
            value = made[producer["producerTask"], producer["outputParameterKey"]]["value"]
        else:
            value = arguments[source["componentInputParameter"]]
        parameters[name] = _whole(value)
    for name, source in task["inputs"].get("artifacts", {}).items():
        producer = source["taskOutputArtifact"]
        artifact = made[producer["producerTask"], producer["outputArtifactKey"]]
        artifacts[name] = {"artifacts": [artifact]}
    return {"parameterValues": parameters} | ({"artifacts": artifacts} if artifacts else {})


def _outputs(component: Document, uri: str, folder: str) -> Document:
    """Return where a task's outputs go; artifacts do have a schemaTitle."""
    defined = component.get("outputDefinitions", {})
    types = {name: entry["artifactType"] for name, entry in defined.get("artifacts", {}).items()}
    types["executor-logs"] = {"schemaTitle": "system.Artifact"}  # the launcher's own
    outputs: Document = {
        "artifacts": {
            name: {"artifacts": [{"name": name, "type": kind, "uri": f"{uri}/{name}"}]}
            for name, kind in types.items()
        },
        "outputFile": f"{folder}/output_metadata.json",
    }
    if defined.get("parameters"):
        outputs["parameters"] = {
            name: {"outputFile": f"{folder}/parameters/{name}"} for name in defined["parameters"]
        }
    return outputs


def _whole(value: Any) -> Any:
    """Return a value as Go writes it: every number is a double, and a whole one has no point."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def _kept(value: Any) -> Any:
    """Return a value of metadata as MLMD gives it back; it keeps no null."""
    assert isinstance(value, str | int | float), value
    return _whole(value)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON: the launcher cannot read it")
