"""The api as a process: `sublet api`."""

from __future__ import annotations

import logging
import socket
import sys

import uvicorn
import uvloop
from fastapi import FastAPI

from sublet_hub.api.app import OAUTH, Options, create_app
from sublet_hub.api.asking import Api
from sublet_hub.api.hub_client import HttpHub
from sublet_hub.api.shelf import Shelf
from sublet_hub.catalog import model_holder
from sublet_hub.credentials import CredentialsError, Secrets, read_secrets
from sublet_hub.domain.errors import Unavailable
from sublet_hub.http_service import allow_files, outlive_signals, uvicorn_config
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
    outlive_signals()
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
        model_holder=model_holder(settings),
    )
    uvloop.run(_until_stopped(create_app(books, hub, options), hub, settings))


def _allow_connections(streams: int) -> None:
    """Let the process have a file open for each event stream, or say that it can't."""
    wanted = streams + OTHER_FILES
    allowed = allow_files(wanted)
    if allowed < wanted:
        log.warning("%d event streams are set, but only %d files may be open (ulimit -n)", streams, allowed)


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
    return uvicorn_config(app, settings.internal_host, settings.api_port, stop_seconds=settings.stop_timeout_seconds)
