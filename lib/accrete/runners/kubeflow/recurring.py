"""A pipeline becomes a recurring run on Kubeflow: one of a name, whoever asks however often."""

from dataclasses import dataclass
from typing import Any

from accrete.core.environment import ENV_KFP_EXPERIMENT
from accrete.core.hashing import sha256_of_json
from accrete.core.settings import kfp_variable
from accrete.errors import PipelineError
from accrete.runners.kubeflow.client import Kubeflow
from accrete.runners.kubeflow.submission import specification
from accrete.runners.pipeline_file import BuildWatch, WatchRequest

_MARK = "made by accrete watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When a run is made; one of the two."""

    interval_s: int | None = None
    """Seconds between two."""
    cron: str | None = None
    """Six fields, seconds first, as Kubeflow has them."""

    @property
    def as_json(self) -> dict[str, Any]:
        """As the API takes it."""
        if self.cron is not None:
            return {"cron_schedule": {"cron": self.cron}}
        return {"periodic_schedule": {"interval_second": str(self.interval_s)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A recurring run."""

    name: str
    """In Kubeflow."""
    address: str
    """Its page in the UI."""
    what: str
    """What was done: `recurring run`, `replaced recurring run` or `unchanged recurring run`."""


def schedule(
    kubeflow: Kubeflow, build: BuildWatch, request: WatchRequest, trigger: Trigger, experiment: str
) -> Scheduled:
    """Have Kubeflow run a pipeline again and again, no two of them at once.

    What a recurring run of this name was made for is told by its description. One for the very
    same is left alone; one for something else is replaced, the new one first, so that none is lost.

    Args:
        kubeflow: to ask.
        build: makes the pipeline.
        request: that it is for.
        trigger: when it is run.
        experiment: of Kubeflow, to have the runs in.

    Raises:
        PipelineError: the service refuses it, or an older one cannot be removed.
    """
    name = f"{request.watch.name}-watch"
    body: dict[str, Any] = {
        "display_name": name,
        "pipeline_spec": specification(build(request)),
        "runtime_config": {"parameters": {"store_uri": request.store_uri}},
        "trigger": trigger.as_json,
        "max_concurrency": "1",
        "no_catchup": True,
        "mode": "ENABLE",
    }
    mark = f"{_MARK} ({sha256_of_json(body)[:12]})"
    body |= {
        "description": mark,
        "experiment_id": kubeflow.experiment_id(kfp_variable(ENV_KFP_EXPERIMENT) or experiment),
    }
    there = kubeflow.recurring_runs_named(name)
    same = [each for each in there if each.get("description") == mark and _is_enabled(each)]
    if same:
        page = kubeflow.page_of_recurring(same[0]["recurring_run_id"])
        return Scheduled(name=name, address=page, what="unchanged recurring run")
    page = kubeflow.page_of_recurring(kubeflow.create_recurring_run(body))
    for each in there:
        try:
            kubeflow.delete_recurring_run(each["recurring_run_id"])
        except PipelineError as error:
            raise PipelineError(
                f"{name} was made anew ({page}), but the older one goes on beside it ({error}): "
                f"delete it at {kubeflow.page_of_recurring(each['recurring_run_id'])}"
            ) from None
    what = "replaced recurring run" if there else "recurring run"
    return Scheduled(name=name, address=page, what=what)


def _is_enabled(recurring_run: Any) -> bool:
    return str(recurring_run.get("status") or recurring_run.get("mode")) in ("ENABLED", "ENABLE")
