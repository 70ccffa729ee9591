"""Changes that keep an input's form: bytes turned at random rarely stay JSON."""

import json
import random
from collections.abc import Callable
from typing import Any

Mutate = Callable[[bytes, int], bytes]
"""An input and the size that it may have, to another one."""

_SCALARS: tuple[Any, ...] = (
    *(None, True, False, "", "x", 0, 1, -1, 0.5, 1e308, -0.0, 2**31, 2**53, 2**63, 10**400),
    *("0" * 64, "F" * 64, "../" * 3, "/etc/passwd", "a\0b", "\ud800", "e\u0301", "x" * 300),
    *("torchvision:resnet18", "vgg19", "parquet", "raw", "encoded", "nan", "2026-11-23T11:00:00"),
)  # fmt: skip


def mutate_json(data: bytes, max_size: int, random_bytes: Mutate, seed: int) -> bytes:
    """Return JSON with one part changed; where that cannot be, bytes changed at random."""
    rng = random.Random(seed)
    if rng.random() < 0.25:
        return random_bytes(data, max_size)
    try:
        value = json.loads(data)
        changed = json.dumps(_changed(value, rng), ensure_ascii=rng.random() < 0.5)
        text = changed.encode("utf-8", "surrogatepass")
    except (ValueError, OverflowError, RecursionError):
        return random_bytes(data, max_size)
    return text if len(text) <= max_size else random_bytes(data, max_size)


def mutate_second_line(data: bytes, max_size: int, random_bytes: Mutate, seed: int) -> bytes:
    """Return a line of text and JSON, one of the two changed."""
    first, _, rest = data.partition(b"\n")
    if seed % 4 == 0:
        return random_bytes(first, 200).replace(b"\n", b"") + b"\n" + rest
    return first + b"\n" + mutate_json(rest, max_size - len(first) - 1, random_bytes, seed)


def mutate_safetensors(data: bytes, max_size: int, random_bytes: Mutate, seed: int) -> bytes:
    """Return a safetensors file whose header, or the metadata in it, is changed."""
    rng = random.Random(seed)
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.3 or length > len(data):
        return random_bytes(data, max_size)
    header, body = data[8 : 8 + length], data[8 + length :]
    try:
        decoded = json.loads(header)
        said = decoded["__metadata__"]["accrete"]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = None
    if isinstance(said, str) and rng.random() < 0.6:
        changed = mutate_json(said.encode(errors="replace"), max_size, random_bytes, seed + 1)
        decoded["__metadata__"]["accrete"] = changed.decode(errors="replace")
        header = json.dumps(decoded).encode()
    else:
        header = mutate_json(header, max_size, random_bytes, seed + 1)
    return (len(header).to_bytes(8, "little") + header + body)[:max_size]


MUTATORS = {
    **dict.fromkeys(("dataset", "stage", "record"), mutate_json),
    "tensors": mutate_safetensors,
    "journal": mutate_second_line,
}


def _changed(value: Any, rng: random.Random) -> Any:
    """Return a value with one of its parts, or itself, replaced, removed or doubled."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _another(value, rng)
    copy = value.copy()
    place = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
    action = rng.random()
    if action < 0.75:
        copy[place] = _changed(copy[place], rng)
    elif action < 0.85:
        del copy[place]
    elif isinstance(copy, dict):
        copy[rng.choice(("", "x", *copy))] = copy[place]
    else:
        copy.insert(rng.randrange(len(copy) + 1), copy[place])
    return copy


def _another(value: Any, rng: random.Random) -> Any:
    choice = rng.random()
    if choice < 0.2:
        return [value] * rng.randrange(3)
    if choice < 0.3:
        return {"x": value}
    if choice < 0.6 and isinstance(value, int | float) and not isinstance(value, bool):
        return rng.choice((-value, value + 1, value - 1, 2 * value, value * 10**6, value / 3))
    if choice < 0.6 and isinstance(value, str):
        return value[: rng.randrange(len(value) + 1)] + rng.choice(("", "0", "\n", "/", value))
    return rng.choice(_SCALARS)
