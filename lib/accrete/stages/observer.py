"""What a stage tells of itself, to whoever wants to hear it."""


class StageObserver:
    """Hears how a stage comes along; this one takes no notice."""

    def training_begins(self, position: int) -> None:
        """Hear that the training loop begins, after so many optimizer steps of earlier attempts."""

    def phase_ended(self, phase: str, seconds: float) -> None:
        """Hear that a part is done: pull, grow, train, evaluate or push."""

    def snapshot_kept(self, position: int) -> None:
        """Hear of a snapshot after so many optimizer steps that a killed process leaves behind."""

    def snapshot_stored(self, num_bytes: int, seconds: float) -> None:
        """Hear of a snapshot, from a thread: its size, and the time to write and upload it."""

    def snapshot_failed(self) -> None:
        """Hear, from a thread, that one could not be stored."""


NULL_OBSERVER = StageObserver()
"""Where nobody listens."""
