"""The api as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from sublet_hub.api import openapi
from sublet_hub.api.asking import Api, SignInNeeded
from sublet_hub.api.auth import Authenticator
from sublet_hub.api.database import Database
from sublet_hub.api.edge import Edge
from sublet_hub.api.hub_client import Hub, OAuthClient
from sublet_hub.api.metrics import Metrics
from sublet_hub.api.pages import router as pages
from sublet_hub.api.problem_page import answer
from sublet_hub.api.problems import of_http, of_validation
from sublet_hub.api.reads import open_leases
from sublet_hub.api.routers import (
    activity,
    audit,
    calling,
    flavors,
    lease_events,
    leases,
    models,
    notices,
    platform,
    pools,
    quick,
    sign_in,
    usage,
)
from sublet_hub.api.routers.quotas import HUB_PREFIX, OWN_PREFIX, quota_router
from sublet_hub.api.session import CALLBACK, Sessions
from sublet_hub.api.shelf import Shelf
from sublet_hub.api.stream import StreamTimes
from sublet_hub.api.streams import Streams
from sublet_hub.domain.errors import PublicError
from sublet_hub.domain.model_leases import Holder
from sublet_hub.storage.books import Books

OAUTH = OAuthClient(client_id="service-sublet", redirect_uri=CALLBACK)
"""As the hub knows us; hub/access.py says the same."""


METHOD_NOT_ALLOWED = 405


@dataclass(frozen=True, slots=True)
class Options:
    """What the app needs beside the books and the hub.

    `token_cache_seconds`: how long the hub's word is believed. `inline_reads`: do short reads on the event loop,
    for databases in a local file. `contact`: whom the pages tell people to ask for more.
    `event_streams_max`: how many event streams may be open. `shelf`: what there is of the catalogue's models.
    `model_holder`: whose the leases of models' servers are.
    """

    session_key: bytes = field(repr=False)
    token_cache_seconds: float = 10.0
    inline_reads: bool = False
    monotonic: Callable[[], float] = time.monotonic
    contact: str = "the administrator of this platform"
    event_streams_max: int = 100
    model_holder: Holder | None = None
    stream_times: StreamTimes = field(default_factory=StreamTimes)
    shelf: Shelf = field(default_factory=Shelf)


def published_document() -> dict[str, Any]:
    """The OpenAPI document, without an api to serve it: for docs/openapi.json."""
    app = FastAPI(separate_input_output_schemas=False)
    _add_routes(app)
    return openapi.document(app)


def create_app(books: Books, hub: Hub, options: Options) -> FastAPI:
    """The application. It opens nothing by itself: whoever calls it closes the store and the hub's client."""
    metrics = Metrics(lambda: (lease.state.value for lease in open_leases(books, None)))
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, separate_input_output_schemas=False
    )
    database = Database(books, metrics, inline_reads=options.inline_reads)
    app.state.api = Api(
        database=database,
        hub=hub,
        authenticator=Authenticator(hub, metrics, options.token_cache_seconds, options.monotonic),
        sessions=Sessions(options.session_key, OAUTH),
        metrics=metrics,
        streams=Streams(database, metrics, options.event_streams_max, options.stream_times),
        shelf=options.shelf,
        model_holder=options.model_holder,
    )
    app.state.contact = options.contact
    _add_routes(app)
    openapi.install(app)
    app.add_exception_handler(PublicError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_invalid)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(SignInNeeded, _send_to_sign_in)
    app.add_middleware(Edge, metrics=metrics)
    return app


def _add_routes(app: FastAPI) -> None:
    app.routes.append(quick.ROUTE)
    app.include_router(quota_router(HUB_PREFIX, in_schema=True))
    app.include_router(quota_router(OWN_PREFIX, in_schema=False))
    lists = (flavors, pools, models, usage, notices, audit)
    for resource in (leases, lease_events, activity, *lists, calling, platform, sign_in):
        app.include_router(resource.router)
    app.include_router(pages.router)
    pages.mount_static(app)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, PublicError)
    return _answer(request, error)


async def _refuse_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(request, of_validation(error))


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == METHOD_NOT_ALLOWED else None
    return _answer(request, of_http(error, request.scope["path"]), headers)


def _answer(request: Request, error: PublicError, headers: Mapping[str, str] | None = None) -> Response:
    return answer(error, request.scope["path"], request.headers.get("accept", ""), headers)


def _allowed(request: Request) -> list[str]:
    """All methods that the path has; each is a route of its own, and the framework names only the first's."""
    app: FastAPI = request.app
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]


async def _send_to_sign_in(request: Request, _error: Exception) -> Response:
    return sign_in.begin_sign_in(request)
