"""A problem as a page, where a person's browser asked for one and not for data."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from sublet_hub.api.pages import rendering
from sublet_hub.api.problems import problem_response
from sublet_hub.api.session import PREFIX
from sublet_hub.domain.errors import PublicError

FIRST_SERVER_FAULT = 500


def is_for_people(path: str, accept: str) -> bool:
    """Whether a page was asked for: one of ours, by something that reads HTML."""
    is_data = path.startswith((f"{PREFIX}api/", f"{PREFIX}static/", "/hub/api/"))
    return not is_data and "text/html" in accept


def answer(error: PublicError, path: str, accept: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an error: a page for people, a problem document for programs."""
    if is_for_people(path, accept):
        return problem_page(error)
    return problem_response(error, path, headers)


def problem_page(error: PublicError) -> Response:
    """What went wrong, and the ways on."""
    may_pass = error.status >= FIRST_SERVER_FAULT
    return rendering.page(
        "problem.html", error.status, {"title": error.title, "detail": error.message, "may_pass": may_pass}
    )
