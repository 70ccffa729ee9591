"""Kubeflow Pipelines' API of version 2: what answers is proved first, and every refusal is a line.

Not kfp.Client: it takes a login's page for an answer (a run without an id), follows redirects,
knows no proxy variables and no time limits, and prints what fails five times with its stack.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, NoReturn

from accrete.config.kubernetes import check_object_name
from accrete.core.environment import ENV_KFP_UI
from accrete.core.settings import kfp_variable
from accrete.errors import (
    AccreteError,
    ConfigError,
    PipelineAccessError,
    PipelineError,
    PipelineRunGoneError,
    PipelineUnavailableError,
    one_line,
)
from accrete.runners.kubeflow._address import (
    parse_endpoint,
    recurring_run_page,
    run_page,
    runs_page,
)
from accrete.runners.kubeflow._answers import Answer, Refusal, outcome_of, refusal_of
from accrete.runners.kubeflow._http import Http, UnansweredError
from accrete.runners.kubeflow.access import Access, Credentials, default_namespace
from accrete.runners.kubeflow.runs import KfpRun, run_of

_API, _OLD_API = "/apis/v2beta1", "/apis/v1beta1"
_PATIENCE_S = 30.0
_TIMEOUT_S = 30.0
_SUBMIT_TIMEOUT_S = 120.0
_LONGEST_PAUSE_S = 5.0
_EQUALS = 1


class Kubeflow:
    """One Kubeflow Pipelines API."""

    def __init__(
        self, endpoint: str, access: Access | None = None, *, patience_s: float = _PATIENCE_S
    ) -> None:
        """Find the API and prove that it is one of version 2.

        Args:
            endpoint: address of the API or of the UI, or of a page of it.
            access: credentials, namespace and CA; None: what the environment has.
            patience_s: for which what passes is tried again, in seconds.

        Raises:
            ConfigError: the endpoint is no http address, or a credential cannot be used.
            PipelineError: something else answers there, or nothing.
        """
        self._access, self._patience_s = access or Access(), patience_s
        if self._access.namespace is not None:
            check_object_name("namespace", self._access.namespace)
        found = parse_endpoint(endpoint)
        self._settle(found.base)
        try:
            self._health = self._prove()
        except PipelineError as error:
            # What looks like a login, and is no plain 401 or 403, may be a dashboard's own page.
            is_sure = isinstance(error, PipelineAccessError) and error.outcome == "refused"
            if is_sure or isinstance(error, PipelineUnavailableError):
                raise
            raise self._with_hint(error, found.others) from None
        self.namespace = self._chosen_namespace()

    def _with_hint(self, error: PipelineError, others: tuple[str, ...]) -> PipelineError:
        """Return an error that says where else the API is, if it is there."""
        self._patience_s, first = 0.0, self._at
        for base in others:
            self._settle(base)
            try:
                self._prove()
            except AccreteError:
                continue
            if isinstance(error, PipelineAccessError):
                return PipelineError(f"{first} is not there, but at {base}: give that")
            return PipelineError(f"{error}; here it is {base}")
        return error

    def _settle(self, base: str) -> None:
        self.base = base
        self._credentials = Credentials(self._access, base)
        self._http = Http(base, self._access.endpoint_ca)

    def _prove(self) -> Mapping[str, Any]:
        """Return what the API says of its health.

        Raises:
            PipelineError: what answers is not KFP's API of version 2.
        """
        health = self._call("GET", f"{_API}/healthz", otherwise=self._is_version_one)
        if isinstance(health.get("multi_user"), bool):
            return health
        if "apiServerReady" in health:  # the UI answers for its API (frontend/server, healthz.ts)
            raise self._unavailable("is its UI, whose API server does not answer yet")
        keys = one_line(", ".join(sorted(map(str, health))[:5]))[:100]
        raise PipelineError(
            f"{self._at} answers with JSON that is not KFP's (it has {keys or 'nothing in it'}): "
            "give the address of the KFP API"
        )

    def _is_version_one(self, _answer: Answer) -> str | None:
        """Return what to say where the API of version 1 is there, and that of version 2 is not."""
        try:
            old = self._ask("GET", f"{_OLD_API}/healthz")
        except UnansweredError:
            return None
        if old.status != 200 or not isinstance(old.json, dict) or "tag_name" not in old.json:
            return None
        return (
            f"is version 1 ({one_line(str(old.json['tag_name']))[:40]}), which has no "
            f"{_API}: accrete needs Kubeflow Pipelines 2"
        )

    def _chosen_namespace(self) -> str | None:
        named = self._access.namespace
        if not self._health["multi_user"]:
            if named is not None:
                raise ConfigError(
                    f"--namespace {named} has no effect on {self.base}, which has one user "
                    "(multi_user is false): its runs go to its own namespace; leave it out"
                )
            return None
        chosen = named or default_namespace()
        if chosen is None:
            raise ConfigError(
                f"{self._at} has several users (multi_user): give --namespace, the profile's that "
                "the run is to go to"
            )
        return chosen

    @property
    def _at(self) -> str:
        return f"Kubeflow Pipelines at {self.base}"

    def page_of(self, run_id: str) -> str:
        """Return a run's page in the UI."""
        return run_page(kfp_variable(ENV_KFP_UI) or self.base, run_id)

    @property
    def page_of_runs(self) -> str:
        """The page of all runs in the UI."""
        return runs_page(kfp_variable(ENV_KFP_UI) or self.base)

    def experiment_id(self, name: str) -> str:
        """Return an experiment's id; it is made where there is none of this name.

        Raises:
            PipelineError: it cannot be had.
        """
        asked = {"filter": _where("display_name", name), "page_size": "2"}
        found = self._call("GET", f"{_API}/experiments", query=asked | self._in_namespace())
        listed = found.get("experiments") or []
        if not listed:
            body = {"display_name": name} | self._in_namespace()
            try:
                listed = [self._call("POST", f"{_API}/experiments", body=body)]
            except PipelineError:  # somebody else may have made it meanwhile, or a lost request
                found = self._call("GET", f"{_API}/experiments", query=asked | self._in_namespace())
                listed = found.get("experiments") or []
                if not listed:
                    raise
        experiment_id = listed[0].get("experiment_id")
        if not isinstance(experiment_id, str) or not experiment_id:
            raise PipelineError(f"{self._at} gave experiment {name!r} no id: is it KFP's API?")
        return experiment_id

    def create_run(self, body: Mapping[str, Any]) -> str:
        """Return the id of a new run. Asks once: who asks again looks for the run first.

        Raises:
            PipelineError: there is no id; its outcome says whether the run was made all the same.
        """
        created = self._call(
            "POST", f"{_API}/runs", body=body, patience_s=0, timeout_s=_SUBMIT_TIMEOUT_S
        )
        run_id = created.get("run_id")
        if not isinstance(run_id, str) or not run_id:
            raise PipelineError(f"{self._at} gave the run no id: is it KFP's API?")
        return run_id

    def create_recurring_run(self, body: Mapping[str, Any]) -> str:
        """Return the id of a new recurring run. Asks once: a lost request may have been done.

        Raises:
            PipelineError: there is no id; its outcome says whether it was made all the same.
        """
        created = self._call(
            "POST", f"{_API}/recurringruns", body=body, patience_s=0, timeout_s=_SUBMIT_TIMEOUT_S
        )
        found = created.get("recurring_run_id")
        if not isinstance(found, str) or not found:
            raise PipelineError(f"{self._at} gave the recurring run no id: is it KFP's API?")
        return found

    def recurring_runs_named(self, name: str) -> list[Mapping[str, Any]]:
        """Return the recurring runs of a name as the API has them, each with its id.

        Raises:
            PipelineError: they cannot be had.
        """
        query = {"filter": _where("display_name", name), "page_size": "20"}
        asked = query | self._in_namespace()
        listed = self._call("GET", f"{_API}/recurringruns", query=asked).get("recurringRuns")
        return [
            each
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict)
            and each.get("display_name") == name
            and isinstance(each.get("recurring_run_id"), str)
        ]

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Have no more runs made of a recurring run; those that it made stay.

        Raises:
            PipelineError: it is refused.
        """
        self._call("DELETE", f"{_API}/recurringruns/{recurring_run_id}")

    def page_of_recurring(self, recurring_run_id: str) -> str:
        """Return a recurring run's page in the UI."""
        return recurring_run_page(kfp_variable(ENV_KFP_UI) or self.base, recurring_run_id)

    def terminate_run(self, run_id: str) -> None:
        """Have a run stopped.

        Raises:
            PipelineError: it is refused.
        """
        self._call("POST", f"{_API}/runs/{run_id}:terminate", body={})

    def get_run(self, run_id: str, patience_s: float | None = None) -> KfpRun:
        """Return a run.

        Raises:
            PipelineRunGoneError: there is none of this id.
            PipelineError: it cannot be had.
        """
        run = self._call("GET", f"{_API}/runs/{run_id}", patience_s=patience_s)
        if run.get("run_id") != run_id:
            raise PipelineError(f"{self._at} answers with another run than {run_id}")
        return run_of(run)

    def runs_named(self, name: str, patience_s: float | None = None) -> list[KfpRun]:
        """Return the newest runs of a name, the newest first.

        Raises:
            PipelineError: they cannot be had.
        """
        query = {
            "filter": _where("display_name", name),
            "sort_by": "created_at desc",
            "page_size": "20",
        }
        asked = query | self._in_namespace()
        found = self._call("GET", f"{_API}/runs", query=asked, patience_s=patience_s)
        runs = [run_of(run) for run in found.get("runs") or [] if isinstance(run, dict)]
        return [run for run in runs if run.name == name and run.run_id]

    def workflow_of(self, run_id: str) -> Mapping[str, Any] | None:
        """Return the Argo workflow of a run as its API of version 1 has it; None: it has none."""
        found = self._call("GET", f"{_OLD_API}/runs/{run_id}", patience_s=0)
        runtime = found.get("pipeline_runtime")
        text = runtime.get("workflow_manifest") if isinstance(runtime, dict) else None
        try:
            workflow = json.loads(text) if isinstance(text, str) and text else None
        except (ValueError, RecursionError):
            return None
        return workflow if isinstance(workflow, dict) else None

    def _in_namespace(self) -> dict[str, str]:
        return {} if self.namespace is None else {"namespace": self.namespace}

    def _ask(
        self, method: str, path: str, *, timeout_s: float = _TIMEOUT_S, **options: Any
    ) -> Answer:
        headers = self._credentials.headers()
        return self._http.ask(method, path, headers=headers, timeout_s=timeout_s, **options)

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        patience_s: float | None = None,
        timeout_s: float = _TIMEOUT_S,
        otherwise: Callable[[Answer], str | None] | None = None,
    ) -> Mapping[str, Any]:
        """Return the JSON of an answer; what passes is asked again for a while.

        Args:
            method: HTTP's.
            path: of the API.
            query: of the address.
            body: to send as JSON.
            patience_s: for which it is asked again; None: the client's own.
            timeout_s: for an answer.
            otherwise: says what an answer is that is not of this API, if it knows.

        Raises:
            PipelineError: the answer in KFP's place, or that none came, in one line.
        """
        patience_s = self._patience_s if patience_s is None else patience_s
        end, pause_s, has_renewed = time.monotonic() + patience_s, 0.5, False
        while True:
            wanted_s = pause_s
            try:
                answer = self._ask(method, path, query=query, body=body, timeout_s=timeout_s)
            except UnansweredError as error:
                failure = error.failure
                # What does not even connect is an address that is wrong; what was cut off may pass.
                is_over = failure.is_lasting or not failure.was_sent
                if is_over or time.monotonic() + pause_s > end:
                    lost = self._unavailable(failure.words)
                    if not failure.was_sent or failure.is_late:
                        lost.outcome = "late" if failure.is_late else "refused"
                    raise lost from None
            else:
                refusal = refusal_of(answer, self.base, self._credentials.words)
                if refusal is None:
                    value: Mapping[str, Any] = answer.json
                    return value
                outcome = outcome_of(answer)
                may_ask = method == "GET" or outcome == "refused"
                is_new = refusal.kind == "access" and may_ask and not has_renewed
                if is_new and self._credentials.renew():
                    has_renewed = True
                    continue
                wanted_s = max(pause_s, _retry_after(answer))
                if refusal.kind != "away" or time.monotonic() + wanted_s > end:
                    said = otherwise(answer) if otherwise and refusal.kind == "elsewhere" else None
                    self._refuse(Refusal("refused", said) if said else refusal, outcome)
            time.sleep(wanted_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _refuse(self, refusal: Refusal, outcome: Literal["refused", "unknown", "late"]) -> NoReturn:
        kinds: dict[str, type[PipelineError]] = {
            "access": PipelineAccessError,
            "away": PipelineUnavailableError,
            "gone": PipelineRunGoneError,
        }
        words = self._credentials.without_secrets(refusal.words)
        error = kinds.get(refusal.kind, PipelineError)(f"{self._at} {words}")
        error.outcome = outcome
        raise error from None

    def _unavailable(self, words: str) -> PipelineUnavailableError:
        return PipelineUnavailableError(f"{self._at} {words}")


def _where(key: str, value: str) -> str:
    """Return a filter of a list. Source: KFP's filter.proto, list_request_util.go."""
    predicate = {"operation": _EQUALS, "key": key, "stringValue": value}
    text = json.dumps({"predicates": [predicate]})
    # The API server undoes a query's escapes twice.
    return text.replace("%", "\\u0025").replace("+", "\\u002b")


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() and len(text) < 6 else 0.0
