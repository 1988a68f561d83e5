"""What can go wrong, each as a class of its own with a sentence that says what to do."""

from __future__ import annotations


class SubletError(Exception):
    """Base of all errors of this package."""


class NotInALease(SubletError):
    """This Python doesn't run in a lease: its environment names no Sublet to ask."""


class Unavailable(SubletError):
    """Sublet doesn't answer, or not in a way that this package understands. Trying again later may help."""


class Refused(SubletError):
    """Sublet answered no. `type` is the stable name of the problem, such as `not-allowed`."""

    def __init__(self, message: str, *, type: str, status: int) -> None:  # noqa: A002 — the problem document's name
        super().__init__(message)
        self.type = type
        self.status = status
