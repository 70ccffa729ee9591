"""Files that may hold pickles, known by how they begin: loading one can run any code.

Nothing here is ever loaded; the word for what a file is goes into the message that refuses it.
"""

HEAD_BYTES = 256
"""As many are enough to tell."""

_NEWEST_PROTOCOL = 5


def pickle_kind(head: bytes) -> str | None:
    """Return what kind of pickle a file is, None where it does not begin like one.

    Args:
        head: the first HEAD_BYTES bytes of the file, or all that it has.
    """
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= _NEWEST_PROTOCOL:
        return "a pickle"
    if head.startswith(b"PK\x03\x04") and b"data.pkl" in head[:HEAD_BYTES]:
        return "a pickle in a zip archive, as torch.save writes it"
    if head.startswith(b"\x93NUMPY"):
        return "a numpy array file, which may hold a pickle"
    if head.startswith(b"PK\x03\x04") and b".npy" in head[:HEAD_BYTES]:
        return "numpy array files in a zip archive, which may hold pickles"
    return None
