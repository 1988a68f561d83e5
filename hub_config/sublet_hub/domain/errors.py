"""Errors that a user may read: a sentence, a stable type, and the HTTP status that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class PublicError(Exception):
    """An error whose message is written for the person who made the request.

    `type_name` is the stable last part of the problem's `type` (RFC 9457), `status` its HTTP status;
    `detail_fields` are extra members of the problem document, with names that API clients may rely on.
    """

    type_name: ClassVar[str] = "error"
    title: ClassVar[str] = "The request could not be carried out"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_at_ms: int | None = None, **detail_fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.retry_at_ms = retry_at_ms
        self.detail_fields: Mapping[str, object] = detail_fields


class InvalidRequest(PublicError):
    """A field is missing, unknown, of the wrong type or out of range; `field` names it."""

    type_name = "invalid-request"
    title = "The request is not valid"
    status = 422

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message, field=field)


class NotSignedIn(PublicError):
    """No token, or one that the hub does not know."""

    type_name = "not-signed-in"
    title = "Sign in first"
    status = 401


class NotAllowed(PublicError):
    """The token is good but lacks the scope, or asks for what belongs to another."""

    type_name = "not-allowed"
    title = "This is not allowed"
    status = 403


class NotFound(PublicError):
    """The user, group, flavor, lease or page that was named does not exist (or is none of the asker's business)."""

    type_name = "not-found"
    title = "Not found"
    status = 404


class Conflict(PublicError):
    """The request contradicts what is there: an idempotency key used twice for different things, an ended lease."""

    type_name = "conflict"
    title = "The request contradicts the present state"
    status = 409


class DeadlineStands(PublicError):
    """The deadline is not the user's to take back: a limit, an admin or the owner set it. `limit` and `subject` say
    which limit it is, where it is one."""

    type_name = "deadline-stands"
    title = "The deadline can't be taken back"
    status = 409


class TooManyChanges(PublicError):
    """The same is done over and over, and each time leaves something that is kept; `retry_at_ms` is when it may be
    done again."""

    type_name = "too-many-changes"
    title = "That was done too often"
    status = 429


class QuotaExceeded(PublicError):
    """A quota refuses the lease. The binding limit is in `limit`, whose quota it is in `subject`."""

    type_name = "quota-exceeded"
    title = "A quota is used up"
    status = 403


class CallsQuotaExceeded(QuotaExceeded):
    """A quota refuses calls of models, as it would a lease. Whoever calls may try again at `retry_at`."""

    status = 429


class CallerUnknown(PublicError):
    """The token that a caller of models showed is none of the hub's, or that of a server whose lease is over."""

    type_name = "caller-unknown"
    title = "The caller's token is not good"
    status = 401


class NoQuota(PublicError):
    """Neither the account nor the default has a quota: nothing is allowed until an admin sets one."""

    type_name = "no-quota"
    title = "No quota is set"
    status = 403


class NoCapacity(PublicError):
    """All GPUs of the pool are leased at the moment."""

    type_name = "no-capacity"
    title = "No GPU is free"
    status = 409


class MeterAway(PublicError):
    """The meter has not been heard of: new leases are refused, since nobody could stop them on time."""

    type_name = "meter-away"
    title = "Metering is not running"
    status = 503


class Unavailable(PublicError):
    """Something that the answer depends on (the hub, the database) does not answer."""

    type_name = "unavailable"
    title = "A part of the platform does not answer"
    status = 503
