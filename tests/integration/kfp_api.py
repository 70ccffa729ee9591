"""A stand-in for Kubeflow Pipelines' API server, and for what people have in front of it.

The real one comes only as a container image with a database and Argo beside it. What it answers was
written after its source (2.17.0: backend/src/apiserver/main.go, server/run_server.go,
server/api_converter.go, frontend/server/handlers/healthz.ts); what gates answer after dex's,
oauth2-proxy's, Istio's and nginx's own words. It keeps runs and experiments as the API does.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit
from uuid import uuid4

from certificates import ServerFiles

Object = dict[str, Any]
Gate = Callable[["Handler"], bool]
"""Answers a request, or lets it pass: returns whether it answered."""

NOW = "%Y-%m-%dT%H:%M:%SZ"
CODES = {3: 400, 5: 404, 6: 409, 7: 403, 13: 500, 16: 401}
"""HTTP's status for gRPC's, as grpc-gateway has it."""
LOGIN_PAGE = """<!DOCTYPE html><html><head><title>dex</title></head><body>
<h2>Log in to Your Account</h2><form method="post"><input name="password" type="password"></form>"""


class RefusalError(Exception):
    """An answer of grpc-gateway that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class KfpApi(ThreadingHTTPServer):
    """Runs and experiments; tests set what is in front of them, and how runs go."""

    daemon_threads = True

    def __init__(self, files: ServerFiles | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if files is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        self.prefix = ""
        self.gates: list[Gate] = []
        self.multi_user = False
        self.has_version_2 = True
        self.states = ["RUNNING", "SUCCEEDED"]
        self.error = ""
        self.workflow: Object | None = None
        self.tasks: list[Object] = []
        self.drop_creations = 0  # so many runs are created, and the answer cut off
        self.lose_creations = 0  # so many requests to create are cut off before they are done
        self.keeps_descriptions = True
        self.experiments: dict[str, Object] = {}
        self.runs: dict[str, Object] = {}
        self.recurring_runs: dict[str, Object] = {}
        self.posted: list[Object] = []
        self.seen: list[tuple[str, str]] = []  # method and path
        self.headers_seen: list[dict[str, str]] = []

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}{self.prefix}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that trusts no certificate hangs up: no news."""

    def healthz(self) -> Object:
        return {
            "commit_sha": "7b70c7b",
            "tag_name": "2.17.0",
            "multi_user": self.multi_user,
            "pipeline_store": "database",
        }

    def create_experiment(self, body: Object) -> Object:
        self._check_namespace(body.get("namespace"))
        if any(each["display_name"] == body["display_name"] for each in self.experiments.values()):
            raise RefusalError(6, f"Already exist error: The name {body['display_name']} exists")
        experiment = {
            "experiment_id": str(uuid4()),
            "display_name": body["display_name"],
            "created_at": datetime.now(UTC).strftime(NOW),
            "namespace": body.get("namespace", "") if self.multi_user else "",
        }
        self.experiments[experiment["experiment_id"]] = experiment
        return experiment

    def create_run(self, body: Object) -> Object:
        if "refuse" in body["display_name"]:
            raise RefusalError(3, "Failed to create a new run: Invalid input error: no")
        experiment = self.experiments.get(body["experiment_id"])
        if experiment is None:
            raise RefusalError(5, f"Experiment {body['experiment_id']} not found")
        run = {
            "run_id": str(uuid4()),
            "experiment_id": body["experiment_id"],
            "display_name": body["display_name"],
            "description": body.get("description", "") if self.keeps_descriptions else "",
            "created_at": datetime.now(UTC).strftime(NOW),
            "finished_at": "1970-01-01T00:00:00Z",
            "pipeline_spec": body["pipeline_spec"],
            "namespace": experiment["namespace"],
        }
        self.runs[run["run_id"]] = run
        self.posted.append(body)
        return self.shown(run)

    def create_recurring_run(self, body: Object) -> Object:
        """Source: resource_manager.go, CreateJob; api_converter.go, toApiRecurringRun."""
        if body["experiment_id"] not in self.experiments:
            raise RefusalError(5, f"Experiment {body['experiment_id']} not found")
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise RefusalError(3, "The max concurrency of the recurring run is out of range")
        trigger = body.get("trigger", {})
        if "cron_schedule" in trigger:
            if len(trigger["cron_schedule"]["cron"].split()) != 6:
                raise RefusalError(3, "Schedule cron is not a valid cron")
        elif int(trigger.get("periodic_schedule", {}).get("interval_second", 0)) < 1:
            raise RefusalError(
                3, "Found invalid period schedule interval. Set at interval to least 1"
            )
        made = {
            **body,
            "recurring_run_id": str(uuid4()),
            "status": "ENABLED",
            "created_at": datetime.now(UTC).strftime(NOW),
            "namespace": self.experiments[body["experiment_id"]]["namespace"],
        }
        self.recurring_runs[made["recurring_run_id"]] = made
        return made

    def shown(self, run: Object, is_alone: bool = True) -> Object:
        """Return a run as the API has it; each look at it alone is a state further."""
        state = self.states.pop(0) if is_alone and len(self.states) > 1 else self.states[0]
        state = run.get("state", state)
        shown = {key: value for key, value in run.items() if key != "namespace"}
        shown["state"] = state
        if self.error:
            shown["error"] = {"code": 13, "message": self.error}
        if self.tasks:
            shown["run_details"] = {"task_details": self.tasks}
        return shown

    def listed(self, objects: dict[str, Object], query: Object) -> list[Object]:
        self._check_namespace(query.get("namespace"))
        predicates = json.loads(unquote_plus(query.get("filter") or "{}")).get("predicates", [])
        for predicate in predicates:
            assert predicate["operation"] in (1, "EQUALS")
            assert predicate["key"] == "display_name"
        names = {predicate["stringValue"] for predicate in predicates}
        found = [each for each in objects.values() if not names or each["display_name"] in names]
        namespace = query.get("namespace")
        found = [each for each in found if not namespace or each["namespace"] == namespace]
        return found[::-1]

    def _check_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise RefusalError(
                3, "Invalid input error: A run cannot have an empty namespace in multi-user mode"
            )


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: KfpApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        self.say(json.dumps(value), status, "application/json", **headers)

    def say(self, text: str, status: int, kind: str = "text/plain", **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def hang_up(self) -> None:
        self.close_connection = True
        self.connection.close()

    def handle_request(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.body = json.loads(self.rfile.read(size)) if size else {}
        server = self.server
        server.seen.append((self.command, self.path))
        server.headers_seen.append({k.lower(): v for k, v in self.headers.items()})
        if any(gate(self) for gate in list(server.gates)):
            return
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if server.prefix and not url.path.startswith(f"{server.prefix}/"):
            self.say("404 page not found\n", 404)
            return
        try:
            self.route(url.path.removeprefix(server.prefix), query)
        except RefusalError as refusal:
            message = str(refusal)
            answer = {"error": message, "code": refusal.code, "message": message, "details": []}
            self.answer(answer, CODES[refusal.code])

    def route(self, path: str, query: Object) -> None:
        server, parts = self.server, path.strip("/").split("/")
        if path == "/apis/v1beta1/healthz":
            self.answer({"commit_sha": "", "tag_name": "1.8.22", "multi_user": False})
        elif path.startswith("/apis/v1beta1/runs/") and server.workflow is not None:
            manifest = json.dumps(server.workflow)
            self.answer({"run": {}, "pipeline_runtime": {"workflow_manifest": manifest}})
        elif parts[:2] != ["apis", "v2beta1"] or not server.has_version_2:
            self.answer({"error": "Not Found", "code": 5, "message": "Not Found"}, 404)
        elif parts[2:] == ["healthz"]:
            self.answer(server.healthz())
        elif parts[2:] == ["experiments"] and self.command == "GET":
            self.answer({"experiments": server.listed(server.experiments, query)})
        elif parts[2:] == ["experiments"]:
            self.answer(server.create_experiment(self.body))
        elif parts[2] == "recurringruns":
            self.route_recurring(parts[3:], query)
        elif parts[2:] == ["runs"] and self.command == "GET":
            runs = [server.shown(run, False) for run in server.listed(server.runs, query)]
            self.answer({"runs": runs} if runs else {})
        elif parts[2:] == ["runs"]:
            self.create_run()
        elif self.command == "POST" and parts[-1].partition(":")[0] in server.runs:
            server.runs[parts[-1].partition(":")[0]]["state"] = "CANCELING"
            self.answer({})
        elif parts[2] == "runs" and parts[3] in server.runs:
            self.answer(server.shown(server.runs[parts[3]]))
        else:
            raise RefusalError(5, f"Failed to get a run: ResourceNotFoundError: Run {parts[-1]}")

    def route_recurring(self, parts: list[str], query: Object) -> None:
        server = self.server
        if not parts and self.command == "GET":
            found = server.listed(server.recurring_runs, query)
            self.answer({"recurringRuns": found, "total_size": len(found)} if found else {})
        elif not parts:
            self.answer(server.create_recurring_run(self.body))
        elif self.command == "DELETE" and server.recurring_runs.pop(parts[0], None) is not None:
            self.answer({})
        else:
            raise RefusalError(5, f"Recurring run {parts[0]} not found")

    def create_run(self) -> None:
        server = self.server
        if server.lose_creations:
            server.lose_creations -= 1
            self.hang_up()
            return
        created = server.create_run(self.body)
        if server.drop_creations:
            server.drop_creations -= 1
            self.hang_up()
        else:
            self.answer(created)

    do_GET = do_POST = do_DELETE = handle_request


def redirecting(location: str, cookie: str = "authservice_session=good-session") -> Gate:
    """As oauth2-proxy and dex do: who has no session goes to a login."""

    def gate(handler: Handler) -> bool:
        if cookie in (handler.headers.get("Cookie") or ""):
            return False
        handler.say("", 302, Location=location)
        return True

    return gate


def paging(page: str, status: int = 200) -> Gate:
    """A page of HTML for everything."""

    def gate(handler: Handler) -> bool:
        handler.say(page, status, "text/html; charset=utf-8")
        return True

    return gate


def bearing(*tokens: str) -> Gate:
    """Takes one of these tokens; tests may change the list."""

    def gate(handler: Handler) -> bool:
        if handler.headers.get("Authorization") in {f"Bearer {token}" for token in tokens}:
            return False
        handler.say("Unauthorized", 401, WWW_Authenticate='Bearer realm="kfp"')
        return True

    return gate


def saying(text: str, status: int, kind: str = "text/plain", **headers: str) -> Gate:
    """The same for everything."""

    def gate(handler: Handler) -> bool:
        handler.say(text, status, kind, **headers)
        return True

    return gate


def failing(times: int, gate: Gate) -> Gate:
    """A gate for so many requests; then it is open."""
    left = [times]

    def counted(handler: Handler) -> bool:
        if not left[0]:
            return False
        left[0] -= 1
        return gate(handler)

    return counted


def hanging_up(handler: Handler) -> bool:
    """Closes the connection without an answer."""
    handler.hang_up()
    return True


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """Run a server."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def kfp_at(files: ServerFiles | None = None) -> Iterator[KfpApi]:
    """Run an API server of its own; with files it speaks TLS."""
    server = KfpApi(files)
    with running(server):
        yield server
