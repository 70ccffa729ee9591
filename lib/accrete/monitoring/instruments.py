"""What a step exports to Prometheus, by name; `docs/monitoring.md` has the same table."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric; the labels `run` and `step` come with every one."""

    name: str
    """As Prometheus shows it: base units, `_total` at the end of what only grows."""
    help: str
    """One line."""
    labels: tuple[str, ...] = ()
    """Further labels, each of few values."""

    @property
    def is_counter(self) -> bool:
        """Whether it only grows while a process runs."""
        return self.name.endswith("_total")


_STAGE = ("stage",)

INSTRUMENTS = (
    Instrument("accrete_step_running", "1 while the step works, 0 when it has ended."),
    Instrument("accrete_step_exit_code", "Exit code of a step that has ended; 0 is success."),
    Instrument(
        "accrete_step_failed", "1 where the step has failed, by what kind of reason.", ("reason",)
    ),
    Instrument("accrete_step_started_timestamp_seconds", "When this attempt began, Unix time."),
    Instrument("accrete_step_ended_timestamp_seconds", "When this attempt ended, Unix time."),
    Instrument(
        "accrete_step_last_progress_timestamp_seconds",
        "When the step last got further, Unix time: loss, image, snapshot, object, end of a phase.",
    ),
    Instrument(
        "accrete_step_attempts",
        "Attempts at this step of this run so far, this one included, by the logs in the store.",
    ),
    Instrument(
        "accrete_step_restarts",
        "Times that the training of this attempt was killed and started again in its step.",
    ),
    Instrument("accrete_step_images_done", "Images done of the part that the step is at."),
    Instrument("accrete_step_images_planned", "Images in all of the part that the step is at."),
    Instrument("accrete_push_failures_total", "Pushes to the Pushgateway that failed."),
    Instrument("accrete_stage_classes", "Classes seen up to the stage.", _STAGE),
    Instrument("accrete_stage_reused", "1 where the stage existed already.", _STAGE),
    Instrument("accrete_stage_training", "1 while the training loop of the stage runs.", _STAGE),
    Instrument(
        "accrete_stage_train_started_timestamp_seconds",
        "When the training loop began in this attempt, Unix time.",
        _STAGE,
    ),
    Instrument(
        "accrete_stage_steps_done",
        "Optimizer steps of the stage done, earlier attempts included.",
        _STAGE,
    ),
    Instrument(
        "accrete_stage_steps_planned", "Optimizer steps that the stage's budget has.", _STAGE
    ),
    Instrument("accrete_train_steps_total", "Optimizer steps done by this attempt.", _STAGE),
    Instrument("accrete_train_images_total", "Images trained on by this attempt.", _STAGE),
    Instrument(
        "accrete_train_images_per_second",
        "Images a second since the training loop began in this attempt.",
        _STAGE,
    ),
    Instrument("accrete_train_loss", "Mean training loss since it was looked at before.", _STAGE),
    Instrument("accrete_train_learning_rate", "Learning rate of the last optimizer step.", _STAGE),
    Instrument("accrete_stage_test_loss", "Mean cross-entropy on the test images.", _STAGE),
    Instrument(
        "accrete_stage_top1_ratio",
        "Share of test images whose class comes first, 0 to 1: of all seen, old and new classes.",
        ("stage", "classes"),
    ),
    Instrument("accrete_stage_validation_top1_ratio", "The same on the validation images.", _STAGE),
    Instrument(
        "accrete_stage_duration_seconds",
        "Wall time of a part of the stage: pull, grow, train, evaluate, push.",
        ("stage", "phase"),
    ),
    Instrument("accrete_snapshots_total", "Snapshots that were stored.", _STAGE),
    Instrument("accrete_snapshot_failures_total", "Snapshots that could not be stored.", _STAGE),
    Instrument(
        "accrete_snapshot_last_timestamp_seconds", "When the last was stored, Unix time.", _STAGE
    ),
    Instrument("accrete_snapshot_last_bytes", "Size of the last snapshot.", _STAGE),
    Instrument(
        "accrete_snapshot_last_duration_seconds", "Time to write and upload the last one.", _STAGE
    ),
    Instrument("accrete_snapshot_interval_seconds", "Time between snapshots, as set.", _STAGE),
    Instrument("accrete_store_pulled_bytes_total", "Bytes of objects pulled from the store."),
    Instrument("accrete_store_pushed_bytes_total", "Bytes of objects pushed to the store."),
    Instrument("accrete_store_pulled_objects_total", "Objects pulled from the store."),
    Instrument("accrete_store_pushed_objects_total", "Objects pushed to the store."),
    Instrument(
        "accrete_store_pull_seconds_total", "Time of the pulls, added up: several run at once."
    ),
    Instrument(
        "accrete_store_push_seconds_total", "Time of the pushes, added up: several run at once."
    ),
    Instrument("accrete_store_errors_total", "Calls of the store that failed for good."),
    Instrument("accrete_store_retries_total", "Reads that broke off and were tried again."),
    Instrument("accrete_cache_hits_total", "Objects that the node's cache had, whole."),
    Instrument("accrete_cache_misses_total", "Objects that the node's cache lacked."),
    Instrument("accrete_gpu_memory_allocated_bytes", "Memory of tensors on the GPU.", ("gpu",)),
    Instrument("accrete_gpu_memory_reserved_bytes", "Memory that torch holds there.", ("gpu",)),
    Instrument("accrete_gpu_memory_peak_bytes", "Most memory of tensors so far.", ("gpu",)),
    Instrument("accrete_gpu_memory_total_bytes", "Memory that the GPU has.", ("gpu",)),
)
