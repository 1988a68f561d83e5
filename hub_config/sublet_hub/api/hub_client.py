"""What the api asks the hub: whose a token is, which users and groups there are, and tokens for sign-ins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Literal, Protocol, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError

from sublet_hub.domain.errors import Unavailable

TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=3.0)
LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10)
LONGEST_TOKEN = 500
"""Characters; the hub's own tokens have 32 to 64. Longer ones are not even asked about."""


class _Identity(BaseModel):
    """The hub's model of whoever a token belongs to; members we don't know are ignored."""

    name: str
    kind: Literal["user", "service"] = "user"
    scopes: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    groups: tuple[str, ...] | None = None


class _Token(BaseModel):
    access_token: Annotated[str, Field(min_length=1, max_length=LONGEST_TOKEN)]


class _User(BaseModel):
    name: str
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a token is and what it may. `groups` is None where the hub left them out."""

    name: str
    kind: Literal["user", "service"]
    scopes: frozenset[str]
    groups: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """How the api presents itself at a sign-in."""

    client_id: str
    redirect_uri: str


class Hub(Protocol):
    """The hub, as the api needs it. Every call raises Unavailable where the hub gives no proper answer."""

    async def identify(self, token: str) -> Identity | None:
        """Whose token it is; None where the hub doesn't know it."""

    async def groups_of(self, user: str) -> tuple[str, ...] | None:
        """The user's groups; None where there is no such user."""

    async def group_exists(self, group: str) -> bool: ...

    async def token_for_code(self, code: str, verifier: str) -> str | None:
        """The token that a sign-in's code stands for; None where the code is no good."""


class HttpHub:
    """The hub behind its REST API."""

    def __init__(
        self,
        api_url: str,
        service_token: str,
        oauth: OAuthClient,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._service_token = service_token
        self._oauth = oauth
        self._client = httpx.AsyncClient(
            base_url=api_url, timeout=TIMEOUT, limits=LIMITS, transport=transport, trust_env=False
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def identify(self, token: str) -> Identity | None:
        if len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable():
            return None
        answer = await self._get("/user", token)
        if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return None
        who = _parsed(_Identity, answer)
        return Identity(who.name, who.kind, frozenset(who.scopes), who.groups)

    async def groups_of(self, user: str) -> tuple[str, ...] | None:
        answer = await self._get(f"/users/{_segment(user)}", self._service_token)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        found = _parsed(_User, answer)
        return found.groups or ()

    async def group_exists(self, group: str) -> bool:
        answer = await self._get(f"/groups/{_segment(group)}", self._service_token)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return False
        _expect_ok(answer)
        return True

    async def token_for_code(self, code: str, verifier: str) -> str | None:
        form = {
            "client_id": self._oauth.client_id,
            "client_secret": self._service_token,
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": self._oauth.redirect_uri,
        }
        answer = await self._send("POST", "/oauth2/token", form=form)
        if answer.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return None
        return _parsed(_Token, answer).access_token

    async def _get(self, path: str, token: str) -> httpx.Response:
        return await self._send("GET", path, headers={"Authorization": f"token {token}"})

    async def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        try:
            return await self._client.request(method, path, headers=headers, data=form)
        except httpx.HTTPError as error:
            raise _away() from error


def _segment(name: str) -> str:
    """A name as one segment of a path; dots too, so that none is taken for a step up."""
    return quote(name, safe="").replace(".", "%2E")


def _expect_ok(answer: httpx.Response) -> None:
    if answer.status_code != HTTPStatus.OK:
        raise _away() from httpx.HTTPStatusError(
            f"hub answered {answer.status_code}", request=answer.request, response=answer
        )


T = TypeVar("T", bound=BaseModel)


def _parsed(model: type[T], answer: httpx.Response) -> T:
    _expect_ok(answer)
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise _away() from error


def _away() -> Unavailable:
    return Unavailable("The hub does not answer just now, so nobody's rights can be checked. Try again shortly.")
