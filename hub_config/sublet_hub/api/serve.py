"""The api as a process: `sublet api`."""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType

import uvicorn
import uvloop
from fastapi import FastAPI

from sublet_hub.api.app import OAUTH, Options, create_app
from sublet_hub.api.hub_client import HttpHub
from sublet_hub.credentials import CredentialsError, Secrets, read_secrets
from sublet_hub.domain.errors import Unavailable
from sublet_hub.settings import Settings, SettingsError
from sublet_hub.storage.books import Books
from sublet_hub.wiring import open_books


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests that are being answered.

    Exits in words where it can't start: no data folder, a wrong `sublet.toml`, a database that doesn't answer.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every user's name that the hub is asked about
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _noted)
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
    )
    uvloop.run(_until_stopped(create_app(books, hub, options), hub, settings))


def _noted(_signal: int, _frame: FrameType | None) -> None:
    """Nothing: uvicorn, once it has stopped, sends the signal again to whoever handled it before."""


async def _until_stopped(app: FastAPI, hub: HttpHub, settings: Settings) -> None:
    try:
        await uvicorn.Server(server_config(app, settings)).serve()
    finally:
        await hub.close()


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """No access log: who asked for what is in the metrics, without names."""
    return uvicorn.Config(
        app,
        host=settings.internal_host,
        port=settings.api_port,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.stop_timeout_seconds,
    )
