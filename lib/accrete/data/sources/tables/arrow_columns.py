"""What the columns of an Arrow schema may hold: images, labels or paths; nested ones by a.b.c."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from accrete.core.untrusted import decode_json

_MAX_DEPTH = 8


def columns_of(schema: Any) -> dict[str, Any]:
    """Return the types of a schema's columns by name, those inside of structs by `outer.inner`.

    Structs that are images themselves are not taken apart.
    """
    found: dict[str, Any] = {}
    for field in schema:
        found.update(_flattened(field.name, field.type, 0))
    return found


def _flattened(name: str, kind: Any, depth: int) -> Iterator[tuple[str, Any]]:
    kind = plain(kind)
    yield name, kind
    if pa.types.is_struct(kind) and not is_image(kind) and depth < _MAX_DEPTH:
        for number in range(kind.num_fields):
            field = kind.field(number)
            yield from _flattened(f"{name}.{field.name}", field.type, depth + 1)


def plain(kind: Any) -> Any:
    """Return a type without extension, dictionary and run-length coding."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        else:
            return kind


def element(kind: Any) -> Any:
    """Return the type of a list's elements, of any other type itself."""
    kind = plain(kind)
    return plain(kind.value_type) if _is_list(kind) else kind


def is_image(kind: Any) -> bool:
    """Return whether a column of this type, or lists of it, may hold images or their paths."""
    if is_pixels(kind):
        return True
    kind = element(kind)
    if pa.types.is_struct(kind):
        fields = {kind.field(n).name: kind.field(n).type for n in range(kind.num_fields)}
        data, path = fields.get("bytes"), fields.get("path")
        if data is not None and is_bytes(data):
            return True
        has_path = path is not None and is_text(path)
        return has_path and (len(fields) == 1 or (data is not None and pa.types.is_null(data)))
    return is_bytes(kind) or is_pixels(kind)


def is_bytes(kind: Any) -> bool:
    """Return whether a type is a string of bytes of any form."""
    kind = plain(kind)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_text(kind: Any) -> bool:
    """Return whether a type is text of any form."""
    kind = plain(kind)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def is_pixels(kind: Any) -> bool:
    """Return whether a type is rows of whole numbers, or rows of pixels of such."""
    depth = 0
    while _is_list(kind := plain(kind)):
        kind, depth = kind.value_type, depth + 1
    return depth in (2, 3) and bool(pa.types.is_integer(kind))


def is_label(kind: Any) -> bool:
    """Return whether a column of this type, or lists of it, may hold labels."""
    kind = element(kind)
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or is_text(kind)
        or is_bytes(kind)
    )


def _is_list(kind: Any) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def class_label_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """Return the class names of each ClassLabel in a schema's Hugging Face metadata, by column."""
    try:
        info = decode_json((metadata or {}).get(b"huggingface", b"{}"))
        return names_of_features(info["info"]["features"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def names_of_features(features: Any) -> dict[str, tuple[str, ...]]:
    """Return the class names of each ClassLabel of Hugging Face's features, by column."""
    found: dict[str, tuple[str, ...]] = {}
    if isinstance(features, Mapping):
        for name, feature in features.items():
            found.update(_of_feature(str(name), feature, 0))
    return found


def _of_feature(name: str, feature: Any, depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(feature, list) and len(feature) == 1:  # how `datasets` once wrote a list
        feature = feature[0]
    if not isinstance(feature, Mapping) or depth > _MAX_DEPTH:
        return
    kind = feature.get("_type")
    if kind == "ClassLabel":
        names = feature.get("names")
        if isinstance(names, list) and names and all(isinstance(n, str) for n in names):
            yield name, tuple(names)
    elif kind in ("Sequence", "List", "LargeList"):
        yield from _of_feature(name, feature.get("feature"), depth + 1)
    elif kind is None:
        for child, inner in feature.items():
            yield from _of_feature(f"{name}.{child}", inner, depth + 1)


def descend(array: Any, steps: list[str]) -> Any:
    """Return a field inside of an array of structs."""
    import pyarrow.compute as pc

    for step in steps:
        if isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        array = pc.struct_field(array, step)
    return array.storage if isinstance(array.type, pa.BaseExtensionType) else array
