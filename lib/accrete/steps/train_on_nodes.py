"""The step that has several nodes train a stage: it makes a TrainJob and waits for it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from accrete.catalog.manifests import StageManifest, dump_stage
from accrete.catalog.records import RunRecord, parse_record
from accrete.catalog.step_documents import StepDocument, StepFailure, parse_document
from accrete.core.settings import ClusterSettings, cluster_settings
from accrete.errors import CheckpointMismatchError, ConfigError, IntegrityError, StepFailedError
from accrete.monitoring.status import stage_text
from accrete.steps._train_job_wait import TrainJobWait
from accrete.steps.frame import Attempt, StepContext, one_line_errors, run_attempt
from accrete.steps.train_job import Owner, train_job, train_job_name
from accrete.steps.train_job_api import TrainJobApi
from accrete.steps.training_task import model_facts, read_stage
from accrete.store import keys


def train_job_step(
    *,
    stages: Sequence[float],
    run_name: str,
    store_uri: str,
    job: Mapping[str, Any],
    wait_s: float,
    plan_path: str,
    parent_path: str | None,
    model_path: str,
    data_memory: str = "",
) -> dict[str, Any]:
    """Have several nodes train consecutive stages, mostly one; reuse those that exist.

    Args:
        stages: indices, from 1; whole floats do, since KFP holds every number as one.
        run_name: the run.
        store_uri: `s3://bucket[/prefix]`.
        job: the TrainJob's spec, from `train_job.train_job_spec`.
        wait_s: how long it may wait until all its nodes are there.
        plan_path: the run's record.
        parent_path: manifest of the stage before the first; None for stage 1.
        model_path: where the last stage's manifest goes.
        data_memory: memory for images, such as `4G`; empty: two fifths of what a node has.

    Returns:
        Metadata of the model artifact, as `train_step` does.
    """

    def work(context: StepContext) -> dict[str, Any]:
        record = parse_record(Path(plan_path).read_bytes(), plan_path)
        _check_parent(record, int(stages[0]), read_stage(parent_path))
        for stage in map(int, stages):
            nodes = _Nodes(record, stage, context)
            manifest = nodes.found() or nodes.trained(job, store_uri, wait_s, data_memory)
        Path(model_path).write_bytes(dump_stage(manifest))
        return model_facts(manifest, context.catalog.store)

    with one_line_errors():
        step = keys.train_job_step_name(int(stages[0]))
        return run_attempt(Attempt(run_name=run_name, step=step, store_uri=store_uri), work)


def _check_parent(record: RunRecord, stage: int, parent: StageManifest | None) -> None:
    """Refuse stages that the run does not have, and a parent that is not the stage before.

    The nodes find the parent in the store by themselves; this is about the pipeline.

    Raises:
        ConfigError, CheckpointMismatchError: so it is.
    """
    if not 1 <= stage <= len(record.stages):
        raise ConfigError(
            f"stage {stage} is asked for, the plan has {len(record.stages)}: compile again"
        )
    expected = record.stages[stage - 2] if stage > 1 else None
    found = parent.digest if parent else None
    if found != expected:
        raise CheckpointMismatchError(
            f"stage {stage} of run {record.name!r} starts from stage {(expected or 'none')[:12]}, "
            f"but was given stage {(found or 'none')[:12]}: is it another plan's?"
        )


class _Nodes:
    """The nodes that train one stage, seen from the step that asked for them."""

    def __init__(self, record: RunRecord, stage: int, context: StepContext) -> None:
        self._record, self._stage, self._context = record, stage, context
        self._identity = record.stages[stage - 1]

    def found(self) -> StageManifest | None:
        """Return the stage if it exists already."""
        manifest = self._context.catalog.stage(self._identity)
        if manifest is not None:
            title = f"stage {self._stage}/{len(self._record.stages)}"
            self._context.journal.result(
                stage_text(title, manifest, reused=True),
                stage=self._stage,
                digest=self._identity,
                reused=True,
            )
        return manifest

    def trained(
        self, spec: Mapping[str, Any], store_uri: str, wait_s: float, data_memory: str
    ) -> StageManifest:
        """Have the stage trained, and return it.

        Raises:
            StepFailedError: it was not; with the nodes' own word, where they left one.
            ClusterError: the Kubernetes API does not do what is asked of it.
        """
        cluster = cluster_settings()
        job = self._job(spec, cluster, store_uri, data_memory)
        wait = TrainJobWait(
            TrainJobApi(cluster),
            job,
            wait_s=wait_s,
            say=self._context.journal.say,
            # It waits, and does not hang: the nodes have figures of their own that say if they do.
            looked=self._context.metrics.progressed,
        )
        before = self._document()
        try:
            wait.until_complete()
        except StepFailedError as error:
            raise self._with_the_nodes_word(error, before) from None
        manifest = self._context.catalog.stage(self._identity)
        if manifest is None:
            raise StepFailedError(
                f"TrainJob {job['metadata']['name']} is complete, but {store_uri} has no stage "
                f"{self._stage} of run {self._record.name!r}: do its pods have the same store?"
            )
        wait.delete()  # its pods have ended, and what they said is in the store
        return manifest

    def _job(
        self, spec: Mapping[str, Any], cluster: ClusterSettings, store_uri: str, data_memory: str
    ) -> dict[str, Any]:
        more = ["--data-memory", data_memory] if data_memory else []
        return train_job(
            spec,
            name=train_job_name(self._record.name, self._stage, self._identity),
            namespace=cluster.namespace,
            owner=Owner(name=cluster.pod[0], uid=cluster.pod[1]) if cluster.pod else None,
            arguments=[self._record.name, str(self._stage), *more],
            store_uri=store_uri,
            run_id=cluster.run_id,
        )

    def _with_the_nodes_word(
        self, error: StepFailedError, before: StepDocument | None
    ) -> StepFailedError:
        """Return the failure with what the stage's own journal says, if this job wrote it."""
        after = self._document()
        if after is None or after.failure is None or (before and before.attempt == after.attempt):
            return error
        message = f"{after.failure.error} (on the nodes of a TrainJob: {error})"
        return StepFailure(message, after.failure.exit_code).as_error()

    def _document(self) -> StepDocument | None:
        """Return the journal of the nodes' last attempt at the stage, None without a whole one."""
        key = keys.step_key(self._record.name, keys.train_step_name(self._stage))
        data = self._context.catalog.store.read_note(key)
        with suppress(IntegrityError):  # it is a word more, and no reason to fail
            return None if data is None else parse_document(data, key)
        return None
