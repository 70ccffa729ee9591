"""What can go wrong, as types: the command line turns each into one line and an exit code."""

import copy
import unicodedata
from typing import Literal, Self, TypeVar


class AccreteError(Exception):
    """A failure whose message is meant for the user: rule, value, place, next step."""

    exit_code = 1


class InputError(AccreteError):
    """What the user gave cannot be used; trying again unchanged cannot succeed."""

    exit_code = 2


class ConfigError(InputError):
    """An option or a configuration field has a value outside its range."""


class PlanError(InputError):
    """The stages asked for do not fit the classes."""


class SourceError(InputError):
    """The image source cannot be read as asked."""


class BadImageError(SourceError):
    """An image of the source cannot be decoded."""


class LabelError(SourceError):
    """A label of the source names no class."""


class EmptyClassError(SourceError):
    """A class has no training image, or none is left after the split."""


class CountsMismatchError(SourceError):
    """The source holds other classes or counts than the plan was made for."""


class RunNameTakenError(InputError):
    """A run of this name exists with another configuration."""


class RunBusyError(InputError):
    """Another command on this machine runs it."""


class RunNotFoundError(InputError):
    """No run of this name is known."""


class StoreError(AccreteError):
    """The object store did not do what was asked."""

    exit_code = 3
    may_pass = False
    """Whether it may do it later: it is away, or says that it cannot now."""
    asks_s = 0.0
    """For how many seconds it asks to be left alone."""

    def passing(self) -> Self:
        """Return this error as one that may pass."""
        self.may_pass = True
        return self


class StoreAccessError(StoreError):
    """The object store refuses these credentials."""


class StoreUnreachableError(StoreError):
    """Nothing answers at the object store's address."""


class BucketMissingError(StoreError):
    """The bucket does not exist."""


class ObjectMissingError(StoreError):
    """The object does not exist."""


class IntegrityError(AccreteError):
    """Stored bytes are not the bytes that a manifest names."""

    exit_code = 4


class CheckpointMismatchError(AccreteError):
    """A checkpoint belongs to another stage or plan than the one that asks for it."""

    exit_code = 4


class DiskFullError(AccreteError):
    """A local disk has no room for what a step must write."""


class HeadShrinkError(AccreteError):
    """A classifier head was asked to lose classes."""


class TrainingDivergedError(AccreteError):
    """The loss of a stage became NaN or infinite."""


class OutOfMemoryError(AccreteError):
    """A batch does not fit the device's memory, however small its parts."""


class WorkerLostError(AccreteError):
    """A process that reads images was killed."""


class ProcessLimitError(AccreteError):
    """No further process or thread could be started."""


class PreemptedError(AccreteError):
    """The step was told to end; what it had done is saved, and another attempt goes on."""

    exit_code = 75  # EX_TEMPFAIL: try again


class PipelineError(AccreteError):
    """The pipeline service or the local runner failed."""

    outcome: Literal["refused", "unknown", "late"] = "unknown"
    """What became of a request that was to make something: `refused`: it was not done; `late`: it
    may still be worked on."""


class PipelineUnavailableError(PipelineError):
    """The pipeline service does not answer, or not now: another try may help."""


class PipelineAccessError(PipelineError):
    """The pipeline service, or what guards it, does not take the credentials, or asks for some."""


class PipelineRunGoneError(PipelineError):
    """The pipeline service knows no run of this id."""


class ClusterError(AccreteError):
    """The Kubernetes API refuses what was asked of it."""


class ClusterUnreachableError(ClusterError):
    """The Kubernetes API does not answer, or not now: another try may help."""


class StepFailedError(AccreteError):
    """A step of the pipeline failed; message and exit code are the step's own."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """Carry a step's message and exit code."""
        super().__init__(message)
        self.exit_code = exit_code


E = TypeVar("E", bound=AccreteError)


def reworded(error: E, message: str) -> E:
    """Return an error that is another one in all but its words: what may pass still may."""
    made = copy.copy(error)
    made.args = (message, *error.args[1:])
    return made


def one_line(message: str) -> str:
    """Return a message as one line that any terminal can show, its blanks made single ones."""
    return printable(" ".join(message.split()))


def printable(text: str) -> str:
    """Return a text as one line that any terminal can show and any file can hold.

    Names of files and classes come from others: what would move the cursor or end the line, or is
    no UTF-8, is written as an escape.
    """
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
