"""What kfp.local hands to a task, in the form in which a Kubeflow backend's driver hands it over.

kfp's executor makes of both what the component's function is called with. Where it manages with the
first only, a pipeline works here and nowhere else: it must not be told more here than it is there.
The form is that of Kubeflow Pipelines 2.17.0.
"""

from collections.abc import Mapping
from typing import Any

_SESSION = '{"Provider":"local","Params":{}}'
"""A backend says here how it reaches its store of artifacts."""

_MAX_PLAIN = 1e21
"""From here on Go writes a whole number with an exponent."""


class BackendForm:
    """Rewrites what the tasks of one run are handed."""

    def __init__(self) -> None:
        """Begin a run: no artifact has a number yet."""
        self._numbers: dict[str, int] = {}

    def of(self, executor_input: Mapping[str, Any]) -> dict[str, Any]:
        """Return an `executor_input` of kfp.local's in the backend's form.

        - An input artifact has no schemaTitle. It is named by its number in MLMD, and its metadata
          say what it was called and how its store is reached.
        - Every number is a double, and a whole one is written without a point.

        Args:
            executor_input: as JSON.
        """
        inputs = executor_input.get("inputs", {})
        made: dict[str, Any] = {}
        if "parameterValues" in inputs:
            made["parameterValues"] = _as_go_writes(inputs["parameterValues"])
        if "artifacts" in inputs:
            made["artifacts"] = {
                name: {"artifacts": [self._artifact(each) for each in entry["artifacts"]]}
                for name, entry in inputs["artifacts"].items()
            }
        return {**executor_input, "inputs": made}

    def _artifact(self, artifact: Mapping[str, Any]) -> dict[str, Any]:
        number = self._numbers.setdefault(artifact["uri"], len(self._numbers) + 1)
        return {
            "name": str(number),
            "type": {"instanceSchema": ""},
            "uri": artifact["uri"],
            "metadata": {
                **_as_go_writes(artifact.get("metadata", {})),
                "display_name": artifact.get("name", ""),
                "store_session_info": _SESSION,
            },
        }


def _as_go_writes(value: Any) -> Any:
    """Return a JSON value as it reads when Go wrote it."""
    if isinstance(value, dict):
        return {key: _as_go_writes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_go_writes(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_PLAIN:
        return int(value)
    return value
