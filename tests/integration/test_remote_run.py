"""Submitting to Kubeflow Pipelines, with KFP's own client against a stand-in for its API server.

The real API server comes only as a container image with a database and Argo beside it, so what is
checked here is what the client sends and how answers and failures are shown.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import ROOT, Cli
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from accrete.store._ports import free_ports


class StandIn(ThreadingHTTPServer):
    """Remembers what was posted; a run goes through the states it was given."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.posted: list[tuple[str, Any]] = []
        self.states = ["RUNNING", "SUCCEEDED"]
        self.error = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if "/experiments" in self.path:
            experiment = {"experiment_id": "exp-1", "display_name": "accrete"}
            self.answer({"experiments": [experiment]})
        elif "/runs/" in self.path:
            states = self.server.states
            state = states.pop(0) if len(states) > 1 else states[0]
            error = {"error": {"message": self.server.error}} if self.server.error else {}
            self.answer({"run_id": "run-1", "state": state} | error)
        else:
            self.answer({"multi_user": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, body))
        if "refuse" in str(body.get("display_name")):
            self.answer({"message": "no"}, 400)
        else:
            self.answer({"run_id": "run-1", "experiment_id": "exp-1"})


@pytest.fixture
def kfp_api() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_is_submitted_with_its_pipeline_and_arguments(cli: Cli, kfp_api: StandIn) -> None:
    file = str(ROOT / "pipelines" / "incremental.py")
    options = ("--name", "far", "--alpha", "2", "--endpoint", kfp_api.address)
    done = cli("run", file, *options, script="kfp")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "10 classes: 0 … 9, with 139 to 146 training images each"
    assert lines[3:] == [f"submitted far: {kfp_api.address}/#/runs/details/run-1"]
    (body,) = [body for path, body in kfp_api.posted if path.endswith("/runs")]
    assert body["display_name"] == "far"
    assert body["runtime_config"]["parameters"]["run_name"] == "far"
    spec = body["pipeline_spec"]
    parsed = json_format.ParseDict(spec["pipeline_spec"], pipeline_spec_pb2.PipelineSpec())
    assert "train-stage-3" in parsed.root.dag.tasks
    assert "train-stage-4" not in parsed.root.dag.tasks
    containers = spec["pipeline_spec"]["deploymentSpec"]["executors"]
    assert containers["exec-train-stage"]["container"]["resources"]["accelerator"]
    assert "secretAsEnv" in json.dumps(spec["platform_spec"])


def test_the_endpoint_can_come_from_the_environment(cli: Cli, kfp_api: StandIn) -> None:
    done = cli("run", KFP_ENDPOINT=kfp_api.address)
    assert done.returncode == 0, done.stderr
    assert "\nsubmitted digits-" in done.stdout


def test_watch_follows_to_success(cli: Cli, kfp_api: StandIn) -> None:
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 0, done.stderr
    assert "far: running" in done.stderr
    assert "far: succeeded" in done.stderr


def test_watch_tells_a_failure_and_why(cli: Cli, kfp_api: StandIn) -> None:
    kfp_api.states, kfp_api.error = ["FAILED"], "pod was evicted"
    done = cli("run", "--endpoint", kfp_api.address, "--watch", "--name", "far")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "accrete: error: run 'far' failed: pod was evicted"


def test_a_refused_run_is_one_line(cli: Cli, kfp_api: StandIn) -> None:
    done = cli("run", "--endpoint", kfp_api.address, "--name", "refuse-me")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("accrete: error: Kubeflow Pipelines at")
    assert "400" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_endpoint_is_one_line(cli: Cli) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = cli("run", "--endpoint", endpoint)
    assert done.returncode == 1
    assert f"Kubeflow Pipelines at {endpoint} cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
