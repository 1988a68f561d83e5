"""Who calls: tokens, looked up at the api and believed for as long as it says. A token itself is never kept."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sublet_hub.domain.errors import NotSignedIn, Unavailable
from sublet_hub.gateway import metrics
from sublet_hub.gateway.platform_api import UNKNOWN_KEY, Caller, Platform

MOST_KEPT = 10_000
LONGEST_TOKEN = 500
REFUSED_SECONDS = 5.0
"""For how long a token that the api doesn't know is not asked about again."""
SCHEMES = ("bearer", "token")


@dataclass(slots=True)
class _Known:
    until: float
    caller: Caller | None


class Callers:
    """What the api said of each token, by the token's hash."""

    def __init__(self, platform: Platform, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._platform = platform
        self._monotonic = monotonic
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[Caller | None]] = {}

    async def caller(self, authorization: str) -> Caller:
        """Who sent this header. NotSignedIn, or Unavailable where the api doesn't answer."""
        token = token_of(authorization)
        key = hashlib.sha256(token.encode()).digest()
        known = self._known.get(key)
        if known is not None and known.until > self._monotonic():
            metrics.TOKEN_CHECKS.labels("hit").inc()
            found = known.caller
        else:
            found = await self._ask_once(key, token)
        if found is None:
            raise NotSignedIn(UNKNOWN_KEY)
        return found

    def forget(self, authorization: str) -> None:
        """Ask anew the next time: what was said may have changed, such as by an acceptance."""
        self._known.pop(hashlib.sha256(token_of(authorization).encode()).digest(), None)

    async def _ask_once(self, key: bytes, token: str) -> Caller | None:
        """Many calls with one token at once are one question."""
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.ensure_future(self._ask(key, token))
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _ask(self, key: bytes, token: str) -> Caller | None:
        try:
            found: Caller | None = await self._platform.caller(token)
        except NotSignedIn:
            found = None
        except Unavailable:
            metrics.TOKEN_CHECKS.labels("unavailable").inc()
            raise
        metrics.TOKEN_CHECKS.labels("refused" if found is None else "miss").inc()
        seconds = REFUSED_SECONDS if found is None else found.valid_seconds
        self._known[key] = _Known(self._monotonic() + seconds, found)
        self._known.move_to_end(key)
        while len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)
        return found


def token_of(authorization: str) -> str:
    """The token in `Bearer …`, as OpenAI's clients send it, or `token …`, as JupyterHub's do."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() not in SCHEMES or not token:
        raise NotSignedIn("Send a key: `Authorization: Bearer KEY`. In a notebook it is in OPENAI_API_KEY.")
    if len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable():
        raise NotSignedIn("This is no key of the platform's.")
    return token
