"""Every refusal and failure as a problem document, and the refusals that only HTTP knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sublet_hub.api.models.fields import moment_or_none
from sublet_hub.api.models.problem import PROBLEM_BASE, PROBLEM_TYPE, FieldFault, Problem
from sublet_hub.api.present import bound_limit
from sublet_hub.domain.errors import InvalidRequest, NotFound, NotSignedIn, PublicError

MOST_FAULTS = 20
"""The most wrong fields that one answer names."""

RETRY_STREAM_SECONDS = 15
"""When to try again for an event stream that there is no room for."""


class MethodNotAllowed(PublicError):
    """The resource is there, but not for this method; `Allow` lists those it has."""

    type_name = "method-not-allowed"
    title = "The resource has no such method"
    status = 405


class BodyTooLarge(PublicError):
    """The request's body is longer than any that makes sense here."""

    type_name = "body-too-large"
    title = "The body is too large"
    status = 413


class UnsupportedMediaType(PublicError):
    """The body isn't sent as JSON."""

    type_name = "unsupported-media-type"
    title = "The body must be JSON"
    status = 415


class TooManyStreams(PublicError):
    """This process has as many event streams open as it may."""

    type_name = "too-many-streams"
    title = "All event streams are taken"
    status = 503


class Failure(PublicError):
    """Something went wrong on our side; the log has the details, the answer has none."""

    type_name = "internal-error"
    title = "Something went wrong on our side"
    status = 500


class FaultyFields(InvalidRequest):
    """Several fields are wrong; the first is `field`, all are in `errors`."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        named = " ".join(f"{fault.field}: {fault.detail}" for fault in faults)
        super().__init__(faults[0].detail if len(faults) == 1 else named, field=faults[0].field)
        self.faults = tuple(faults)


def problem_of(error: PublicError, path: str) -> Problem:
    """The document for an error; members that don't apply are left out."""
    members: dict[str, Any] = {
        "field": error.detail_fields.get("field"),
        "errors": list(error.faults) if isinstance(error, FaultyFields) and len(error.faults) > 1 else None,
        "limit": bound_limit(error),
        "subject": error.detail_fields.get("subject"),
        "retry_at": moment_or_none(error.retry_at_ms),
    }
    return Problem(
        type=PROBLEM_BASE + error.type_name,
        title=error.title,
        status=error.status,
        detail=error.message,
        instance=path,
        **{name: value for name, value in members.items() if value is not None},
    )


def problem_body(error: PublicError, path: str) -> str:
    return problem_of(error, path).model_dump_json(exclude_unset=True)


def problem_response(error: PublicError, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error. 401 says how to sign in, as RFC 9110 asks."""
    sent = dict(headers or {})
    if isinstance(error, NotSignedIn):
        sent["WWW-Authenticate"] = 'Bearer realm="sublet"'
    if isinstance(error, TooManyStreams):
        sent["Retry-After"] = str(RETRY_STREAM_SECONDS)
    return Response(problem_body(error, path), error.status, sent, media_type=PROBLEM_TYPE)


def faults_of(errors: Sequence[Mapping[str, Any]]) -> FaultyFields:
    """Pydantic's findings in our words: which field, and why. The value itself is not repeated."""
    return FaultyFields(
        [FieldFault(field=field_name(error["loc"]), detail=_why(error)) for error in errors[:MOST_FAULTS]]
    )


def field_name(location: Sequence[str | int]) -> str:
    """`limits[0].limit` for ("body", "limits", 0, "limit"); the part of the request where there is nothing more."""
    where, *path = location
    if where == "body" and len(path) == 1 and isinstance(path[0], int):
        return "body"  # where in the text the JSON breaks off
    if where not in {"body", "query", "path", "header"}:
        path = list(location)
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return name or str(where)


def _why(error: Mapping[str, Any]) -> str:
    """A sentence for one finding."""
    reason = _REASONS.get(error["type"]) or str(error["msg"])[:300].rstrip(".") + "."
    return re.sub(r"^(Input|Value|String|Tuple|List) should", "It should", reason)


_REASONS = {
    "extra_forbidden": "There is no such field.",
    "missing": "It is missing.",
    "json_invalid": "It is not valid JSON.",
    "string_pattern_mismatch": "It has characters that are not allowed here, or not the form that is needed.",
    "int_type": "It should be a whole number, without quotes or a decimal point.",
}


def of_validation(error: RequestValidationError) -> PublicError:
    return faults_of(error.errors())


def of_http(error: HTTPException, path: str) -> PublicError:
    """What the framework itself refuses: unknown paths, wrong methods."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(f"There is nothing at {path[:200]}.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed("This resource does not have that method; the header Allow lists those it has.")
    if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure("Something went wrong on our side. It has been logged.")
    return InvalidRequest("The request could not be read.", field="body")
