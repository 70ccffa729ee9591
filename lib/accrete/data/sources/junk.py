"""What systems and programs put among images: never a class, never an image. Pure.

The names are those that Windows, macOS, network storages (Synology, QNAP), notebooks and version
control make.
"""

from collections.abc import Iterable

_FOLDERS = frozenset(
    (
        *("__macosx", "@eadir", "$recycle.bin", "#recycle", "@recycle", "@recently-snapshot"),
        *("#snapshot", "~snapshot", "@__thumb", "@tmp", "system volume information"),
        *("lost+found", "__pycache__", "found.000", "recycler", "network trash folder"),
        *("temporary items",),
    )
)
_FILES = frozenset(("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"))


def is_junk_name(name: str) -> bool:
    """Return whether a file or folder of this name is no matter of the user's."""
    lower = name.lower()
    return name.startswith(".") or lower in _FOLDERS or lower in _FILES


def junk_reason(parts: Iterable[str]) -> str | None:
    """Return why a file is left out: the first part of its path that is no matter of the user's."""
    for part in parts:
        if is_junk_name(part):
            lower = part.lower()
            return part if lower in _FOLDERS or lower in _FILES else "hidden"
    return None
