"""A real Prometheus and a real Pushgateway on loopback, for the length of a test."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import pytest
import yaml
from conftest import HANGS_S
from yaml_sample import document_in

from accrete.store._ports import free_ports

MANIFESTS = Path(__file__).parents[2] / "manifests" / "components" / "monitoring"
START_TIMEOUT_S = HANGS_S

T = TypeVar("T")


def binary(name: str) -> str:
    """Return the path of a server's program; skip the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: apt-get install prometheus prometheus-pushgateway")
    return path


def eventually(look: Callable[[], T], what: str, timeout_s: float = START_TIMEOUT_S) -> T:
    """Return the first true value that looking gives."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come in {timeout_s:.0f} s")


def get(url: str) -> bytes | None:
    """Return what an address answers, None while nothing does.

    Raises:
        PermissionError: it wants credentials.
    """
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310  ours, on loopback
            data: bytes = response.read()
            return data
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError) and error.code == 401:
            raise PermissionError(url) from error
        return None


def _answers(url: str) -> bool:
    """Return whether a server is ready, be it to ask for credentials."""
    try:
        return get(url) is not None
    except PermissionError:
        return True


@contextmanager
def serving(command: list[str], ready_url: str, log: Path) -> Iterator[None]:
    """Run a server while the block runs."""
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        eventually(lambda: _answers(ready_url) or server.poll() is not None, command[0])
        assert server.poll() is None, log.read_text()
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Prometheus:
    """What a running Prometheus is asked."""

    def __init__(self, url: str) -> None:
        self.url = url

    def values(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of all that an expression gives now."""
        data = get(f"{self.url}/api/v1/query?query={quote(expression)}")
        assert data is not None
        answer = json.loads(data)
        assert answer["status"] == "success", answer
        return [(found["metric"], float(found["value"][1])) for found in answer["data"]["result"]]

    def value(self, expression: str) -> float | None:
        """Return the only value that an expression gives now, None without any."""
        found = self.values(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules as they were loaded and last evaluated."""
        data = get(f"{self.url}/api/v1/rules")
        assert data is not None
        return [rule for group in json.loads(data)["data"]["groups"] for rule in group["rules"]]


def scrape_config(step_port: int) -> dict[str, Any]:
    """Return a scrape job of the PodMonitor's own relabelings, with pods as the cluster shows them.

    The operator makes such a job of it; discovery by file gives the labels that discovery by
    Kubernetes would: two containers of a step's pod, and two pods that are none of ours.
    """
    monitor = document_in((MANIFESTS / "pod-monitor.yaml").read_text())["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    label = "__meta_kubernetes_pod_label_pipelines_kubeflow_org_v2_component"
    annotation = "__meta_kubernetes_pod_annotation_prometheus_io"
    step = {
        "__meta_kubernetes_pod_ip": "127.0.0.1",
        "__meta_kubernetes_pod_phase": "Running",
        f"{annotation}_scrape": "true",
        f"{annotation}_port": str(step_port),
        label: "true",
    }
    targets = [
        step | {"container": "main"},
        step | {"container": "wait"},
        {name: value for name, value in step.items() if name != label},
        step | {f"{annotation}_scrape": "false"},
        step | {f"{annotation}_port": "http"},
        step | {"__meta_kubernetes_pod_phase": "Succeeded"},
    ]
    return {
        "job_name": "steps",
        "metrics_path": endpoint["path"],
        "scrape_interval": "250ms",
        "scrape_timeout": "250ms",
        "static_configs": [{"targets": ["127.0.0.1"], "labels": labels} for labels in targets],
        "relabel_configs": [_snake(one) for one in endpoint["relabelings"]],
        "metric_relabel_configs": [_snake(one) for one in endpoint["metricRelabelings"]],
    }


def _snake(relabeling: dict[str, Any]) -> dict[str, Any]:
    """Return a relabeling as Prometheus itself spells it."""
    names = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return {names.get(name, name): value for name, value in relabeling.items()}


@contextmanager
def prometheus(folder: Path, step_port: int, pushgateway: str) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes a step's port and a Pushgateway, with our rules."""
    program = binary("prometheus")
    folder.mkdir()
    rules = document_in((MANIFESTS / "rules.yaml").read_text())["spec"]
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    gateway = {
        "job_name": "pushgateway",
        "honor_labels": True,
        "scrape_interval": "250ms",
        "scrape_timeout": "250ms",
        "static_configs": [{"targets": [pushgateway.removeprefix("http://")]}],
    }
    config = {
        "global": {"evaluation_interval": "500ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [scrape_config(step_port), gateway],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with serving(command, f"{url}/-/ready", folder / "prometheus.log"):
        yield Prometheus(url)


@contextmanager
def running_pushgateway(folder: Path, *options: str) -> Iterator[str]:
    """Run a Pushgateway; gives its address."""
    program = binary("prometheus-pushgateway")
    folder.mkdir()
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [program, f"--web.listen-address=127.0.0.1:{port}", *options]
    command.append("--persistence.file=")  # Debian's keeps what it has, in a file for the machine
    with serving(command, f"{url}/-/ready", folder / "pushgateway.log"):
        yield url


def pushed(url: str) -> dict[str, dict[str, Any]]:
    """Return the groups of a Pushgateway by step, as its API gives them."""
    data = get(f"{url}/api/v1/metrics")
    assert data is not None
    return {group["labels"].get("step", "?"): group for group in json.loads(data)["data"]}


def pushed_value(url: str, step: str, name: str, **labels: str) -> float | None:
    """Return a figure of a step's group, None where it was not pushed."""
    for metric in pushed(url).get(step, {}).get(name, {}).get("metrics", []):
        if labels.items() <= metric["labels"].items():
            return float(metric["value"])
    return None
