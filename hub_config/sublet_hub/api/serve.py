"""The api as a process: `sublet api`."""

from __future__ import annotations

import logging

import uvicorn
import uvloop
from fastapi import FastAPI

from sublet_hub.api.app import OAUTH, Options, create_app
from sublet_hub.api.hub_client import HttpHub
from sublet_hub.credentials import read_secrets
from sublet_hub.settings import Settings
from sublet_hub.wiring import open_books


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests that are being answered."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    secrets = read_secrets(settings.data)
    with open_books(settings) as books:
        hub = HttpHub(settings.hub_api_url, secrets.api_token, OAUTH)
        options = Options(
            session_key=bytes.fromhex(secrets.session_key),
            token_cache_seconds=settings.token_cache_seconds,
            inline_reads=settings.database_url.startswith("sqlite"),
        )
        app = create_app(books, hub, options)
        uvloop.run(_serve(app, hub, settings))


async def _serve(app: FastAPI, hub: HttpHub, settings: Settings) -> None:
    try:
        await uvicorn.Server(server_config(app, settings)).serve()
    finally:
        await hub.close()


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """No access log: who asked for what is in the metrics, without names."""
    return uvicorn.Config(
        app,
        host="127.0.0.1",
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
