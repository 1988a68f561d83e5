"""The pages of schedulers (Dask's dashboard): for their cluster's user alone, signed in at the hub.

A scheduler serves them on a socket in a folder that only its user and we can enter. What lies there is its user's to
choose, so that it is only spoken to if it is a socket of the user's own, opened without following any link. It is
told nothing of who asks, and can set nothing in their browser by way of a header.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from sublet_hub.api.expiring import ExpiringCache
from sublet_hub.api.hub_client import HttpHub, Identity, OAuthClient
from sublet_hub.api.session import Cookie, Sessions, set_cookie_header
from sublet_hub.domain.errors import Unavailable
from sublet_hub.hub.access import ACCESS_DASK, DASK_OAUTH_CLIENT, DASK_PREFIX
from sublet_hub.settings import Settings

SOCKET = "pages"
OAUTH = OAuthClient(DASK_OAUTH_CLIENT, f"{DASK_PREFIX}oauth_callback")
ACCESS = frozenset({"access:services", ACCESS_DASK})
TIMEOUT = aiohttp.ClientTimeout(total=60, connect=5)
MESSAGE_BYTES_MAX = 16 * 2**20
MOST_KEPT = 1_000
ASKED = frozenset({"accept", "accept-language", "if-none-match", "if-modified-since", "user-agent"})
"""Headers that a scheduler is told."""
ANSWERED = frozenset({"content-type", "cache-control", "etag", "last-modified", "location"})
"""Headers of its answers that are passed on."""

Place = Callable[[str], tuple[str, Path, int] | None]
"""Of a running cluster: its user, the folder that has the socket, and whose it must be."""


class Pages:
    """The routes of the pages."""

    def __init__(self, settings: Settings, token: str, place: Place) -> None:
        self._hub = HttpHub(settings.hub_api_url, token, OAUTH)
        self._sessions = Sessions(bytes.fromhex(token), OAUTH, DASK_PREFIX)
        self._place = place
        self._known: ExpiringCache[str, Identity | None] = ExpiringCache(
            settings.token_cache_seconds, MOST_KEPT, time.monotonic
        )

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/oauth_callback", _in_words(self._finish_sign_in)),
            web.get("/clusters/{name:[0-9a-f]{32}}/{page:.*}", _in_words(self._page)),
        ]

    async def close(self) -> None:
        await self._hub.close()

    async def _finish_sign_in(self, request: web.Request) -> web.StreamResponse:
        state, code = request.query.get("state", "")[:2000], request.query.get("code", "")[:2000]
        pending = self._sessions.pending(state, request.cookies)
        token = await self._hub.token_for_code(code, pending.verifier) if pending and code else None
        if pending is None or token is None:
            raise web.HTTPForbidden(text="The hub did not sign you in. Open the page again.")
        return _redirect(request, pending.next_path, self._sessions.keep(token), self._sessions.forget(state))

    async def _page(self, request: web.Request) -> web.StreamResponse:
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        token = self._sessions.token(request.cookies)
        who = None if token is None else await self._known.get(token, lambda: self._hub.identify(token))
        if who is None or who.kind != "user" or not who.scopes & ACCESS:
            if is_socket:
                raise web.HTTPForbidden(text="Sign in first.")
            sign_in = self._sessions.begin(DASK_PREFIX.rstrip("/") + request.path_qs)
            return _redirect(request, sign_in.url, sign_in.cookie)
        found = self._place(request.match_info["name"])
        if found is None or found[0] != who.name:
            raise web.HTTPNotFound(text="You have no such Dask cluster, or it has ended.")
        async with _speaking_to(found[1], found[2]) as session:
            return await (_pass_on_socket if is_socket else _pass_on)(request, session)


def _in_words(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Unavailable as error:
            raise web.HTTPServiceUnavailable(text=error.message) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise web.HTTPBadGateway(text="The cluster's scheduler shows no pages just now.") from error

    return answered


@asynccontextmanager
async def _speaking_to(folder: Path, owner: int) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the socket in a user's folder. OSError where there is none of that owner's."""
    descriptor = os.open(folder / SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != owner:
            raise FileNotFoundError(f"{folder / SOCKET} is no socket of its user's")
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{descriptor}")
        async with aiohttp.ClientSession(
            connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            yield session
    finally:
        os.close(descriptor)


async def _pass_on(request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() in ASKED}
    async with session.get(_inner(request), headers=headers, allow_redirects=False) as theirs:
        passed = {name: value for name, value in theirs.headers.items() if name.lower() in ANSWERED}
        ours = web.StreamResponse(status=theirs.status, headers={**passed, "X-Content-Type-Options": "nosniff"})
        await ours.prepare(request)
        async for chunk in theirs.content.iter_chunked(2**16):
            await ours.write(chunk)
        await ours.write_eof()
        return ours


async def _pass_on_socket(request: web.Request, session: aiohttp.ClientSession) -> web.StreamResponse:
    host = request.headers.get("X-Forwarded-Host") or request.host
    if request.headers.get("Origin", "").partition("://")[2] != host:
        raise web.HTTPForbidden(text="Another site's page may not listen in.")
    wanted = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if each.strip()]
    async with session.ws_connect(_inner(request), protocols=wanted, max_msg_size=MESSAGE_BYTES_MAX) as theirs:
        chosen = [theirs.protocol] if theirs.protocol else []
        ours = web.WebSocketResponse(protocols=chosen, max_msg_size=MESSAGE_BYTES_MAX, heartbeat=30)
        await ours.prepare(request)
        ways = [asyncio.ensure_future(_copy(ours, theirs)), asyncio.ensure_future(_copy(theirs, ours))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await ours.close()
        return ours


async def _copy(source: Any, target: Any) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)


def _inner(request: web.Request) -> str:
    _, _, name_and_page = request.raw_path.partition("/clusters/")
    return "http://scheduler/" + name_and_page.partition("/")[2]


def _redirect(request: web.Request, url: str, *cookies: Cookie) -> web.Response:
    answer = web.Response(status=302, headers={"Location": url})
    secure = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip() == "https"
    for cookie in cookies:
        answer.headers.add("Set-Cookie", set_cookie_header(cookie, secure=secure))
    return answer
