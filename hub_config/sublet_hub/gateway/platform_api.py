"""What the gateway asks the api: whose a token is, for allowances, and to book what was used."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Protocol, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from sublet_hub.domain.errors import NotSignedIn, PublicError, Unavailable
from sublet_hub.gateway.amounts import Payer, Spend, Uses
from sublet_hub.gateway.errors import OverAllowance
from sublet_hub.gateway.rate_limits import Limit, header_lines

API_PATH = "/services/sublet/api"
CALLER_UNKNOWN = "caller-unknown"
"""The api's problem for a caller's token that is no good; other refusals are of our own."""

UNKNOWN_KEY = "This key is not known, or its server has ended. Use a hub token, or your server's own."
TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
LONGEST_ANSWER = 2**20
CONNECTIONS_MAX = 50


class _Reading(BaseModel):
    """Members that we don't know are left alone: the api may be newer."""


class ModelAccess(_Reading):
    """One model, and whether its licence was accepted by, or for, the caller."""

    name: str
    accepted: bool


class Caller(_Reading):
    """Whoever a token belongs to, for so many seconds."""

    user: str
    account: str
    lease_id: str | None = None
    models: tuple[ModelAccess, ...] = ()
    valid_seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0

    @property
    def payer(self) -> Payer:
        return Payer(self.user, self.account)

    def accepted(self, model: str) -> bool | None:
        """None: the api knows no such model."""
        return next((each.accepted for each in self.models if each.name == model), None)


class _Limit(_Reading):
    what: str
    limit: int
    left: int
    window: str
    resets_at: datetime | None = None


class _Allowance(_Reading):
    id: str
    tokens: int
    money_microunits: int
    expires_at: datetime
    limits: tuple[_Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is held for a payer, after all that was posted to it."""

    id: str
    held: Spend
    expires_at: float
    """Seconds since the epoch."""
    limits: tuple[Limit, ...] = ()


class PostRefused(Exception):
    """The api will never book this post; the message is its problem's type."""


class Platform(Protocol):
    """The api, as the gateway needs it. Every call raises Unavailable where it gives no proper answer."""

    async def caller(self, token: str) -> Caller:
        """Whose token it is. NotSignedIn where it is nobody's."""

    async def allow(self, payer: Payer, wanted: Spend, least: Spend, seconds: int) -> Allowance:
        """Hold so much, or what there is of it but not less than `least`. OverAllowance where there isn't."""

    async def post(
        self, hold: str, number: int, uses: Uses, renew: tuple[Spend, int] | None, *, release: bool
    ) -> Allowance:
        """Book what was used. The same number again is booked once. `renew` is what should be held afterwards, and
        for how many seconds. PostRefused where it is refused for good."""


Read = TypeVar("Read", bound=_Reading)


class HttpPlatform:
    """The api behind HTTP."""

    def __init__(self, api_url: str, token: str) -> None:
        self._url = api_url.rstrip("/") + API_PATH
        self._headers = {"Authorization": f"token {token}"}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def caller(self, token: str) -> Caller:
        status, body = await self._post("/model-callers", {"token": token})
        if status == HTTPStatus.UNAUTHORIZED and _type_of(body) == CALLER_UNKNOWN:
            raise NotSignedIn(UNKNOWN_KEY)
        return _read(Caller, status, body)

    async def allow(self, payer: Payer, wanted: Spend, least: Spend, seconds: int) -> Allowance:
        asked = {
            "user": payer.user,
            "account": payer.account,
            "tokens": wanted.tokens,
            "tokens_min": least.tokens,
            "money_microunits": wanted.money,
            "money_min_microunits": least.money,
            "seconds": seconds,
        }
        status, body = await self._post("/allowances", asked)
        if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN}:
            raise _over(body)
        return _allowance(_read(_Allowance, status, body))

    async def post(
        self, hold: str, number: int, uses: Uses, renew: tuple[Spend, int] | None, *, release: bool
    ) -> Allowance:
        said: dict[str, object] = {
            "number": number,
            "uses": [
                {
                    "model": model,
                    "calls": use.calls,
                    "input_tokens": use.input_tokens,
                    "output_tokens": use.output_tokens,
                }
                for model, use in sorted(uses.items())
            ],
            "renew": None
            if renew is None
            else {"tokens": renew[0].tokens, "money_microunits": renew[0].money, "seconds": renew[1]},
            "release": release,
        }
        status, body = await self._post(f"/allowances/{quote(hold, safe='')}/posts", said)
        if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _MAY_PASS:
            raise PostRefused(_type_of(body))
        return _allowance(_read(_Allowance, status, body))

    async def _post(self, path: str, said: Mapping[str, object]) -> tuple[int, bytes]:
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX), timeout=TIMEOUT, headers=self._headers
            )
        headers = {"Content-Type": "application/json"}
        try:
            async with session.post(self._url + path, data=json.dumps(said).encode(), headers=headers) as answer:
                return answer.status, await answer.content.read(LONGEST_ANSWER)
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise _away() from None


_MAY_PASS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_TIMEOUT, 429})
"""Refusals of who we are or when we ask, not of what we post: they may pass."""


def _read(model: type[Read], status: int, body: bytes) -> Read:
    if status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise _away()
    try:
        return model.model_validate_json(body)
    except ValidationError:
        raise _away() from None


def _allowance(said: _Allowance) -> Allowance:
    limits = tuple(
        Limit(each.what, each.limit, each.left, each.window, each.resets_at.timestamp() if each.resets_at else None)
        for each in said.limits
    )
    return Allowance(said.id, Spend(said.tokens, said.money_microunits), said.expires_at.timestamp(), limits)


def _over(body: bytes) -> PublicError:
    """The api's refusal as ours; its own trouble with us (a wrong scope) is not the caller's."""
    problem = _problem(body)
    if _type_of(body) not in {"quota-exceeded", "no-quota"}:
        return _away()
    retry_at = problem.get("retry_at")
    moment = datetime.fromisoformat(retry_at).timestamp() if isinstance(retry_at, str) else None
    return OverAllowance(problem, None if moment is None else round(moment * 1000), _limit_of(problem, moment))


def _limit_of(problem: Mapping[str, object], resets_at: float | None) -> str:
    """The binding limit as headers, where the problem tells it."""
    match problem.get("limit"):
        case {"what": str(what), "limit": int(limit), "window": str(window)}:
            return header_lines((Limit(what, limit, 0, window, resets_at),), time.time())
        case _:
            return ""


def _problem(body: bytes) -> dict[str, object]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _type_of(body: bytes) -> str:
    """The last part of a problem's type; empty where it is none."""
    return str(_problem(body).get("type", "")).rpartition("/")[2].rpartition("#")[2]


def _away() -> Unavailable:
    return Unavailable("The platform can't check quotas just now, so no model is called. Try again shortly.")
