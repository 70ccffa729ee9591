"""Pods, events and Argo's workflow of a run: read by a kubeconfig, or this pod's account."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client import ApiException
from kubernetes.config.incluster_config import InClusterConfigLoader

from accrete.config.pod import RUN_LABEL
from accrete.core.environment import ENV_KUBECONFIG
from accrete.core.settings import SERVICE_ACCOUNT_PATH, is_in_pod, kfp_variable
from accrete.runners.kubeflow._kubeconfig import PluginError, load_kubeconfig
from accrete.runners.kubeflow._objects import Object, at, every
from accrete.runners.kubeflow.waiting import newest_of_steps

_KUBECONFIG = "~/.kube/config"
_TIMEOUT_S = (3, 10)
_OF_KUBEFLOW = "kubeflow"
"""Where a Kubeflow Pipelines of one user runs everything, as its manifests have it."""
_PAGE, _MAX_PAGES = 200, 10
"""Of pods: a run of a hundred stages has some hundred."""
_MAX_ASKED = 30
"""Pods whose events are read in one look: each is a request."""


class ForbiddenLookupError(LookupError):
    """Who asks may not read what is looked for."""


class NothingThereError(LookupError):
    """The cluster lists pods and workflows, and has none of this run."""


class RunObjects:
    """What the cluster has of one run, wherever its pods are."""

    def __init__(self, run_id: str, namespace: str | None) -> None:
        """Find a way to the cluster.

        Args:
            run_id: Kubeflow's id, which is a label of all objects of a run.
            namespace: of the run; None: it is looked for.

        Raises:
            PluginError: the kubeconfig's program gives no credentials.
            LookupError: this machine has no kubeconfig, and is no pod that may ask.
        """
        configuration = client.Configuration()
        configuration.retries = False
        own: str | None = None
        try:
            named = kfp_variable(ENV_KUBECONFIG)
            if is_in_pod() and not named and not Path(_KUBECONFIG).expanduser().is_file():
                folder = Path(SERVICE_ACCOUNT_PATH)
                InClusterConfigLoader(
                    token_filename=str(folder / "token"), cert_filename=str(folder / "ca.crt")
                ).load_and_set(configuration)
                own = (folder / "namespace").read_text().strip()
            else:
                file = named or str(Path(_KUBECONFIG).expanduser())
                own = load_kubeconfig(file, configuration)
        except PluginError:
            raise
        except Exception as error:  # the user's file, plugins it names: any kind
            raise LookupError(type(error).__name__) from None
        if (
            not configuration.verify_ssl
        ):  # the user's kubeconfig says so, and kubectl warns of nothing
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        api = client.ApiClient(configuration)
        self._core: Any = client.CoreV1Api(api)
        self._custom: Any = client.CustomObjectsApi(api)
        self._selector = f"{RUN_LABEL}={run_id}"
        self._namespaces = [namespace] if namespace else [None, _OF_KUBEFLOW, own]

    def read(self) -> tuple[list[Object], list[Object], Object | None]:
        """Return the run's pods, the events of those that do not just work, and its workflow.

        Raises:
            ForbiddenLookupError: it never will.
            NothingThereError: it has none, or is another cluster.
            LookupError: the cluster does not say.
        """
        pods = self._pods()
        workflow, has_listed = self._workflow()
        if not pods and workflow is None:
            kind = NothingThereError if has_listed else LookupError
            raise kind("no object of this run")
        asked = [pod for pod in newest_of_steps(pods).values() if _is_worth(pod)]
        events = [event for pod in asked[-_MAX_ASKED:] for event in self._events(pod)]
        return pods, events, workflow

    def _pods(self) -> list[Object]:
        refused: LookupError | None = None
        has_listed = False
        for namespace in dict.fromkeys(self._namespaces):
            try:
                pods = self._pods_in(namespace)
            except LookupError as error:
                refused = error
                continue
            has_listed = True
            if pods:
                self._namespaces = [str(at(pods[0], "metadata").get("namespace"))]
                return pods
            if namespace is None:
                break  # there is none anywhere
        if not has_listed and refused is not None:
            raise refused
        return []

    def _pods_in(self, namespace: str | None) -> list[Object]:
        pods: list[Object] = []
        options: dict[str, Any] = {"label_selector": self._selector, "limit": _PAGE}
        for _ in range(_MAX_PAGES):
            if namespace is None:
                listed = _read(self._core.list_pod_for_all_namespaces, **options)
            else:
                listed = _read(self._core.list_namespaced_pod, namespace, **options)
            pods += every(listed, "items")
            options["_continue"] = at(listed, "metadata").get("continue")
            if not options["_continue"]:
                break
        return pods

    def _workflow(self) -> tuple[Object | None, bool]:
        """Return Argo's object, None without one, and whether workflows can be listed at all."""
        has_listed = False
        for namespace in dict.fromkeys(self._namespaces):
            place = ("argoproj.io", "v1alpha1")
            options = {"label_selector": self._selector}
            try:
                if namespace is None:
                    listed = _read(
                        self._custom.list_cluster_custom_object, *place, "workflows", **options
                    )
                else:
                    listed = _read(
                        self._custom.list_namespaced_custom_object,
                        *(*place, namespace, "workflows"),
                        **options,
                    )
            except LookupError:
                continue
            has_listed = True
            for workflow in every(listed, "items"):
                return workflow, True
        return None, has_listed

    def _events(self, pod: Object) -> list[Object]:
        metadata = at(pod, "metadata")
        name, namespace = metadata.get("name"), metadata.get("namespace")
        try:
            listed = _read(
                self._core.list_namespaced_event,
                namespace,
                field_selector=f"involvedObject.name={name}",
            )
        except LookupError:
            return []  # a pod's own status says most of it
        return every(listed, "items")


def _is_worth(pod: Object) -> bool:
    return at(pod, "status").get("phase") != "Succeeded"


def _read(call: Callable[..., Any], *arguments: Any, **options: Any) -> Mapping[str, Any]:
    """Return the JSON of an answer.

    Raises:
        LookupError: there is none.
    """
    try:
        answer = call(*arguments, **options, _preload_content=False, _request_timeout=_TIMEOUT_S)
        found = json.loads(answer.data)
    except ApiException as error:
        kind = ForbiddenLookupError if error.status in (401, 403) else LookupError
        raise kind(f"{error.status} {error.reason}") from None
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise LookupError(type(error).__name__) from None
    return found if isinstance(found, Mapping) else {}
