"""Memory for images that threads decode: a few large ones at once, or many small ones.

An image file of a hundred kilobytes may decode to 192 MB: a number of images says nothing of what
they take.
"""

from threading import Condition

BUDGET_BYTES = 2 << 30
"""For all that is decoded and not used up; 20 photographs of 12 megapixels."""


class DecodingBudget:
    """Lets threads decode while there is room, and the first in line always.

    Images are decoded in turns, numbered in the order in which they are used up.
    """

    def __init__(self, num_bytes: float = BUDGET_BYTES) -> None:
        """Begin with all of it."""
        self._num_bytes = num_bytes
        self._held: dict[int, int] = {}
        self._changed = Condition()

    @property
    def held_bytes(self) -> int:
        """What was admitted and not released."""
        with self._changed:
            return sum(self._held.values())

    def admit(self, turn: int, num_bytes: int) -> None:
        """Wait until there is room, or no turn before this one holds any; then hold it.

        The first in line may exceed the budget: those behind it wait for it to be used up.
        """
        with self._changed:
            self._held.setdefault(turn, 0)
            self._changed.wait_for(lambda: self._may_hold(turn, num_bytes))
            self._held[turn] += num_bytes

    def _may_hold(self, turn: int, num_bytes: int) -> bool:
        return turn == min(self._held) or sum(self._held.values()) + num_bytes <= self._num_bytes

    def release(self, turn: int) -> None:
        """Say that a turn's images are used up."""
        with self._changed:
            self._held.pop(turn, None)
            self._changed.notify_all()

    def lift(self) -> None:
        """Let all go on: nobody will use up what they decode."""
        with self._changed:
            self._num_bytes = float("inf")
            self._changed.notify_all()
