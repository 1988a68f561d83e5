"""Signing in and out with the hub, for browsers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sublet_hub.api.asking import ApiParts, api_of, hub_session
from sublet_hub.api.session import CALLBACK, HUB_LOGOUT, PREFIX, Cookie, set_cookie_header
from sublet_hub.domain.errors import NotAllowed

SIGN_OUT = f"{PREFIX}sign_out"

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Query(max_length=2000)]


@router.get(CALLBACK)
async def finish_sign_in(
    request: Request, api: ApiParts, state: Word = "", code: Word = "", error: Word = ""
) -> Response:
    """Where the hub sends a browser back to, with a code to be changed for a token."""
    pending = api.sessions.pending(state, request.cookies)
    if pending is None:
        raise NotAllowed("This sign-in was not begun here, or took too long. Open the page again.")
    if error or not code:
        raise NotAllowed("The hub did not sign you in. Open the page again.")
    token = await api.hub.token_for_code(code, pending.verifier)
    if token is None:
        raise NotAllowed("The hub did not accept this sign-in; it may have been used before. Open the page again.")
    await api.authenticator.principal(token, hub_session(request))
    return redirect(request, pending.next_path, api.sessions.keep(token), api.sessions.forget(state))


@router.get(SIGN_OUT)
async def sign_out(request: Request, api: ApiParts) -> Response:
    """End the session here and at the hub."""
    return redirect(request, HUB_LOGOUT, api.sessions.end())


@router.get(PREFIX.rstrip("/"))
async def first_page() -> Response:
    """Typed without its last slash."""
    return RedirectResponse(PREFIX, 307)


def begin_sign_in(request: Request) -> Response:
    """Send a browser to the hub's sign-in, to come back to the page it asked for."""
    query = request.scope["query_string"].decode("latin-1")
    sign_in = api_of(request).sessions.begin(request.scope["path"] + (f"?{query}" if query else ""))
    return redirect(request, sign_in.url, sign_in.cookie)


def redirect(request: Request, url: str, *cookies: Cookie) -> Response:
    response = RedirectResponse(url, 302)
    for cookie in cookies:
        response.headers.append("set-cookie", set_cookie_header(cookie, secure=is_https(request)))
    return response


def is_https(request: Request) -> bool:
    """Whether the browser came by TLS, as the first proxy says. A lie only keeps a cookie from its teller."""
    forwarded = request.headers.get("x-forwarded-proto", "")
    return request.url.scheme == "https" or forwarded.partition(",")[0].strip() == "https"
