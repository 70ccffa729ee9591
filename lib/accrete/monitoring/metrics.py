"""The figures of one attempt at a step, kept for Prometheus to read at any time from any thread."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from accrete.errors import (
    AccreteError,
    InputError,
    IntegrityError,
    OutOfMemoryError,
    PreemptedError,
    StoreError,
    TrainingDivergedError,
)
from accrete.monitoring.instruments import INSTRUMENTS
from accrete.store.cache import NodeCache
from accrete.store.traffic import Traffic

_REASONS: tuple[tuple[type[AccreteError], str], ...] = (
    (TrainingDivergedError, "diverged"),
    (PreemptedError, "preempted"),
    (StoreError, "store"),
    (InputError, "input"),
    (IntegrityError, "integrity"),
    (OutOfMemoryError, "memory"),
)

Family = CounterMetricFamily | GaugeMetricFamily


class StepMetrics(Collector):
    """What is known of an attempt; a figure that is not known yet is not exported."""

    def __init__(self, run_name: str, step: str, traffic: Traffic) -> None:
        """Begin an attempt.

        Args:
            run_name: the run.
            step: the step, from `keys`.
            traffic: of its store.
        """
        self.run_name, self.step = run_name, step
        self._traffic = traffic
        self._cache: NodeCache | None = None
        self._lock = Lock()
        self._values: dict[str, dict[tuple[str, ...], float]] = {i.name: {} for i in INSTRUMENTS}
        self.registry = CollectorRegistry()
        self.registry.register(self)
        now = time.time()
        self.set("accrete_step_running", 1)
        self.set("accrete_step_started_timestamp_seconds", now)
        self.set("accrete_step_last_progress_timestamp_seconds", now)
        self.set("accrete_push_failures_total", 0)

    def set(self, name: str, value: float | None, *labels: str) -> None:
        """Set a figure; None leaves it as it is."""
        if value is not None:
            with self._lock:
                self._values[name][labels] = value

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Add to a figure that begins at 0."""
        with self._lock:
            values = self._values[name]
            values[labels] = values.get(labels, 0.0) + amount

    def watch(self, cache: NodeCache) -> None:
        """Export this cache's hits and misses from here on."""
        self._cache = cache

    def progressed(self) -> None:
        """Note that the step got further."""
        self.set("accrete_step_last_progress_timestamp_seconds", time.time())

    def count_images(self, done: int, planned: int) -> None:
        """Note how far the part is that the step is at, in images."""
        self.set("accrete_step_images_done", done)
        self.set("accrete_step_images_planned", planned)
        self.progressed()

    def end(self, error: BaseException | None = None, exit_code: int = 0) -> None:
        """Note that the attempt has ended, and of what; None: it succeeded."""
        with self._lock:
            training = self._values["accrete_stage_training"]
            training.update(dict.fromkeys(training, 0.0))
        if error is not None:
            self.set("accrete_step_failed", 1, reason_of(error))
        self.set("accrete_step_exit_code", exit_code)
        self.set("accrete_step_ended_timestamp_seconds", time.time())
        self.set("accrete_step_running", 0)

    def collect(self) -> Iterator[Family]:
        """Yield all figures that are known; called by each scrape and each push."""
        self._read_traffic()
        for name, value, gpu in gpu_memory():
            self.set(name, value, gpu)
        with self._lock:
            known = {name: dict(values) for name, values in self._values.items()}
        for instrument in INSTRUMENTS:
            labels = ("run", "step", *instrument.labels)
            kind = CounterMetricFamily if instrument.is_counter else GaugeMetricFamily
            family = kind(instrument.name, instrument.help, labels=labels)
            for values, value in known[instrument.name].items():
                family.add_metric((self.run_name, self.step, *values), value)
            if family.samples:
                yield family

    def _read_traffic(self) -> None:
        traffic, cache = self._traffic, self._cache
        self.set("accrete_store_pulled_bytes_total", traffic.pulled_bytes)
        self.set("accrete_store_pushed_bytes_total", traffic.pushed_bytes)
        self.set("accrete_store_pulled_objects_total", traffic.num_pulled)
        self.set("accrete_store_pushed_objects_total", traffic.num_pushed)
        self.set("accrete_store_pull_seconds_total", traffic.pull_s)
        self.set("accrete_store_push_seconds_total", traffic.push_s)
        self.set("accrete_store_errors_total", traffic.num_errors)
        self.set("accrete_store_retries_total", traffic.num_retries)
        self.set("accrete_cache_hits_total", cache.num_hits if cache else 0)
        self.set("accrete_cache_misses_total", cache.num_misses if cache else 0)
        name = "accrete_step_last_progress_timestamp_seconds"
        with self._lock:
            self._values[name][()] = max(self._values[name][()], traffic.moved_at)


def reason_of(error: BaseException) -> str:
    """Return the kind of a failure, one of few words; `other` may be a bug."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "other")


def gpu_memory() -> Iterator[tuple[str, float, str]]:
    """Yield (metric, bytes, GPU) of the GPUs that this process uses; nothing before it does."""
    torch = sys.modules.get("torch")  # a scrape must not be what imports it
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_initialized():
        return
    with suppress(RuntimeError):  # a GPU that has failed shows in the step itself
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):
                gpu = str(index)
                allocated = torch.cuda.memory_allocated(index)
                yield "accrete_gpu_memory_allocated_bytes", allocated, gpu
                yield "accrete_gpu_memory_reserved_bytes", torch.cuda.memory_reserved(index), gpu
                yield "accrete_gpu_memory_peak_bytes", torch.cuda.max_memory_allocated(index), gpu
                yield "accrete_gpu_memory_total_bytes", torch.cuda.mem_get_info(index)[1], gpu
