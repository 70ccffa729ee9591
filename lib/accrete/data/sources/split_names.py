"""Names that data sets give their splits."""

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}


def normalized_splits(entries: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Return entries (split, …) in which a lone validation split is the test split.

    Several public sets, ImageNet among them, publish labels for `validation` only and are reported
    on it.
    """
    splits = {entry[0] for entry in entries}
    if "validation" in splits and "test" not in splits:
        rename = {"validation": "test"}
        return [(rename.get(split, split), *rest) for split, *rest in entries]  # type: ignore[misc]
    return entries
