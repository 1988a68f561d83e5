"""The outermost layer: counts and times every request, adds the security headers, and answers what nobody caught."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sublet_hub.api.event_text import MEDIA_TYPE
from sublet_hub.api.metrics import Metrics
from sublet_hub.api.problem_page import answer as answer_to
from sublet_hub.api.problems import Failure
from sublet_hub.domain.errors import PublicError, Unavailable

log = logging.getLogger(__name__)

MOST_IN_FLIGHT = 500
"""Requests at once; more are refused at once and not queued, so that those there are get done. Those whose body is
still coming don't count: else whoever sends a few hundred of them slowly would keep everybody else out."""

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})

EVENT_STREAM = (b"content-type", f"{MEDIA_TYPE}; charset=utf-8".encode())
NO_ROUTE = "none"
GONE = 499
"""As a label, for requests whose client went away before the answer; no client ever sees it."""

API_POLICY = b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SECURITY_HEADERS = {
    b"content-security-policy": API_POLICY,
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
"""On every answer that doesn't set its own: nothing of ours is to be framed, sniffed or kept."""


class Edge:
    """Pure ASGI, since it is on the way of every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        self._count(+1)

        def done(status: int | None) -> None:
            self._count(-1)
            seconds = time.perf_counter() - started
            self._metrics.answered(_method(scope), _route(scope), status or GONE, seconds)

        answer = _Answer(send, done)
        try:
            await self._serve(scope, _Body(receive, self._count) if scope["method"] in WITH_BODY else receive, answer)
        finally:
            answer.end()

    def _count(self, change: int) -> None:
        self._in_flight += change
        self._metrics.in_flight.set(self._in_flight)

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if self._in_flight > MOST_IN_FLIGHT:
            busy = Unavailable("Too many requests are being answered just now. Try again shortly.")
            await _refusal(busy, scope)(scope, receive, answer)
            return
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            # The top of the loop: whatever nobody foresaw is logged, counted and answered without details.
            log.exception("%s %s failed", scope["method"], _route(scope))
            self._metrics.failed(error)
            if answer.status is not None:
                raise
            failure = Failure("Something went wrong on our side. It has been logged.")
            await _refusal(failure, scope)(scope, receive, answer)


def _refusal(error: PublicError, scope: Scope) -> Response:
    return answer_to(error, scope["path"], Headers(scope=scope).get("accept", ""))


class _Body:
    """Hands a body on as it comes; while more of it is waited for, the request is none of those being answered."""

    def __init__(self, receive: Receive, count: Callable[[int], None]) -> None:
        self._receive = receive
        self._count = count
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        self._count(-1)
        try:
            message = await self._receive()
        finally:
            self._count(+1)
        self._is_whole = not message.get("more_body", False)
        return message


class _Answer:
    """Hands an answer on, with our headers, and remembers its status.

    `done` is called once with it: at the answer's end, or where an event stream begins, for that may last an hour.
    """

    def __init__(self, send: Send, done: Callable[[int | None], None]) -> None:
        self._send: Callable[[Message], Awaitable[None]] = send
        self._done = done
        self._has_ended = False
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name for name, _ in message["headers"]}
            ours = [header for header in SECURITY_HEADERS.items() if header[0] not in own]
            message["headers"] = [*message["headers"], *ours]
            if EVENT_STREAM in message["headers"]:
                self.end()
        await self._send(message)

    def end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._done(self.status)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _method(scope: Scope) -> str:
    """As a label; what a client made up must not grow the metrics."""
    method = str(scope["method"])
    return method if method in _METHODS else "other"


def _route(scope: Scope) -> str:
    """The route's path with its parameters' names, never the path itself: that would name users."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", NO_ROUTE))
