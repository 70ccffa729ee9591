"""A kind cluster, its services at loopback, and runs that are removed after a test."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from kind_scenarios import SCENARIOS, SMALL

from accrete.config.pod import POD_LABELS
from accrete.errors import AccreteError
from accrete.store import keys
from accrete.store._ports import free_ports
from accrete.store.object_store import ObjectStore
from accrete.store.settings import StoreSettings, parse_store_uri

CLUSTER = os.environ.get("CLUSTER", "accrete")
IMAGE = os.environ.get("IMAGE", "accrete-trainer:0.1.0-cpu")
WORKER = f"{CLUSTER}-worker"
RUN_TIMEOUT_S = 1500
"""Of one run; a test's own limit is in its mark."""

REPOSITORY = Path(__file__).parents[2]
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")

Document = dict[str, Any]
T = TypeVar("T")


def kubectl(*arguments: str, timeout_s: float = 60) -> str:
    """Return what kubectl says of our cluster."""
    done = subprocess.run(
        ["kubectl", "--context", f"kind-{CLUSTER}", *arguments],
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(what: str, look: Callable[[], T | None], timeout_s: float = RUN_TIMEOUT_S) -> T:
    """Return the first thing that a look finds; fail where it finds none in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(2)
    raise AssertionError(f"not within {timeout_s} s: {what}")


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """Reach a service of the cluster at a port of loopback, also after its pod was replaced."""
    (free,) = free_ports(1)
    stop, ready = threading.Event(), threading.Event()
    processes: list[subprocess.Popen[str]] = []

    def forward() -> None:
        while not stop.is_set():
            process = subprocess.Popen(
                ["kubectl", "--context", f"kind-{CLUSTER}", "-n", namespace, "port-forward",
                 f"service/{service}", f"{free}:{port}"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            processes[:] = [process]
            assert process.stdout is not None
            for line in process.stdout:
                if "Forwarding from" in line:
                    ready.set()
                if "lost connection" in line:  # to the pod: kubectl may stay, and forward nothing
                    process.terminate()
            process.wait()
            stop.wait(1)

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        assert ready.wait(60), f"service {service} in {namespace} cannot be reached"
        yield free
    finally:
        stop.set()
        for process in processes:
            process.terminate()
        thread.join(30)


@dataclass
class Bench:
    """Where a test submits runs, looks at them, and has them removed."""

    settings: StoreSettings
    endpoint: str
    kubeconfig: Path
    folder: Path
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        import kfp

        self.client = kfp.Client(host=self.endpoint)
        self.store = ObjectStore(self.settings, parse_store_uri("s3://accrete"))

    def new_name(self) -> str:
        """Return a name for a run, which is removed after the test."""
        self.names.append(f"kind-{uuid4().hex[:8]}")
        return self.names[-1]

    def command(self, scenario: str, name: str, *options: str) -> list[str]:
        """Return the command line of a scenario. Its seed is its name's: it finds no stage done."""
        verb, *own = SCENARIOS[scenario]
        program = [str(Path(sys.executable).with_name("accrete")), verb]
        if scenario == "digits":  # the other way to say the same
            kfp = Path(sys.executable).with_name("kfp")
            program = [str(kfp), "run", str(REPOSITORY / "pipelines" / "incremental.py")]
        seed = str(int(name.rpartition("-")[2], 16) % 10_000)
        given = [*SMALL, *own, *options]
        for option, value in (
            ("--image", IMAGE), ("--gpus", "1"), ("--seed", seed),
            ("--endpoint", self.endpoint), ("--name", name),
        ):  # fmt: skip
            if option not in given:
                given += [option, value]
        return [*program, *given]

    def environment(self) -> dict[str, str]:
        """Return the variables of a command."""
        return (
            os.environ
            | self.settings.as_environment()
            | {
                "ACCRETE_HOME": str(self.folder),
                "KUBECONFIG": str(self.kubeconfig),
                "PYTHONUNBUFFERED": "1",  # what is said is read as it is said
            }
        )

    def submit(self, scenario: str, name: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Submit a scenario as a user does; where it says `--watch`, return after its end."""
        return subprocess.run(
            self.command(scenario, name, *options), env=self.environment(), cwd=self.folder,
            capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False,
        )  # fmt: skip

    def accrete(self, *arguments: str) -> str:
        """Return what a command says."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("accrete")), *arguments],
            env=self.environment(), cwd=self.folder,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_ids(self, name: str) -> list[str]:
        """Return the ids of the runs of a name, the newest first."""
        runs = self.client.list_runs(sort_by="created_at desc", page_size=50).runs or []
        return [run.run_id for run in runs if run.display_name == name]

    def run_id(self, name: str) -> str:
        """Return the id of the newest run of a name."""
        ids = self.run_ids(name)
        assert ids, f"Kubeflow knows no run {name}"
        return ids[0]

    def state(self, name: str) -> str:
        """Return the state of the newest run of a name."""
        return str(self.client.get_run(self.run_id(name)).state)

    def end_of(self, name: str) -> str:
        """Return the state in which the newest run of a name ends."""

        def ended() -> str | None:
            with suppress(OSError, AccreteError):
                state = self.state(name)
                return state if state in ENDED else None
            return None

        return until(f"run {name} ends", ended)

    def pods(self, name: str) -> list[Document]:
        """Return the pods of the steps of the newest run of a name."""
        selector = ",".join(f"{key}={value}" for key, value in POD_LABELS.items())
        selector += f",pipeline/runid={self.run_id(name)}"
        found = kubectl("-n", "kubeflow", "get", "pods", "-l", selector, "-o", "json")
        return list(json.loads(found)["items"])

    def note(self, key: str) -> bytes | None:
        """Return a note of the store; None: there is none, or the store is away."""
        with suppress(AccreteError):
            return self.store.read_note(key)
        return None

    def step(self, name: str, first_stage: int) -> Document | None:
        """Return what a training step says of itself."""
        note = self.note(keys.step_key(name, keys.train_step_name(first_stage)))
        return json.loads(note) if note else None

    def report(self, name: str) -> Document:
        """Return a finished run's report."""
        note = self.note(keys.report_key(name, "report.json"))
        assert note is not None
        return dict(json.loads(note))

    def snapshots(self) -> set[str]:
        """Return the keys of all snapshots of stages in training."""
        with suppress(AccreteError):
            return set(self.store.list_keys(keys.snapshot_prefix()))
        return set()

    def training_pod(self, name: str, first_stage: int, before: set[str]) -> str:
        """Wait until a stage trains and has saved a snapshot; return the name of its pod.

        Args:
            name: of the run.
            first_stage: of the step.
            before: snapshots that were there when it was submitted.
        """

        def begun() -> Document | None:
            step = self.step(name, first_stage)
            state = self.state(name)
            assert step or state not in ENDED, f"{name} ended before stage {first_stage}: {state}"
            return step

        def found() -> str | None:
            step = begun()
            assert step is None or step["state"] == "running", f"too late: {step}"
            running = [pod for pod in self.pods(name) if pod["status"]["phase"] == "Running"]
            has_saved = bool(self.snapshots() - before - others)
            return running[0]["metadata"]["name"] if has_saved and running else None

        until(f"stage {first_stage} of {name} begins", begun)
        others = self.snapshots()  # of the stage before, until they are removed
        return until(f"stage {first_stage} of {name} saves a snapshot", found)

    def remove(self) -> None:
        """End and remove what the test's runs left: workflows, pods, journals."""
        for name in self.names:
            for run_id in self.run_ids(name):
                if self.client.get_run(run_id).state not in ENDED:
                    self.client.terminate_run(run_id)
                kubectl(
                    "-n", "kubeflow", "delete", "workflows.argoproj.io", "--ignore-not-found",
                    "-l", f"pipeline/runid={run_id}", timeout_s=180,
                )  # fmt: skip
            with suppress(AssertionError):  # a run that never began left nothing in the store
                self.accrete("forget", name, "--delete")
