"""The figures of one stage, among those of its step."""

import time
from collections.abc import Callable
from functools import partial

from accrete.catalog.identity import StageSpec
from accrete.catalog.manifests import StageManifest
from accrete.config.schedule import lr_at
from accrete.monitoring.metrics import StepMetrics
from accrete.stages.observer import StageObserver


class StageMetrics(StageObserver):
    """Keeps what a stage tells of itself."""

    def __init__(
        self,
        metrics: StepMetrics,
        spec: StageSpec,
        snapshot_interval_s: float,
        kept: Callable[[int, int], None] = lambda _stage, _position: None,
    ) -> None:
        """Begin a stage.

        Args:
            metrics: of the step.
            spec: the stage.
            snapshot_interval_s: seconds between snapshots.
            kept: told of each snapshot, by the stage's index and position, and of its end.
        """
        self._metrics, self._schedule = metrics, spec.schedule
        self._kept = partial(kept, spec.index)
        self._stage = str(spec.index)
        self.first_position = 0
        """Optimizer steps that earlier attempts had done."""
        self.began = time.monotonic()
        """When the training loop began, by the monotonic clock."""
        self._set("accrete_stage_classes", spec.num_classes)
        self._set("accrete_stage_steps_planned", spec.schedule.num_steps)
        self._set("accrete_snapshot_interval_seconds", snapshot_interval_s)
        for name in ("accrete_snapshots_total", "accrete_snapshot_failures_total"):
            self._set(name, 0)

    def training_begins(self, position: int) -> None:
        """Begin the training loop."""
        self.first_position = position
        self.began = time.monotonic()
        self._set("accrete_stage_train_started_timestamp_seconds", time.time())
        self._set("accrete_stage_training", 1)
        self._set_position(position)
        self._metrics.progressed()

    def progress(self, num_steps: int, loss: float) -> None:
        """Note optimizer steps done in the stage, and the mean loss since the last call."""
        self._set_position(num_steps)
        images = (num_steps - self.first_position) * self._schedule.batch_size
        seconds = max(time.monotonic() - self.began, 1e-9)
        self._set("accrete_train_images_per_second", images / seconds)
        self._set("accrete_train_loss", loss)
        lr = lr_at(self._schedule, self._schedule.first_step + num_steps - 1)
        self._set("accrete_train_learning_rate", lr)
        self._metrics.progressed()

    def phase_ended(self, phase: str, seconds: float) -> None:
        """Note the wall time of a part."""
        if phase == "train":
            self._set("accrete_stage_training", 0)
        self._metrics.set("accrete_stage_duration_seconds", seconds, self._stage, phase)
        self._metrics.progressed()

    def snapshot_kept(self, position: int) -> None:
        """Tell that the step would go on from here."""
        self._kept(position)

    def snapshot_stored(self, num_bytes: int, seconds: float) -> None:
        """Note a snapshot."""
        self._metrics.add("accrete_snapshots_total", 1, self._stage)
        self._set("accrete_snapshot_last_timestamp_seconds", time.time())
        self._set("accrete_snapshot_last_bytes", num_bytes)
        self._set("accrete_snapshot_last_duration_seconds", seconds)
        self._metrics.progressed()

    def snapshot_failed(self) -> None:
        """Note a snapshot that could not be stored."""
        self._metrics.add("accrete_snapshot_failures_total", 1, self._stage)

    def finished(self, manifest: StageManifest, *, reused: bool) -> None:
        """Note what the stage came to."""
        self._kept(self._schedule.num_steps + 1)
        result = manifest.result
        self._set("accrete_stage_reused", float(reused))
        self._set("accrete_stage_steps_done", result.images_seen // self._schedule.batch_size)
        self._set("accrete_stage_test_loss", result.loss)
        self._set("accrete_stage_validation_top1_ratio", result.validation_top1)
        shares = {"all": result.top1, "old": result.top1_old, "new": result.top1_new}
        for classes, share in shares.items():
            self._metrics.set("accrete_stage_top1_ratio", share, self._stage, classes)
        self._metrics.progressed()

    def _set_position(self, position: int) -> None:
        num_steps = position - self.first_position
        self._set("accrete_stage_steps_done", position)
        self._set("accrete_train_steps_total", num_steps)
        self._set("accrete_train_images_total", num_steps * self._schedule.batch_size)

    def _set(self, name: str, value: float | None) -> None:
        self._metrics.set(name, value, self._stage)
