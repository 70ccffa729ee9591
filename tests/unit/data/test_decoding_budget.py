"""A budget of memory for images that threads decode: kept, and never a reason to wait for ever."""

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest
from conftest import HANGS_S
from PIL import Image

from accrete.config.run import SourceConfig
from accrete.data.images import DecodingBudget
from accrete.data.prepare import decoded_items
from accrete.data.sources.opening import Item
from accrete.errors import BadImageError


def test_what_fits_is_admitted_at_once_and_the_rest_when_something_is_used_up() -> None:
    budget = DecodingBudget(100)
    budget.admit(0, 60)
    budget.admit(1, 40)
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(budget.admit, 2, 10)
        sleep(0.05)
        assert not third.done()
        budget.release(1)
        third.result(timeout=HANGS_S)
    assert budget.held_bytes == 70


def test_the_first_in_line_is_admitted_whatever_it_takes() -> None:
    budget = DecodingBudget(100)
    budget.admit(3, 1000)
    assert budget.held_bytes == 1000
    with ThreadPoolExecutor(1) as pool:
        behind = pool.submit(budget.admit, 4, 1)
        sleep(0.05)
        assert not behind.done()
        budget.release(3)
        behind.result(timeout=HANGS_S)


def test_a_lifted_budget_holds_nobody() -> None:
    budget = DecodingBudget(1)
    budget.admit(0, 1)
    with ThreadPoolExecutor(1) as pool:
        behind = pool.submit(budget.admit, 1, 100)
        budget.lift()
        behind.result(timeout=HANGS_S)


def png(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


class Folder:
    """A source of equal images that counts what is on its way."""

    def __init__(self, content: bytes, count: int) -> None:
        self._content, self._count = content, count
        self.loaded = 0
        self._lock = threading.Lock()

    def _load(self) -> bytes:
        with self._lock:
            self.loaded += 1
        return self._content

    def items(self) -> Iterator[Item]:
        for n in range(self._count):
            yield Item(place=f"{n}.png", class_name="a", split="train", load=self._load)


CONFIG = SourceConfig(kind="imagefolder", location="x")


def test_large_images_are_decoded_a_few_at_a_time_and_all_come_in_order() -> None:
    source = Folder(png(256), 200)  # 512 KiB each, as decoding is counted
    budget = DecodingBudget(4 << 20)
    seen, most = [], 0
    for decoded in decoded_items(source.items(), CONFIG, None, budget):
        seen.append(decoded.item.place)
        most = max(most, budget.held_bytes)
        assert source.loaded <= len(seen) + 8 + 8 + 40  # a chunk, what fits, a file each thread
    assert seen == [f"{n}.png" for n in range(200)]
    assert most <= (4 << 20) + 8 * (512 << 10)


def test_a_bad_image_among_large_ones_ends_the_work_at_once(tmp_path: Path) -> None:
    source = Folder(png(256), 500)
    items = list(source.items())
    bad = Item(place="bad.png", class_name="a", split="train", load=lambda: b"no image")

    class WithBad:
        def items(self) -> Iterator[Item]:
            return iter([*items[:3], bad, *items[3:]])

    began = monotonic()
    with pytest.raises(BadImageError, match=r"bad\.png cannot be decoded"):
        list(decoded_items(WithBad().items(), CONFIG, None, DecodingBudget(1)))
    assert monotonic() - began < 30
