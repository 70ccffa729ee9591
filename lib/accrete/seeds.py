"""Seeds of everything random, derived so that no two uses share a stream."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that the parts alone decide, e.g. ("order", seed, stage, epoch)."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
