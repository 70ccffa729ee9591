"""A stand-in for the Kubernetes API server, as far as TrainJobs go: TLS, tokens, rights, streams.

Keeps objects as the API does (uid, resourceVersion, conflicts, deletion in the foreground) and
takes no field that Trainer's schema does not have, where a real one would drop it. No real API
server was to be had: what it answers was written after the Kubernetes API's documentation.
"""

import copy
import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Condition, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from conftest import HANGS_S
from kubeflow_trainer_api import models

Object = dict[str, Any]

NAMESPACE = "accrete"
USER = f"system:serviceaccount:{NAMESPACE}:default-editor"
PATH = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
VERBS = ("create", "get", "list", "watch", "delete")


class RefusalError(Exception):
    """An answer that is a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


class Cluster:
    """The TrainJobs of a namespace; tests play Trainer's controller by setting their status."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.verbs = set(VERBS)
        self.has_trainer = True
        self.denial: str | None = None
        self.failures = 0  # so many requests are answered with 503
        self.oldest_version = 0  # what is older was forgotten
        self.requests: list[str] = []
        self.jobs: dict[str, Object] = {}
        self.num_created = 0
        self._events: list[tuple[int, str, Object]] = []
        self._version = 100
        self.changed = Condition()

    def record(self, kind: str, job: Object) -> None:
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)
        self._events.append((self._version, kind, copy.deepcopy(job)))
        self.changed.notify_all()

    def create(self, job: Object) -> Object:
        check_job(job, self.denial)
        with self.changed:
            name = job["metadata"]["name"]
            if name in self.jobs:
                raise RefusalError(
                    409, "AlreadyExists", f'trainjobs.trainer.kubeflow.org "{name}" already exists'
                )
            job["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
            self.jobs[name] = job
            self.num_created += 1
            self.record("ADDED", job)
            return copy.deepcopy(job)

    def get(self, name: str) -> Object:
        with self.changed:
            if name not in self.jobs:
                raise RefusalError(
                    404, "NotFound", f'trainjobs.trainer.kubeflow.org "{name}" not found'
                )
            return copy.deepcopy(self.jobs[name])

    def delete(self, name: str, options: Object) -> Object:
        job = self.get(name)
        with self.changed:
            wanted = options.get("preconditions", {}).get("uid", job["metadata"]["uid"])
            if wanted != job["metadata"]["uid"]:
                raise RefusalError(409, "Conflict", "the UID in the precondition does not match")
            job = self.jobs[name]
            if options.get("propagationPolicy") == "Foreground":
                job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
                self.record("MODIFIED", job)
            else:
                self.remove(name)
            return copy.deepcopy(job)

    def remove(self, name: str) -> None:
        """End a job's deletion, as the garbage collector does once its pods are gone."""
        with self.changed:
            self.record("DELETED", self.jobs.pop(name))

    def set_status(self, name: str, **status: Any) -> None:
        with self.changed:
            self.jobs[name]["status"] = status
            self.record("MODIFIED", self.jobs[name])

    def condition(self, name: str, kind: str, reason: str, message: str) -> None:
        self.set_status(name, conditions=[
            {"type": "Suspended", "status": "False", "reason": "Resumed", "message": "",
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": kind, "status": "True", "reason": reason, "message": message,
             "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ])  # fmt: skip

    def ready(self, name: str, *, nodes: bool) -> None:
        """Say that the child job's pods are all ready, or that none is."""
        self.set_status(name, jobsStatus=[
            {"name": "node", "ready": int(nodes), "active": 1,
             "failed": 0, "succeeded": 0, "suspended": 0},
        ])  # fmt: skip

    def next_job(self, timeout_s: float = 30) -> str:
        """Wait until there is a job that is not going, and return its name."""
        with self.changed:
            assert self.changed.wait_for(self._alive, timeout_s), "no TrainJob was created"
            return self._alive()[0]

    def _alive(self) -> list[str]:
        return [n for n, j in self.jobs.items() if "deletionTimestamp" not in j["metadata"]]

    def events_after(self, version: int, name: str, timeout_s: float) -> Iterator[Object]:
        if version < self.oldest_version:
            status = RefusalError(410, "Expired", f"too old resource version: {version}").status
            yield {"type": "ERROR", "object": status}
            return
        while True:
            with self.changed:
                fresh = [e for e in self._events if e[0] > version]
                if not fresh and not self.changed.wait(timeout_s):
                    return
            for number, kind, job in fresh:
                version = number
                if job["metadata"]["name"] == name:
                    yield {"type": kind, "object": job}


def check_job(job: Object, denial: str | None) -> None:
    """Refuse what Trainer's schema, its rules or its webhook refuse.

    Raises:
        RefusalError: so it is.
    """
    try:
        read = models.TrainerV1alpha1TrainJob.from_dict(copy.deepcopy(job))
        same = read is not None and read.to_dict() == job
    except ValueError as error:
        raise RefusalError(422, "Invalid", f"TrainJob is invalid: {error}") from error
    if not same:
        raise RefusalError(422, "Invalid", "TrainJob is invalid: unknown field")
    name = job["metadata"]["name"]
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(f"{name}-node-0-0-abcde") > 63:
        raise RefusalError(422, "Invalid", f"metadata.name {name!r} is invalid")
    if any(v["name"].startswith("PET_") for v in job["spec"]["trainer"]["env"]):
        denial = "must not have reserved envs"
    for patch in job["spec"]["runtimePatches"]:
        if not re.fullmatch(r"[a-z0-9.-]+\.[a-z0-9-]+/[A-Za-z0-9_.-]+", patch["manager"]):
            denial = "manager must be a domain-prefixed path"
    if denial:
        prefix = 'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '
        raise RefusalError(403, "Forbidden", prefix + denial)


class Handler(BaseHTTPRequestHandler):
    """One connection to the API."""

    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""

    def answer(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def allow(self, verb: str) -> None:
        cluster = self.cluster
        cluster.requests.append(verb)
        if cluster.failures:
            cluster.failures -= 1
            raise RefusalError(503, "ServiceUnavailable", "etcd has no leader")
        token = (cluster.folder / "token").read_text()
        if (self.headers.get("Authorization") or "").lower() != f"bearer {token}".lower():
            raise RefusalError(401, "Unauthorized", "Unauthorized")
        if verb not in cluster.verbs:
            raise RefusalError(
                403,
                "Forbidden",
                f'trainjobs.trainer.kubeflow.org is forbidden: User "{USER}" cannot {verb} '
                f'resource "trainjobs" in API group "trainer.kubeflow.org" in the namespace '
                f'"{NAMESPACE}"',
            )

    def handle_verb(self, verb: str) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else {}
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name = url.path.removeprefix(PATH).strip("/")
        if verb == "get" and not name:
            verb = "watch" if query.get("watch") in ("true", "True") else "list"
        try:
            self.allow(verb)
            if not self.cluster.has_trainer or not url.path.startswith(PATH):
                self.send_response(404)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", "19")
                self.end_headers()
                self.wfile.write(b"404 page not found\n")
            elif verb == "create":
                self.answer(201, self.cluster.create(body))
            elif verb == "get":
                self.answer(200, self.cluster.get(name))
            elif verb == "delete":
                self.answer(200, self.cluster.delete(name, body))
            elif verb == "watch":
                self.stream(query)
            else:
                raise RefusalError(405, "MethodNotAllowed", verb)
        except RefusalError as refusal:
            self.answer(refusal.status["code"], refusal.status)

    def stream(self, query: dict[str, str]) -> None:
        wanted = query["fieldSelector"].removeprefix("metadata.name=")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        seconds, version = float(query["timeoutSeconds"]), int(query["resourceVersion"])
        try:
            for event in self.cluster.events_after(version, wanted, seconds):
                data = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # the watcher has seen enough

    def do_GET(self) -> None:
        self.handle_verb("get")

    def do_POST(self) -> None:
        self.handle_verb("create")

    def do_DELETE(self) -> None:
        self.handle_verb("delete")


@contextmanager
def running_cluster(folder: Path) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """Run the stand-in; give it and the variables that a pod in it would have.

    Args:
        folder: where a pod's service account is put.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "tls.key", folder / "ca.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=stand-in", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=HANGS_S,
    )  # fmt: skip
    (folder / "token").write_text(uuid4().hex)
    (folder / "namespace").write_text(NAMESPACE)
    cluster = Cluster(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"cluster": cluster}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield (
            cluster,
            {
                "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                "KUBERNETES_SERVICE_PORT": str(server.server_address[1]),
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
            },
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
