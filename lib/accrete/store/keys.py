"""Objects by their content, and keys: the one place where they are built.

A digest that is none is refused: text of others must not lead to another key, or out of a prefix.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from accrete.core.validation import MAX_COUNT, check_range, check_sha256

_OBJECT = re.compile(r"objects/[0-9a-f]{2}/([0-9a-f]{64})")
_PLAN = re.compile(r"plans/([0-9a-f]{64})\.json")
_SNAPSHOT = re.compile(r"([0-9]{10})-(0|[1-9][0-9]{0,14})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """An immutable object: what a manifest says of it."""

    sha256: str
    """64 hex digits; also its key."""
    num_bytes: int
    """Its size."""

    def __post_init__(self) -> None:
        check_sha256("an object's SHA-256", self.sha256)
        check_range("an object's size", self.num_bytes, 0, MAX_COUNT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as the store lists it."""

    key: str
    """Its key, below the store's prefix."""
    num_bytes: int
    """Its size."""
    etag: str
    """The store's own name of its content."""
    modified_at: datetime
    """When it was last written, by the store's clock, in whole seconds."""


def object_key(sha256: str) -> str:
    """Key of an immutable object, by its content."""
    check_sha256("an object's key", sha256)
    return f"objects/{sha256[:2]}/{sha256}"


def object_prefix() -> str:
    """Prefix of all immutable objects."""
    return "objects/"


def parse_object_key(key: str) -> str | None:
    """Return the SHA-256 that an immutable object's key names, None for another key."""
    match = _OBJECT.fullmatch(key)
    return match[1] if match else None


def dataset_prefix(digits: str = "") -> str:
    """Prefix of the manifests of the data sets whose digest begins so."""
    return f"datasets/{digits}"


def dataset_key(digest: str) -> str:
    """Key of a dataset manifest."""
    check_sha256("the data set's digest", digest)
    return f"datasets/{digest}/manifest.json"


def prepared_prefix() -> str:
    """Prefix of the notes that lead from a source to its data set."""
    return "prepared/"


def prepared_key(fingerprint: str) -> str:
    """Key of the note that says which dataset a source became."""
    return f"prepared/{fingerprint}.json"


def stage_prefix(digits: str = "") -> str:
    """Prefix of the manifests of the stages whose identity begins so."""
    return f"stages/{digits}"


def stage_key(digest: str) -> str:
    """Key of a stage manifest."""
    check_sha256("the stage's identity", digest)
    return f"stages/{digest}/manifest.json"


def snapshot_prefix(stage: str | None = None) -> str:
    """Prefix of the snapshots of a stage that is being trained; None: of all stages."""
    if stage is None:
        return "snapshots/"
    check_sha256("the stage's identity", stage)
    return f"snapshots/{stage}/"


def collection_key() -> str:
    """Key of the note that says when unnamed objects were last removed, and whether they are."""
    return "collection.json"


def snapshot_key(stage: str, position: int, sha256: str, num_bytes: int) -> str:
    """Key of a snapshot after some steps; it names its own size and content, so none else does."""
    return f"{snapshot_prefix(stage)}{position:010d}-{num_bytes}-{sha256}.safetensors"


def parse_snapshot_key(key: str) -> tuple[int, int, str] | None:
    """Return (position, num_bytes, sha256) of a snapshot's key, None for another key."""
    match = _SNAPSHOT.fullmatch(key.rpartition("/")[2])
    return (int(match[1]), int(match[2]), match[3]) if match else None


def plan_prefix() -> str:
    """Prefix of the plans of compiled pipelines, those that are too large for an argument."""
    return "plans/"


def plan_key(sha256: str) -> str:
    """Key of such a plan, by its content. Nothing removes it: a compiled pipeline names it."""
    check_sha256("the plan's SHA-256", sha256)
    return f"{plan_prefix()}{sha256}.json"


def parse_plan_key(key: str) -> str | None:
    """Return the SHA-256 that a plan's key names, None for another key."""
    match = _PLAN.fullmatch(key)
    return match[1] if match else None


def pushed_prefix(name: str) -> str:
    """Where images go that users send to the store of runs."""
    return f"data/{name}"


def doctor_prefix() -> str:
    """Prefix of what checks of the store write, and delete but for one proof."""
    return "doctor/"


def create_only_key() -> str:
    """Key of the object that proves that the store creates only what does not exist."""
    return "doctor/create-only"


def own_prefixes() -> tuple[str, ...]:
    """Prefixes of all that accrete itself stores."""
    return (
        *(object_prefix(), dataset_prefix(), prepared_prefix(), stage_prefix()),
        *(snapshot_prefix(), run_prefix(), plan_prefix()),
    )


def run_prefix() -> str:
    """Prefix of everything that belongs to runs and not to their content."""
    return "runs/"


def run_folder(name: str) -> str:
    """Prefix of everything that belongs to a run and not to its content."""
    return f"{run_prefix()}{name}/"


def run_key(name: str) -> str:
    """Key of a run's record."""
    return f"runs/{name}/run.json"


def sweep_key(name: str) -> str:
    """Key of a sweep's record."""
    return f"runs/{name}/sweep.json"


def step_prefix(name: str) -> str:
    """Prefix of a run's step journals."""
    return f"runs/{name}/steps/"


def step_key(name: str, step: str) -> str:
    """Key of the journal of one step: its state and how far it is."""
    return f"runs/{name}/steps/{step}.json"


def is_step_key(key: str) -> bool:
    """Return whether a key is that of a step's journal."""
    return re.fullmatch(r"runs/[^/]+/steps/[^/]+\.json", key) is not None


def log_key(name: str, step: str, attempt: str) -> str:
    """Key of the log of one attempt at a step."""
    return f"runs/{name}/logs/{step}/{attempt}.log"


def log_prefix(name: str) -> str:
    """Prefix of a run's logs."""
    return f"runs/{name}/logs/"


def step_log_prefix(name: str, step: str) -> str:
    """Prefix of the logs of a step's attempts."""
    return f"{log_prefix(name)}{step}/"


def report_key(name: str, filename: str) -> str:
    """Key of a run's report: `report.html` or `report.json`."""
    return f"runs/{name}/{filename}"


def prepare_step_name() -> str:
    """Name of the step that prepares the data set; sorts before the stages."""
    return "00-prepare"


def train_step_name(first_stage: int, cell: str = "") -> str:
    """Name of the step that trains one stage, or several from this one on; of a sweep's cell."""
    return f"{cell}-stage-{first_stage:04d}" if cell else f"stage-{first_stage:04d}"


def train_job_step_name(first_stage: int) -> str:
    """Name of the step that has several nodes train a stage; theirs is the stage's own name."""
    return f"stage-{first_stage:04d}-job"


def report_step_name() -> str:
    """Name of the step that writes the report; sorts after the stages."""
    return "zz-report"
