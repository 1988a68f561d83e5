"""What the gateway tells callers when a call fails, and the two forms in which it says so.

Every refusal is a problem document (RFC 9457) that also has the member `error` as OpenAI's API has it, so that
OpenAI's clients raise their own exceptions and everybody else reads the same as from the api.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import ClassVar

from sublet_hub.domain.errors import InvalidRequest, NotAllowed, NotFound, NotSignedIn, PublicError, Unavailable

PROBLEM_TYPE = "application/problem+json"
LONGEST_RETRY_SECONDS = 60
"""Clients that are told to come back later than this should not try again by themselves."""


class LicenceNotAccepted(PublicError):
    """The model's licence has not been accepted by whoever calls; `link` is the page where it can be."""

    type_name = "licence-not-accepted"
    title = "The model's licence has not been accepted"
    status = 403


class ModelBusy(PublicError):
    """All that may call the model at once do, and enough wait already."""

    type_name = "model-busy"
    title = "The model is busy"
    status = 503


class ModelAway(PublicError):
    """No server of the model can be reached."""

    type_name = "model-away"
    title = "The model can't be reached"
    status = 503


class NoRoomForModel(ModelAway):
    """A server of the model would have to be started, and no GPU or no quota is to be had for it. `retry_at_ms` is
    when that is looked into again."""

    type_name = "model-no-capacity"
    title = "There is no room for a server of the model"


class ModelFailed(PublicError):
    """The model's server broke off, or sent what is no answer."""

    type_name = "model-failed"
    title = "The model's server failed"
    status = 502


class ModelSilent(PublicError):
    """The model's server took too long."""

    type_name = "model-silent"
    title = "The model's server took too long"
    status = 504


class CallRefused(PublicError):
    """The model's server would not do what was asked; the sentence is its own."""

    type_name = "call-refused"
    title = "The model's server refused the call"
    status = 400

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.upstream_status = status


class CallTooLarge(PublicError):
    """The call's body is longer than the gateway takes."""

    type_name = "call-too-large"
    title = "The call is too large"
    status = 413


class GatewayFailed(PublicError):
    """Something went wrong in the gateway itself; its log says what, without what was said."""

    type_name = "gateway-failed"
    title = "Something went wrong on our side"
    status = 500


class TooManyCalls(PublicError):
    """An account calls faster than it may; `limit` says which rate it is, `limits` does so in headers."""

    type_name = "too-many-calls"
    title = "Calls come too fast"
    status = 429

    def __init__(self, message: str, *, retry_at_ms: int, limits: str, limit: Mapping[str, object]) -> None:
        super().__init__(message, retry_at_ms=retry_at_ms, limit=limit)
        self.limits = limits


class OverAllowance(PublicError):
    """A quota of model tokens or money doesn't allow the call. Made from the api's own refusal."""

    type_name = "over-allowance"
    title = "A quota is used up"
    status = 429

    problem_base: ClassVar[str] = ""

    def __init__(self, problem: Mapping[str, object], retry_at_ms: int | None, limits: str) -> None:
        super().__init__(str(problem.get("detail", "A quota is used up.")), retry_at_ms=retry_at_ms)
        self.problem = problem
        self.limits = limits
        """The header `RateLimit`, and after a line feed `RateLimit-Policy`; empty where no limit is known."""


_OPENAI_TYPES: Mapping[type[PublicError], tuple[str, str]] = {
    NotSignedIn: ("authentication_error", "invalid_api_key"),
    NotFound: ("invalid_request_error", "model_not_found"),
    InvalidRequest: ("invalid_request_error", "invalid_value"),
    LicenceNotAccepted: ("permission_error", "licence-not-accepted"),
    NotAllowed: ("permission_error", "not-allowed"),
    OverAllowance: ("insufficient_quota", "insufficient_quota"),
    TooManyCalls: ("requests", "rate_limit_exceeded"),
    CallRefused: ("invalid_request_error", "call-refused"),
    CallTooLarge: ("invalid_request_error", "call-too-large"),
}
"""`type` and `code` of OpenAI's errors, for those that clients tell apart. Others are `server_error`s."""


def status_of(error: PublicError) -> int:
    return error.upstream_status if isinstance(error, CallRefused) else error.status


def members_of(error: PublicError, base: str, path: str) -> dict[str, object]:
    """The document: OpenAI's `error` and the problem's own members. `base` is what problem types begin with."""
    kind, code = next(
        (named for cls, named in _OPENAI_TYPES.items() if isinstance(error, cls)), ("server_error", error.type_name)
    )
    said: dict[str, object] = {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.detail_fields.get("field"),
            "code": code,
        },
        "type": base + error.type_name,
        "title": error.title,
        "status": status_of(error),
        "detail": error.message,
        "instance": path,
    }
    if error.retry_at_ms is not None:
        said["retry_at"] = datetime.fromtimestamp(error.retry_at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    said |= {name: value for name, value in error.detail_fields.items() if value is not None}
    if isinstance(error, OverAllowance):
        kept = ("type", "title", "limit", "subject", "retry_at")
        said |= {name: error.problem[name] for name in kept if error.problem.get(name) is not None}
    return said


def body_of(error: PublicError, base: str, path: str) -> bytes:
    return json.dumps(members_of(error, base, path)).encode()


def headers_of(error: PublicError, now: float | None = None) -> list[tuple[bytes, bytes]]:
    """What goes with the document: when to try again, and whether OpenAI's clients should do so by themselves."""
    sent = [(b"content-type", PROBLEM_TYPE.encode())]
    if isinstance(error, NotSignedIn):
        sent.append((b"www-authenticate", b'Bearer realm="sublet"'))
    seconds = retry_seconds(error, time.time() if now is None else now)
    if seconds is not None:
        sent.append((b"retry-after", str(seconds).encode()))
    if isinstance(error, OverAllowance | TooManyCalls):
        rate, _, policy = error.limits.partition("\n")
        sent += [(b"ratelimit", rate.encode())] if rate else []
        sent += [(b"ratelimit-policy", policy.encode())] if policy else []
    # OpenAI's clients try 429 and 5xx again by themselves; that helps only where another moment may differ.
    passes = ModelBusy | ModelAway | TooManyCalls | Unavailable
    soon = isinstance(error, passes) and (seconds or 0) <= LONGEST_RETRY_SECONDS
    if status_of(error) == HTTPStatus.TOO_MANY_REQUESTS or status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        sent.append((b"x-should-retry", b"true" if soon else b"false"))
    return sent


def retry_seconds(error: PublicError, now: float) -> int | None:
    """Whole seconds from now until `retry_at`, at least 1; None where there is none."""
    if error.retry_at_ms is None:
        return None
    return max(1, math.ceil(error.retry_at_ms / 1000 - now))
