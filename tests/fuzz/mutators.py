"""Changes that keep an input's form: bytes turned at random rarely stay JSON."""

import gzip
import io
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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


def mutate_parquet(data: bytes, max_size: int, random_bytes: Mutate, seed: int) -> bytes:
    """Return a Parquet file: another table in half of the cases, for bytes turned leave none."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        return random_bytes(data, max_size)
    num_rows = rng.choice((0, 1, 3, 40))
    columns = {
        rng.choice(_COLUMN_NAMES): _column(num_rows, rng) for _ in range(rng.randrange(1, 4))
    }
    names = rng.choice((["a", "b"], ["a", "a"], [], "ab", [1], ["x" * 300], None, {"a": 1}))
    features = {"label": {"_type": "ClassLabel", "names": names}}
    note = mutate_json(json.dumps({"info": {"features": features}}).encode(), 4000, _same, seed)
    buffer = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata({"huggingface": note})
    codec = rng.choice(("none", "snappy", "gzip", "zstd"))
    try:
        pq.write_table(table, buffer, compression=codec, use_dictionary=rng.random() < 0.5)
    except pa.ArrowException:  # not every type can be written
        return random_bytes(data, max_size)
    written = buffer.getvalue()
    if rng.random() < 0.3:
        return random_bytes(written, max_size)
    return written if len(written) <= max_size else data


def _same(data: bytes, max_size: int) -> bytes:
    return data[:max_size]


_COLUMN_NAMES = ("image", "img", "label", "labels", "x", "")
_CELLS: tuple[tuple[Any, ...], ...] = (
    *((0, 1), (0, -1), (0, None), (2**62, 0), (0.5, float("nan")), (True, False)),
    *(("a", "b"), ("", "a"), ("a", None), ("e\u0301", "\u00e9"), ("x" * 300, "a\nb"), (None, None)),
    *((b"", b"\x80\x04}"), (b"BM", None), ([1], []), ({"bytes": b"x"}, None)),
    *(({"bytes": 1}, {"bytes": None}), ({"bytes": "text", "path": None}, {"path": "x"})),
)


def _column(num_rows: int, rng: random.Random) -> Any:
    cells = rng.choice(_CELLS)
    array = pa.array([rng.choice(cells) for _ in range(num_rows)])
    if rng.random() < 0.2 and not pa.types.is_nested(array.type):
        return array.dictionary_encode()
    return array


_BLOCK = 512
_FIELDS = (0, 99, 100, 124, 125, 130, 135, 156, 156, 257, 345, 482, 483)
"""Where a tar header has name, mode, size, type, magic, prefix and what is said of sparse files."""


def mutate_tar(data: bytes, max_size: int, random_bytes: Mutate, seed: int) -> bytes:
    """Return an archive with fields of its headers changed and their checksums right again."""
    rng = random.Random(seed)
    is_packed = data[:2] == b"\x1f\x8b"
    if rng.random() < 0.25 or (len(data) < _BLOCK and not is_packed):
        return random_bytes(data, max_size)
    try:
        blocks = bytearray(gzip.decompress(data) if is_packed else data)
    except (OSError, EOFError, zlib.error):
        return random_bytes(data, max_size)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(0, len(blocks) - _BLOCK + 1, _BLOCK) + rng.choice(_FIELDS)
        blocks[at] = rng.choice(b"\0\x80\xff0157xgLKSV" + bytes((rng.randrange(256),)))
    for at in range(0, len(blocks) - _BLOCK + 1, _BLOCK):
        if blocks[at + 257 : at + 262] == b"ustar":
            blocks[at + 148 : at + 156] = b" " * 8
            blocks[at + 148 : at + 156] = b"%06o\0 " % sum(blocks[at : at + _BLOCK])
    changed = gzip.compress(blocks) if is_packed else bytes(blocks)
    return changed if len(changed) <= max_size else random_bytes(data, max_size)


MUTATORS = {
    "tar": mutate_tar,
    "parquet": mutate_parquet,
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
