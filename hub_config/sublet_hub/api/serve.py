"""The api as a process: `sublet api`."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import sys
from types import FrameType

import uvicorn
import uvloop
from fastapi import FastAPI

from sublet_hub.api.app import OAUTH, Options, create_app
from sublet_hub.api.asking import Api
from sublet_hub.api.hub_client import HttpHub
from sublet_hub.api.shelf import Shelf
from sublet_hub.credentials import CredentialsError, Secrets, read_secrets
from sublet_hub.domain.errors import Unavailable
from sublet_hub.http_protocol import HangingUp
from sublet_hub.settings import Settings, SettingsError
from sublet_hub.storage.books import Books
from sublet_hub.wiring import open_books

log = logging.getLogger(__name__)

OTHER_FILES = 1_000
"""Files open for all but event streams: requests being answered, the database, libraries."""


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests that are being answered.

    Exits in words where it can't start: no data folder, a wrong `sublet.toml`, a database that doesn't answer.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every user's name that the hub is asked about
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _noted)
    _allow_connections(settings.event_streams_max)
    try:
        secrets = read_secrets(settings.data, settings.secrets_dir)
        with open_books(settings) as books:
            _serve(books, secrets, settings)
    except (CredentialsError, SettingsError, Unavailable) as error:
        sys.exit(f"sublet api: {error}")


def _serve(books: Books, secrets: Secrets, settings: Settings) -> None:
    hub = HttpHub(settings.hub_api_url, secrets.api_token, OAUTH)
    options = Options(
        session_key=bytes.fromhex(secrets.session_key),
        token_cache_seconds=settings.token_cache_seconds,
        inline_reads=settings.database_url.startswith("sqlite"),
        contact=settings.contact,
        event_streams_max=settings.event_streams_max,
        shelf=Shelf.of(settings, books.models),
    )
    uvloop.run(_until_stopped(create_app(books, hub, options), hub, settings))


def _allow_connections(streams: int) -> None:
    """Let the process have a file open for each event stream, as far as it may raise that by itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = streams + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("%d event streams are set, but only %d files may be open (ulimit -n)", streams, allowed)


def _noted(_signal: int, _frame: FrameType | None) -> None:
    """Nothing: uvicorn, once it has stopped, sends the signal again to whoever handled it before."""


async def _until_stopped(app: FastAPI, hub: HttpHub, settings: Settings) -> None:
    try:
        await ApiServer(server_config(app, settings), app).serve()
    finally:
        await hub.close()


class ApiServer(uvicorn.Server):
    """Ends the event streams when it is told to stop: they are answers that nobody would see the end of."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        api: Api = app.state.api
        self._streams = api.streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.close()
        await super().shutdown(sockets)


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """No access log: who asked for what is in the metrics, without names."""
    return uvicorn.Config(
        app,
        host=settings.internal_host,
        port=settings.api_port,
        http=HangingUp,
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.stop_timeout_seconds,
    )
