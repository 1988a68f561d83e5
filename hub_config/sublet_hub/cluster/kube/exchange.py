"""Sending one request to the API server, and sending it again where that is worth it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2 as httpx
import msgspec
from lightkube.core.exceptions import ConfigError

from sublet_hub.cluster.kube.errors import Ask, Away, Busy, Silent, from_answer

OnRequest = Callable[[str, int], None]
"""Told the verb and the HTTP status of each request; 0 where there was no answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try."""

    connect_seconds: float = 5
    answer_seconds: float = 20
    """Without a byte of an answer."""
    attempts: int = 3
    first_delay_seconds: float = 0.25
    """Doubled with each attempt, and up to half of it less, at random."""
    most_delay_seconds: float = 5
    """Who is asked by the server to wait longer gives up at once."""
    rest_seconds: float = 2
    """Once all attempts failed, further requests fail at once for so long: a thousand actions in a row must not
    each wait for a server that is away."""


class Exchange:
    """Sends requests. Safe to share between threads."""

    def __init__(
        self,
        client: httpx.Client,
        on_request: OnRequest | None,
        patience: Patience,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._sleep = sleep
        self._on_request = on_request
        self._patience = patience
        self._timeout = httpx.Timeout(patience.answer_seconds, connect=patience.connect_seconds)
        self._rest_until = 0.0

    def with_patience(self, patience: Patience) -> Exchange:
        """The same for somebody with other needs."""
        return Exchange(self._client, self._on_request, patience, self._sleep)

    def close(self) -> None:
        """Close all connections, for all who share them."""
        self._client.close()

    def send(
        self,
        ask: Ask,
        method: str,
        *,
        path: str = "",
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Ask, and ask again as patience allows; return the answer's body. Raises a `KubeError`."""
        if time.monotonic() < self._rest_until:
            raise Busy(f"can't {ask}: the API server did not answer a moment ago")
        request = self._client.build_request(
            method,
            path or ask.path,
            params=dict(query or {}),
            content=None if body is None else msgspec.json.encode(body),
            headers={} if body is None else {"Content-Type": content_type},
            timeout=self._timeout,
        )
        delay = self._patience.first_delay_seconds
        for left in reversed(range(self._patience.attempts)):
            try:
                return self._read(ask, request)
            except Away as error:
                wait = error.retry_after_seconds or delay * random.uniform(0.5, 1)  # noqa: S311 - only spreads
                if left == 0 or wait > self._patience.most_delay_seconds or (error.begun and method == "POST"):
                    self._rest_until = time.monotonic() + self._patience.rest_seconds
                    raise
            self._sleep(wait)
            delay *= 2
        raise AssertionError("patience allows no attempt")

    def begin(self, ask: Ask, query: Mapping[str, str], silence_seconds: float) -> httpx.Response:
        """Ask once, for an answer that is read as it comes."""
        timeout = httpx.Timeout(silence_seconds, connect=self._patience.connect_seconds)
        return self._once(ask, self._client.build_request("GET", ask.path, params=dict(query), timeout=timeout))

    def _read(self, ask: Ask, request: httpx.Request) -> bytes:
        response = self._once(ask, request)
        try:
            return response.read()
        except httpx.RequestError as error:
            raise unanswered(ask, error) from error
        finally:
            response.close()

    def _once(self, ask: Ask, request: httpx.Request) -> httpx.Response:
        """Send one request; return its answer, whose body is yet to be read, if it is one of success."""
        code = 0
        try:
            response = self._client.send(request, stream=True)
            code = response.status_code
            if response.is_success:
                return response
            try:
                body = response.read()
            finally:
                response.close()
        except httpx.RequestError as error:
            raise unanswered(ask, error) from error
        except ConfigError as error:  # the token's file can't be read
            raise Busy(f"can't {ask}: {error}") from error
        finally:
            if self._on_request is not None:
                self._on_request(ask.verb, code)
        raise from_answer(ask, code, body, response.headers.get("Retry-After"))


def unanswered(ask: Ask, error: httpx.RequestError) -> Away:
    """Say what a request without a whole answer means."""
    why = f"can't {ask}: {str(error) or type(error).__name__}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Busy(why)
    return Silent(why) if isinstance(error, httpx.TimeoutException) else Away(why)
