"""A hub to test the api against: a real HTTP application that answers as JupyterHub 6.1 does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sublet_hub.api.app import OAUTH
from sublet_hub.api.hub_client import HttpHub

SERVICE_TOKEN = "the-service-token"
ACCESS = "access:services!service=sublet"
READ, WRITE, SPAWN = "custom:quotas:read", "custom:quotas:write", "custom:leases:write"
SERVE = "custom:models:serve"


@dataclass
class FakeHub:
    """Users with their groups, tokens with their scopes; and switches for what may go wrong."""

    users: dict[str, list[str]] = field(
        default_factory=lambda: {"alice": ["lab"], "bob": [], "boss": [], "a b/ü": []}
    )
    groups: set[str] = field(default_factory=lambda: {"lab", "ops", "/deep/er"})
    tokens: dict[str, tuple[str, str, list[str]]] = field(
        default_factory=lambda: {
            "alice": ("user", "alice", [ACCESS]),
            "bob": ("user", "bob", [ACCESS]),
            "boss": ("user", "boss", ["access:services", READ, WRITE]),
            "reader": ("service", "reader", [READ]),
            "admin": ("service", "admin", [READ, WRITE]),
            "spawner": ("service", "sublet-spawner", [SPAWN]),
            "gateway": ("service", "sublet-gateway", [SERVE]),
            "alice-server": ("user", "alice", [ACCESS, "access:servers!server=alice/"]),
            "alice-train": ("user", "alice", [ACCESS, "access:servers!server=alice/train"]),
            "alice-own": ("user", "alice", [ACCESS, "access:servers!user=alice"]),
            "lab-admin": ("user", "bob", [ACCESS, "custom:licences:write!group=lab"]),
            "bare": ("user", "alice", ["read:users:name!user=alice"]),
            "other": ("user", "alice", ["access:services!service=other", "custom:quotas:write!user=alice"]),
        }
    )
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Codes of sign-ins, with the token each stands for and the PKCE verifier it needs."""

    shows_groups: bool = True
    status: int | None = None
    body: bytes | None = None
    unreachable: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def client(self) -> HttpHub:
        return HttpHub("http://hub.test/hub/api", SERVICE_TOKEN, OAUTH, _Transport(self))

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/hub/api/user", self._user),
                Route("/hub/api/users/{name:path}", self._named_user),
                Route("/hub/api/groups/{name:path}", self._group),
                Route("/hub/api/oauth2/token", self._token, methods=["POST"]),
            ]
        )

    def _failure(self, request: Request) -> Response | None:
        self.calls[request.url.path] += 1
        if self.body is not None:
            return Response(self.body, self.status or 200)
        return None if self.status is None else PlainTextResponse("out of order", self.status)

    async def _user(self, request: Request) -> Response:
        if failure := self._failure(request):
            return failure
        found = self.tokens.get(request.headers["authorization"].removeprefix("token "))
        if found is None:
            return JSONResponse({"status": 403, "message": "Forbidden"}, 403)
        kind, name, scopes = found
        model: dict[str, object] = {
            "kind": kind,
            "name": name,
            "scopes": scopes,
            "token_id": "a1",
            "session_id": None,
        }
        if kind == "user" and self.shows_groups:
            model["groups"] = self.users[name]
        return JSONResponse(model)

    async def _named_user(self, request: Request) -> Response:
        if failure := self._failure(request):
            return failure
        name = _last(request)
        if request.headers["authorization"] != f"token {SERVICE_TOKEN}" or name not in self.users:
            return JSONResponse({"status": 404, "message": "Not Found"}, 404)
        return JSONResponse({"kind": "user", "name": name, "groups": self.users[name]})

    async def _group(self, request: Request) -> Response:
        if failure := self._failure(request):
            return failure
        name = _last(request)
        if request.headers["authorization"] != f"token {SERVICE_TOKEN}" or name not in self.groups:
            return JSONResponse({"status": 404, "message": "Not Found"}, 404)
        return JSONResponse({"kind": "group", "name": name})

    async def _token(self, request: Request) -> Response:
        if failure := self._failure(request):
            return failure
        form = httpx.QueryParams((await request.body()).decode())
        token, verifier = self.codes.pop(form["code"], ("", ""))
        good = form["client_id"] == OAUTH.client_id and form["client_secret"] == SERVICE_TOKEN
        if not token or not good or form["code_verifier"] != verifier or form["redirect_uri"] != OAUTH.redirect_uri:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "scope": ""})


def _last(request: Request) -> str:
    """The last segment of the path as it was sent: a slash in a name comes as %2F."""
    raw: bytes = request.scope["raw_path"]
    return unquote(raw.decode().rpartition("/")[2])


class _Transport(httpx.AsyncBaseTransport):
    """To the hub's application in this process, unless the hub can't be reached."""

    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub
        self._app = httpx.ASGITransport(hub.app())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._hub.unreachable:
            raise httpx.ConnectError("connection refused", request=request)
        return await self._app.handle_async_request(request)
