"""FastAPI dependencies: who is asking, by token or by session, and what handlers work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from sublet_hub.api.auth import Authenticator, Principal
from sublet_hub.api.database import Database
from sublet_hub.api.hub_client import Hub
from sublet_hub.api.metrics import Metrics
from sublet_hub.api.session import CSRF_HEADER, HUB_SESSION_COOKIE, Sessions
from sublet_hub.api.shelf import Shelf
from sublet_hub.api.streams import Streams
from sublet_hub.domain.errors import NotAllowed, NotSignedIn
from sublet_hub.domain.model_leases import Holder

READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Api:
    """What the handlers work with; one for each app."""

    database: Database
    hub: Hub
    authenticator: Authenticator
    sessions: Sessions
    metrics: Metrics
    streams: Streams
    shelf: Shelf
    model_holder: Holder | None = None
    """Whose the leases of models' servers are."""

    @property
    def now_ms(self) -> int:
        return self.database.books.clock.now_ms()

    @property
    def currency(self) -> str:
        return self.database.books.catalog.currency


def api_of(request: Request) -> Api:
    return cast(Api, request.app.state.api)


async def _api(request: Request) -> Api:
    return api_of(request)


class SignInNeeded(Exception):
    """A page was asked for without a session; answered by sending the browser to the hub's sign-in."""


@dataclass(frozen=True, slots=True)
class PageSession:
    """Whose browser it is, and what its pages send along with writes, as the header X-CSRF-Token."""

    principal: Principal
    csrf_token: str


async def asker(request: Request) -> Principal:
    """Who is asking: by the token they show, else by the session of the pages. For the API."""
    api = api_of(request)
    shown = request.headers.get("authorization")
    if shown is not None:
        return await api.authenticator.principal(_token_in(shown))
    token = api.sessions.token(request.cookies)
    if token is None:
        raise NotSignedIn("Show a hub token, as `Authorization: Bearer TOKEN`, or sign in.")
    is_opened = request.method in READS and _is_navigation(request)
    if not is_opened and not api.sessions.is_csrf_token(request.headers.get(CSRF_HEADER, ""), token):
        raise NotAllowed(f"The header {CSRF_HEADER} is missing or not that of this session. Load the page again.")
    return await api.authenticator.principal(token, hub_session(request))


async def page_session(request: Request) -> PageSession:
    """Whose browser it is, for pages. Raises SignInNeeded where it has no session, or one that is over."""
    api = api_of(request)
    token = api.sessions.token(request.cookies)
    if token is None:
        raise SignInNeeded
    if not _is_navigation(request):
        raise NotAllowed("Pages are opened, not fetched by scripts.")
    try:
        principal = await api.authenticator.principal(token, hub_session(request))
    except NotSignedIn:
        raise SignInNeeded from None
    return PageSession(principal, api.sessions.csrf_token(token))


def _is_navigation(request: Request) -> bool:
    """Whether the browser opens it as a page (Fetch Metadata); true for what doesn't say, such as old browsers.

    Users' servers share this origin, so a script in one of them could fetch a page of ours with the cookies of
    whoever looks at it, and read the CSRF token in it. JupyterHub's own services guard themselves in the same way.
    """
    return request.headers.get("sec-fetch-mode", "navigate") == "navigate"


def hub_session(request: Request) -> str:
    """The browser's session at the hub; the cookie goes when its user signs out there."""
    return request.cookies.get(HUB_SESSION_COOKIE, "")[:200]


def _token_in(header: str) -> str:
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() not in {"token", "bearer"} or not token.strip():
        raise NotSignedIn("Show a hub token, as `Authorization: Bearer TOKEN`.")
    return token.strip()


Asker = Annotated[Principal, Depends(asker)]
PageAsker = Annotated[PageSession, Depends(page_session)]
ApiParts = Annotated[Api, Depends(_api)]
