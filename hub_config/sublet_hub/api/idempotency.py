"""A write that is sent twice with one Idempotency-Key has one effect (IETF draft idempotency-key-header)."""

from __future__ import annotations

import hashlib

from sublet_hub.domain.errors import InvalidRequest

HEADER = "Idempotency-Key"
LONGEST_KEY = 255


def checked_key(key: str) -> str:
    """The key as sent; InvalidRequest unless it is 1 to 255 printable ASCII characters."""
    if not 1 <= len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise InvalidRequest(f"{HEADER}: it has 1 to {LONGEST_KEY} printable characters.", field=HEADER)
    return key


def fingerprint(method: str, path: str, query: bytes, body: bytes) -> str:
    """What makes two requests the same one."""
    parts = (method.encode(), path.encode(errors="replace"), query, body)
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
