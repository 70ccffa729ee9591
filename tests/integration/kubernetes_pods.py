"""A stand-in for the Kubernetes API as far as a run's pods, events and workflow go; read-only.

Lists as the API does: by label, by field, in one namespace or in all, each a right of its own. No
real API server was to be had: what it answers was written after the Kubernetes API's documentation.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kfp_api import running

Object = dict[str, Any]
TOKEN = "token-of-the-kubeconfig"
PLUGIN_API = "client.authentication.k8s.io/v1"


class PodCluster(ThreadingHTTPServer):
    """The objects of a cluster."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pods: list[Object] = []
        self.events: list[Object] = []
        self.workflows: list[Object] = []
        self.may_list_all = True
        self.may_list = True
        self.paths: list[str] = []

    def kubeconfig(self, folder: Path, *plugin: str) -> Path:
        """Write the file by which clients find it; its credentials are a program's where named."""
        ask = (
            {"apiVersion": PLUGIN_API, "command": plugin[0], "args": [*plugin[1:]]}
            if plugin
            else {}
        )
        user = {"exec": ask} if plugin else {"token": TOKEN}
        path = folder / "kubeconfig"
        path.write_text(
            yaml.safe_dump({
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [
                    {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.server_port}"}}
                ],
                "users": [{"name": "u", "user": user}],
            })
        )  # fmt: skip
        return path

    def listed(self, kind: str, namespace: str | None, query: dict[str, str]) -> list[Object]:
        """Return the objects of a kind."""
        label, field = query.get("labelSelector", ""), query.get("fieldSelector", "")
        found = []
        for each in {"pods": self.pods, "events": self.events, "workflows": self.workflows}[kind]:
            metadata = each["metadata"]
            labels = {f"{key}={value}" for key, value in metadata.get("labels", {}).items()}
            involved = f"involvedObject.name={each.get('involvedObject', {}).get('name')}"
            if (
                (namespace is None or metadata["namespace"] == namespace)
                and (not label or label in labels)
                and (not field or field == involved)
            ):
                found.append(each)
        return found


class _Handler(BaseHTTPRequestHandler):
    server: PodCluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""

    def answer(self, value: Any, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status: int, message: str) -> None:
        self.answer(
            {"kind": "Status", "status": "Failure", "message": message, "code": status}, status
        )

    def do_GET(self) -> None:
        server, url = self.server, urlsplit(self.path)
        server.paths.append(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        namespace = parts[parts.index("namespaces") + 1] if "namespaces" in parts else None
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse(401, "Unauthorized")
        elif not server.may_list or (namespace is None and not server.may_list_all):
            self.refuse(403, f'{parts[-1]} is forbidden: User "u" cannot list resource')
        else:
            items = server.listed(parts[-1], namespace, query)
            begin, size = int(query.get("continue", 0)), int(query.get("limit", 500))
            rest = {"continue": str(begin + size)} if begin + size < len(items) else {}
            self.answer({"kind": "List", "metadata": rest, "items": items[begin : begin + size]})


@contextmanager
def pod_cluster() -> Iterator[PodCluster]:
    """Run one."""
    server = PodCluster()
    with running(server):
        yield server


def pod(
    run_id: str, node: str, status: Object, *, name: str = "", namespace: str = "kubeflow",
    created: str = "2026-11-27T10:00:00Z", **metadata: Any,
) -> Object:  # fmt: skip
    """Return a pod as Argo makes it for a step: labels and annotations as on a recorded one."""
    return {
        "metadata": {
            "name": name or f"run-x7-{abs(hash(node)) % 10**9}",
            "namespace": namespace,
            "creationTimestamp": created,
            "labels": {"pipeline/runid": run_id, "workflows.argoproj.io/workflow": "run-x7"},
            "annotations": {"workflows.argoproj.io/node-name": node},
            **metadata,
        },
        "spec": {
            "nodeName": "worker-1",
            "containers": [
                {"name": "main", "resources": {"limits": {"memory": "300M"}}},
                {"name": "wait"},
            ],
        },
        "status": status,
    }


def event(of: Object, reason: str, message: str, *, kind: str = "Warning", at: str) -> Object:
    """Return an event of a pod."""
    metadata = of["metadata"]
    return {
        "metadata": {"name": f"{metadata['name']}.{at}", "namespace": metadata["namespace"]},
        "involvedObject": {"kind": "Pod", "name": metadata["name"]},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
    }


def waiting(container: str, reason: str, message: str, image: str = "") -> Object:
    """Return the status of a container that waits."""
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": container, "image": image, "state": state}
