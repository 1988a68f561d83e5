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


class NoSuchModel(SubletError):
    """The catalogue has no model of that name."""


class NotHere(SubletError):
    """The files of a model, or what reads them, are not in this server."""


class LicenceNeeded(SubletError):
    """A model's licence must be accepted first; `url` is the page to do it on."""

    def __init__(self, message: str, *, url: str) -> None:
        super().__init__(message)
        self.url = url


class DoesNotFit(SubletError):
    """A model needs more memory than there is."""
