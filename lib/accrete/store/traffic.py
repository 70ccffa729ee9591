"""What a process moves to and from the store."""

import time
from threading import Lock


class Traffic:
    """What went to and from the store, how long it took and what failed; safe to share."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = Lock()
        self.pulled_bytes = self.pushed_bytes = self.num_pulled = self.num_pushed = 0
        self.pull_s = self.push_s = 0.0
        self.moved_at = 0.0
        self.num_errors = self.num_retries = 0

    def add_pulled(self, num_bytes: int, seconds: float) -> None:
        """Count an object that was read."""
        with self._lock:
            self.pulled_bytes += num_bytes
            self.num_pulled += 1
            self.pull_s += seconds
            self.moved_at = time.time()

    def add_pushed(self, num_bytes: int, seconds: float) -> None:
        """Count an object that was written."""
        with self._lock:
            self.pushed_bytes += num_bytes
            self.num_pushed += 1
            self.push_s += seconds
            self.moved_at = time.time()

    def add_error(self) -> None:
        """Count a call that failed for good."""
        with self._lock:
            self.num_errors += 1

    def add_retries(self, number: int) -> None:
        """Count requests that are made again, since they broke off or the store could not then."""
        with self._lock:
            self.num_retries += number
