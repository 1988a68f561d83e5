"""Talking to the platform's API without ever blocking the server: single requests, and the lease's event stream."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.tcpclient import TCPClient

from sublet.asking import Surroundings
from sublet_server.event_stream import Event, EventStream, NoEventStreamError

TIMEOUT_SECONDS = 10.0
LONGEST_ANSWER_BYTES = 4 * 1024 * 1024
LONGEST_STREAM_BYTES = 64 * 1024 * 1024
"""After so much a stream is opened anew. It is far more than an hour of one lease's events."""
LONGEST_RETRY_AFTER_SECONDS = 300.0


class PlatformAwayError(Exception):
    """The platform does not answer, or not as Sublet does. The message is a sentence for people."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PlatformRefusedError(Exception):
    """The platform said no, with its status and its sentence."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came, to be passed on."""

    status: int
    body: bytes
    content_type: str

    def document(self) -> dict[str, Any]:
        """Its JSON object; empty where it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def detail(self) -> str:
        return str(self.document().get("detail") or f"Sublet answered with status {self.status}.")


class PlatformApi:
    """The API, asked with the server's own token. No proxy of the environment is used, and no redirect followed:
    the token goes to the platform only."""

    def __init__(self, around: Surroundings) -> None:
        self.lease_id = around.lease_id
        self._around = around
        self._client: SimpleAsyncHTTPClient | None = None

    def lease_path(self, rest: str = "", lease_id: str | None = None) -> str:
        return f"/leases/{quote(lease_id or self.lease_id, safe='')}{rest}"

    async def ask(
        self, method: str, path: str, document: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request. PlatformAwayError where no answer of the platform comes."""
        if self._client is None:  # made in the running loop
            self._client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=LONGEST_ANSWER_BYTES)
        fields = self._headers("application/json")
        fields.update(dict(headers or {}))
        body = None
        if method != "GET":
            body = json.dumps(document)
            fields["Content-Type"] = "application/json"
        request = HTTPRequest(
            self._around.api_url + path,
            method=method,
            headers=fields,
            body=body,
            connect_timeout=TIMEOUT_SECONDS,
            request_timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
        )
        try:
            response = await self._client.fetch(request, raise_error=False)
        except (HTTPClientError, OSError, ssl.SSLError, ValueError) as error:
            raise PlatformAwayError(_away(error)) from None
        if response.code >= 500 or 300 <= response.code < 400:
            answer = Answer(response.code, response.body, response.headers.get("Content-Type", ""))
            raise PlatformAwayError(answer.detail, retry_after(response.headers))
        return Answer(response.code, response.body, response.headers.get("Content-Type", "application/json"))

    async def listen(self, path: str, heed: Callable[[Event], None], silence_seconds: float) -> float | None:
        """Hear a stream of events to its end; gives how long it asked to wait before the next connection.

        PlatformAwayError where it breaks off or is silent for too long, PlatformRefusedError where it is refused.
        """
        call = _Call(heed)
        client = SimpleAsyncHTTPClient(force_instance=True, max_body_size=LONGEST_STREAM_BYTES)
        line = client.tcp_client = _Line()
        request = HTTPRequest(
            self._around.api_url + path,
            headers=self._headers("text/event-stream"),
            connect_timeout=TIMEOUT_SECONDS,
            request_timeout=0,
            follow_redirects=False,
            decompress_response=False,
            header_callback=call.on_header,
            streaming_callback=call.on_chunk,
        )
        fetching = asyncio.ensure_future(client.fetch(request, raise_error=False))
        fetching.add_done_callback(lambda done: None if done.cancelled() else done.exception() and None)
        try:
            while not fetching.done():
                quiet = asyncio.get_running_loop().time() - call.heard_at
                if quiet >= silence_seconds:
                    raise PlatformAwayError(f"Sublet has been silent for {quiet:.0f} seconds.")
                await asyncio.wait({fetching}, timeout=silence_seconds - quiet)
            return call.end(fetching)
        finally:
            line.hang_up()
            client.close()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _headers(self, accept: str) -> HTTPHeaders:
        return HTTPHeaders({"Authorization": f"token {self._around.token}", "Accept": accept})


class _Line(TCPClient):
    """Remembers its connection, so that one on which nothing comes any more can be closed."""

    def __init__(self) -> None:
        super().__init__()
        self._stream: IOStream | None = None

    async def connect(self, *args: Any, **kwargs: Any) -> IOStream:
        self._stream = await super().connect(*args, **kwargs)
        return self._stream

    def hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self.close()


class _Call:
    """One connection's answer, as its parts come in."""

    def __init__(self, heed: Callable[[Event], None]) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._heed = heed
        self._stream = EventStream()
        self._is_stream = False
        self._problem = b""
        self._broken: NoEventStreamError | None = None

    def on_header(self, line: str) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        name, _, value = line.partition(":")
        if name.lower() == "content-type":
            self._is_stream = value.strip().startswith("text/event-stream")

    def on_chunk(self, chunk: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if not self._is_stream:
            self._problem = (self._problem + chunk)[:LONGEST_ANSWER_BYTES]
            return
        try:
            for event in self._stream.feed(chunk):
                self._heed(event)
        except NoEventStreamError as error:
            self._broken = error
            raise  # which closes the connection

    def end(self, fetching: asyncio.Future[Any]) -> float | None:
        """How it ended, once it has."""
        try:
            response = fetching.result()
        except NoEventStreamError as error:
            raise PlatformAwayError(f"What answers at SUBLET_API_URL is not Sublet: {error}.") from None
        except (HTTPClientError, OSError, ssl.SSLError, ValueError) as error:
            raise PlatformAwayError(_away(self._broken or error)) from None
        if response.code == 200 and self._is_stream:
            return self._stream.retry_seconds
        answer = Answer(response.code, self._problem, "")
        if 400 <= response.code < 500 and response.code != 429:
            raise PlatformRefusedError(response.code, answer.detail)
        raise PlatformAwayError(answer.detail, retry_after(response.headers))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a `Retry-After` asks for, bounded; None where it gives none (dates are not used here)."""
    value = headers.get("Retry-After", "")
    return min(float(value), LONGEST_RETRY_AFTER_SECONDS) if value.isdecimal() else None


def _away(error: BaseException) -> str:
    if isinstance(error, TimeoutError) or "Timeout" in str(error):
        return "Sublet did not answer in time."
    reason = error.strerror if isinstance(error, socket.gaierror) else str(error)
    return f"Sublet does not answer ({reason or type(error).__name__})."
