"""TrainJobs at the Kubernetes API, with the rights of this pod's service account."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes import client, watch
from kubernetes.client import ApiException
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader

from accrete.core.settings import ClusterSettings
from accrete.errors import ClusterError, ClusterUnreachableError, ConfigError
from accrete.steps.train_job import GROUP, PLURAL, VERSION

_TIMEOUT_S = 30.0
_MANIFEST = "manifests/components/multi-node"


class TrainJobApi:
    """The TrainJobs of one namespace."""

    def __init__(self, cluster: ClusterSettings) -> None:
        """Connect to the API of the cluster that this is a pod of; asks nothing yet.

        Raises:
            ConfigError: the pod's service account cannot be used.
        """
        configuration = client.Configuration()
        try:
            InClusterConfigLoader(
                token_filename=str(cluster.token_path), cert_filename=str(cluster.ca_path)
            ).load_and_set(configuration)
        except (ConfigException, OSError) as error:
            raise ConfigError(f"the pod's service account cannot be used: {error}") from None
        self.namespace = cluster.namespace
        self._objects: Any = client.CustomObjectsApi(client.ApiClient(configuration))
        self._place = (GROUP, VERSION, self.namespace, PLURAL)

    def find(self, name: str) -> dict[str, Any] | None:
        """Return a job, None where there is none of this name."""
        with self._explained("get"):
            try:
                found = self._objects.get_namespaced_custom_object(
                    *self._place, name, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == 404 and _message(error):
                    return None  # what is no TrainJob of a cluster without them has no Status
                raise
            return dict(found)

    def create(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """Create a job and return it as the API has it, None where there is one of its name."""
        with self._explained("create"):
            try:
                created = self._objects.create_namespaced_custom_object(
                    *self._place, job, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == 409:
                    return None
                raise
            return dict(created)

    def changes(self, job: dict[str, Any], timeout_s: int) -> Iterator[dict[str, Any] | None]:
        """Yield a job each time that it changed, None once it is gone; ends after a while.

        Args:
            job: as it was last seen.
            timeout_s: whole seconds, after which the API ends the stream.
        """
        with self._explained("watch"):
            try:
                for event in watch.Watch().stream(
                    self._objects.list_namespaced_custom_object,
                    *self._place,
                    field_selector=f"metadata.name={job['metadata']['name']}",
                    resource_version=job["metadata"]["resourceVersion"],
                    timeout_seconds=timeout_s,
                    _request_timeout=timeout_s + _TIMEOUT_S,
                ):
                    yield None if event["type"] == "DELETED" else event["object"]
            except ApiException as error:
                if error.status != 410:  # gone: what was last seen is too old
                    raise

    def delete(self, job: dict[str, Any]) -> None:
        """Delete this very job, and not another of its name; it goes when its pods are gone."""
        metadata = job["metadata"]
        with self._explained("delete"):
            try:
                self._objects.delete_namespaced_custom_object(
                    *self._place,
                    metadata["name"],
                    body=client.V1DeleteOptions(
                        # Trainer names what it makes after the job: the next must find none of it.
                        propagation_policy="Foreground",
                        preconditions=client.V1Preconditions(uid=metadata["uid"]),
                    ),
                    _request_timeout=_TIMEOUT_S,
                )
            except ApiException as error:
                if error.status not in (404, 409):
                    raise

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """Turn the client's errors into one line.

        Raises:
            ClusterUnreachableError: another try may help.
            ClusterError: none will.
        """
        try:
            yield
        except ApiException as error:
            raise self._refusal(verb, error) from None
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
            raise ClusterUnreachableError(
                f"the Kubernetes API does not answer ({type(error).__name__}: {error})"
            ) from None
        except ValueError as error:  # a line of a stream that was cut
            raise ClusterUnreachableError(
                f"the Kubernetes API answered what is no JSON ({error})"
            ) from None

    def _refusal(self, verb: str, error: Any) -> ClusterError:
        message, status = _message(error), int(error.status or 0)
        if status == 404 and not message:
            return ClusterError(
                f"the cluster has no TrainJobs ({GROUP}/{VERSION}): install Kubeflow Trainer v2, "
                "or submit the run without --nodes"
            )
        if status == 401:
            return ClusterError(
                f"the Kubernetes API does not accept this pod's token (401: {message})"
            )
        if status == 403 and "admission webhook" not in message and "quota" not in message:
            return ClusterError(
                f"this step may not {verb} TrainJobs in the namespace {self.namespace} "
                f"({message}): apply {_MANIFEST} there, and bind its Role to "
                "the account that is named here"
            )
        if status == 429 or status >= 500 or status == 0:
            return ClusterUnreachableError(
                f"the Kubernetes API cannot {verb} a TrainJob now ({status}: {message})"
            )
        return ClusterError(f"the cluster refuses to {verb} the TrainJob ({status}: {message})")


def _message(error: Any) -> str:
    """Return what the API's Status says in one line, empty where the answer is no Status."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        status = None
    if status is None and not error.status:  # no connection, or none that is trusted
        return str(error.reason)
    message = status.get("message") if isinstance(status, dict) else None
    return " ".join(str(message or "").split())
