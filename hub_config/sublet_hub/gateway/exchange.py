"""One exchange with a model's server: asking it, and reading its answer with all that may be wrong with it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp

from sublet_hub.domain.errors import PublicError
from sublet_hub.gateway.asked import CLASSIFY, Endpoint
from sublet_hub.gateway.errors import CallRefused, ModelAway, ModelBusy, ModelFailed, ModelSilent
from sublet_hub.gateway.upstreams import CONNECT_SECONDS, Server

ANSWER_BYTES_MAX = 64 * 2**20
REFUSAL_BYTES_MAX = 64 * 1024
REFUSAL_CHARACTERS = 2_000
TRIES_MAX = 3

PASSED_ON = frozenset({400, 404, 405, 413, 415, 422, 501})
"""Statuses by which a server says that the call itself is wrong, or that it has no such endpoint."""

NO_ENDPOINT = frozenset({404, 405})
"""Those of them that say nothing else, unless they are about the model."""


class CanNotConnect(Exception):
    """The server was not reached at all: another may be asked."""


class Refusal(Exception):
    """The server refused the call as it is; `body` says why."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body

    def mentions(self, *words: bytes) -> bool:
        return any(word in self.body for word in words)

    def public(self, endpoint: Endpoint) -> CallRefused:
        if self.status in NO_ENDPOINT and not self.mentions(b"model"):
            return CallRefused(f"The model's server has no {endpoint.path}.", status=self.status)
        return CallRefused(_sentence(self.body), status=self.status)


async def ask(server: Server, endpoint: Endpoint, body: bytes, silence_seconds: float) -> aiohttp.ClientResponse:
    """Send the call, and have the head of a good answer. CanNotConnect, Refusal, or a PublicError."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
    root = server.base.removesuffix("/v1") if endpoint is CLASSIFY else server.base
    try:
        answer = await server.session.post(
            f"{root}/{endpoint.path}", data=body, headers=server.headers, timeout=timeout, allow_redirects=False
        )
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise CanNotConnect from None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise broken(error) from None
    if answer.status == HTTPStatus.OK and "Content-Encoding" not in answer.headers:
        return answer
    try:
        raise await _not_good(answer)
    finally:
        answer.close()


async def whole(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body of an answer in JSON. ModelFailed where it is none, ModelSilent where it doesn't come."""
    if not answer.content_type.endswith("json"):
        raise ModelFailed("The model's server sent what is not JSON.")
    pieces: list[bytes] = []
    size = 0
    async for piece in pieces_of(answer):
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            raise ModelFailed("The model's server sent more than any answer may have.")
        pieces.append(piece)
    return b"".join(pieces)


async def pieces_of(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """What comes, as it comes. ModelFailed where it breaks off, ModelSilent where nothing comes any more."""
    read = answer.content.readany
    try:
        while piece := await read():
            yield piece
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise broken(error) from None


def broken(error: Exception) -> PublicError:
    """Why nothing more will come. What the exception says may hold pieces of the answer, and is not told."""
    if isinstance(error, TimeoutError):
        return ModelSilent("The model's server took too long.")
    return ModelFailed("The connection to the model's server broke.")


async def _not_good(answer: aiohttp.ClientResponse) -> Exception:
    if answer.status in PASSED_ON:
        try:
            return Refusal(answer.status, await answer.content.read(REFUSAL_BYTES_MAX))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return ModelFailed("The model's server broke off its refusal.")
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return ModelBusy("The model's server has too much to do. Try again shortly.")
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return ModelAway("The model's server is not ready. Try again shortly.")
    return ModelFailed(f"The model's server failed (HTTP status {answer.status}).")


def _sentence(body: bytes) -> str:
    """What a refusal says to people, in whichever of the usual forms."""
    fallback = "The model's server does not take this call."
    try:
        said = json.loads(body)
    except ValueError:
        return fallback
    if isinstance(said, dict):
        error = said.get("error", said)
        inner = error.get("message", error.get("detail")) if isinstance(error, dict) else error
        return inner[:REFUSAL_CHARACTERS] if isinstance(inner, str) and inner else fallback
    return fallback
