"""Asking the platform, over HTTP with the standard library alone, so that nothing in a notebook can clash with it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urlsplit

from sublet.errors import NotInALease, Refused, SubletError, Unavailable

TIMEOUT_SECONDS = 10.0
LONGEST_ANSWER_BYTES = 4 * 1024 * 1024
NEEDED = ("SUBLET_API_URL", "JUPYTERHUB_API_TOKEN", "SUBLET_LEASE_ID")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the platform told this server: where to ask, with which token, and which lease this is."""

    api_url: str
    token: str = field(repr=False)
    lease_id: str

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Surroundings:
        """From environment variables; NotInALease where one is missing."""
        missing = [name for name in NEEDED if not env.get(name)]
        if missing:
            raise NotInALease(
                f"This Python does not run in a Sublet lease ({' and '.join(missing)} not set)."
                " Run it in a notebook or terminal that was started on the platform."
            )
        url = env["SUBLET_API_URL"].rstrip("/")
        if urlsplit(url).scheme not in {"http", "https"}:
            raise NotInALease(f"SUBLET_API_URL is {url!r}, which is no address; start the server again.")
        return cls(url, env["JUPYTERHUB_API_TOKEN"], env["SUBLET_LEASE_ID"])


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the platform only, wherever an answer may point."""

    def redirect_request(self, *_: Any) -> None:
        return None


def get(around: Surroundings, path: str, timeout: float) -> Any:
    """The JSON at a path of the API."""
    return _ask(around, "GET", path, None, timeout)


def post(around: Surroundings, path: str, body: Mapping[str, object], timeout: float) -> Any:
    """What the API answers to JSON that is sent to a path of it."""
    return _ask(around, "POST", path, json.dumps(body).encode(), timeout)


@contextmanager
def understood() -> Iterator[None]:
    """Say what is the matter where an answer isn't what the published API says."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        raise Unavailable(
            f"Sublet's answer is not understood ({type(error).__name__}: {error})."
            " The platform may be newer than this package: pip install --upgrade sublet"
        ) from None


def _ask(around: Surroundings, method: str, path: str, body: bytes | None, timeout: float) -> Any:
    # No proxy of the environment either: it may be set for downloads, and is no place for the token.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
    headers = {"Authorization": f"token {around.token}", "Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(  # noqa: S310 — the scheme is checked above
        around.api_url + path, data=body, headers=headers, method=method
    )
    try:
        with opener.open(request, timeout=timeout) as response:
            return _json(response)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error) from None
    except TimeoutError:
        raise Unavailable(f"Sublet did not answer within {timeout:g} seconds. Try again.") from None
    except (urllib.error.URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise Unavailable(f"Sublet did not answer within {timeout:g} seconds. Try again.") from None
        raise Unavailable(
            f"Sublet does not answer at {around.api_url} ({reason}). Your lease runs on by itself; try again shortly."
        ) from None


def _json(response: IO[bytes]) -> Any:
    content = response.read(LONGEST_ANSWER_BYTES + 1)
    if len(content) > LONGEST_ANSWER_BYTES:
        raise Unavailable("Sublet's answer is longer than it can be.")
    try:
        return json.loads(content)
    except ValueError:
        raise Unavailable("What answers at SUBLET_API_URL is not Sublet: no JSON came back.") from None


def _refusal(error: urllib.error.HTTPError) -> SubletError:
    """The error for a problem document (RFC 9457), or for an answer that is none."""
    try:
        document = _json(error)
    except (Unavailable, OSError, HTTPException):
        document = None
    if not isinstance(document, dict):
        document = {}
    name = str(document.get("type", "")).rpartition("/")[2]
    detail = str(document.get("detail") or f"Sublet answered {error.code} {error.reason}.")
    if error.code >= 500 or not name:
        return Unavailable(detail)
    if name == "not-signed-in":
        detail += " The token of this server is no longer good; stop the server and start it again."
    return Refused(detail, type=name, status=error.code)
