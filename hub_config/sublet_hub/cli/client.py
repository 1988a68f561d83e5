"""The platform's HTTP API as the commands use it: one request, or all pages of a list; problems become errors."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Self

import httpx

from sublet_hub.cli.exits import CommandError, NotAllowed, Unreachable, UsageProblem
from sublet_hub.cli.platform import Target

API = "/services/sublet/api"
QUOTAS = "/hub/api/quotas"
TIMEOUT = httpx.Timeout(20.0, connect=5.0)
MOST_PAGES = 1000
PAGE_SIZE = 200

Method = Literal["GET", "PUT", "PATCH", "POST", "DELETE"]
Json = Any
"""A JSON document as it came. Commands hand it on unread (`--json`) or validate it with cli.readings."""


class Client:
    """One connection to a platform; a context manager."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self.url = target.url
        self._http = httpx.Client(
            base_url=target.url,
            headers={"Authorization": f"token {target.token}", "Accept": "application/json"},
            timeout=TIMEOUT,
            transport=transport,
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Json:
        return self._answer(self._send("GET", path, params=params))

    def pages(self, path: str, params: Mapping[str, str | int] | None = None) -> Iterator[Json]:
        """Every item of a paged list, following `Link: rel="next"` (RFC 8288) to the end."""
        query: Mapping[str, str | int] | None = {"limit": PAGE_SIZE, **(params or {})}
        for _ in range(MOST_PAGES):
            response = self._send("GET", path, params=query)
            yield from self._answer(response)
            following = response.links.get("next", {}).get("url")
            if not following:
                return
            # Only the path and query count: the api may know itself under another address than we do.
            path, query = httpx.URL(following).raw_path.decode("ascii"), None
        raise CommandError(f"The list has more than {MOST_PAGES * PAGE_SIZE} items; narrow it down.")

    def write(self, method: Method, path: str, body: Json = None) -> Json:
        """A change; repeated once if the connection breaks, under one Idempotency-Key, so that it is made
        once."""
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        try:
            response = self._send(method, path, body=body, headers=headers)
        except Unreachable:
            response = self._send(method, path, body=body, headers=headers)
        return self._answer(response)

    def _send(
        self,
        method: Method,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        with _connected(self.url):
            return self._http.request(method, path, params=params, json=body, headers=headers)

    def _answer(self, response: httpx.Response) -> Json:
        if response.is_success:
            return None if response.status_code == httpx.codes.NO_CONTENT else self._json(response)
        raise _problem(response, self.url)

    def _json(self, response: httpx.Response) -> Json:
        try:
            return response.json()
        except json.JSONDecodeError:
            raise Unreachable(
                f"What answers at {self.url} is not Sublet (no JSON came back).", hint="Check --url."
            ) from None


@contextmanager
def _connected(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException:
        raise Unreachable(
            f"{url} did not answer in time.", hint="Try again; if it stays so, run: sublet doctor"
        ) from None
    except httpx.TransportError as error:
        raise Unreachable(
            f"{url} can't be reached ({error}).", hint="Is it running? Start it with: sublet up"
        ) from None
    except httpx.InvalidURL as error:
        raise UsageProblem(f"{url} is no address: {error}.") from None


def _problem(response: httpx.Response, url: str) -> CommandError:
    """The error for a refusal (RFC 9457), or for an answer that is none of the api's."""
    document = _document(response)
    kind = str(document.get("type", "")).rpartition("/")[2]
    detail = str(document.get("detail") or document.get("title") or "")
    if kind == "not-signed-in" or (not kind and response.status_code == httpx.codes.UNAUTHORIZED):
        return NotAllowed(
            detail or "The platform does not know this token.",
            hint=f"Make a new one at {url}/hub/token and set SUBLET_TOKEN to it.",
        )
    if kind == "not-allowed" or (not kind and response.status_code == httpx.codes.FORBIDDEN):
        return NotAllowed(detail or "This token may not do that.")
    if kind == "invalid-request":
        field = document.get("field")
        return UsageProblem(f"{field}: {detail}" if field else detail)
    if kind == "unavailable" or response.status_code in {502, 503, 504}:
        return Unreachable(
            detail or f"A part of the platform at {url} does not answer.", hint="Look with: sublet doctor"
        )
    if not kind and response.status_code == httpx.codes.NOT_FOUND:
        return Unreachable(f"There is no Sublet at {url} (it answers 404).", hint="Check --url.")
    return CommandError(detail or f"The platform answered {response.status_code} {response.reason_phrase}.")


def _document(response: httpx.Response) -> Mapping[str, object]:
    if "json" not in response.headers.get("content-type", ""):
        return {}
    try:
        document = response.json()
    except json.JSONDecodeError:
        return {}
    # The hub's own errors are JSON too, but of another shape; only problems have a type.
    return document if isinstance(document, dict) and "type" in document else {}
