"""YAML of pipelines and manifests, read by libyaml: by Python alone it takes ten times as long."""

from typing import Any

import yaml

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def documents_in(text: str) -> list[Any]:
    """Return the documents of a stream, new each time."""
    return list(yaml.load_all(text, Loader))


def document_in(text: str) -> Any:
    """Return the only document of a stream."""
    return yaml.load(text, Loader)  # noqa: S506  a safe one
