"""What can go wrong with the store, in words for its administrator."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoreError(Exception):
    """Nothing was made visible. The message says why, `hint` what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class StoreBusyError(StoreError):
    """Somebody else is changing this model in this store just now."""


class WrongContentError(StoreError):
    """What came is not what the catalogue says: another sum or size, or not of its format."""


class TransferError(StoreError):
    """A source doesn't give the file: it is away, has no such file, or refuses. `again`: worth another try."""

    def __init__(self, message: str, *, hint: str | None = None, again: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.again = again


@contextmanager
def full_disk_said(folder: Path) -> Iterator[None]:
    """Make a StoreError of what the system says where a disk, or its owner's share of it, is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StoreError(
            f"The disk of {folder} is full.",
            hint="Make room and add the model again: what came so far is kept, and it goes on from there.",
        ) from None
