"""The api behind real connections, in this process, as `sublet api` serves it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sublet_hub.api.serve import ApiServer, server_config
from sublet_hub.settings import Settings
from tests.api.conftest import Running
from tests.api.event_client import WAIT_SECONDS


@asynccontextmanager
async def serving(site: Running, listener: socket.socket, folder: Path) -> AsyncIterator[str]:
    """Serve as `sublet api` does, until the end of the block; it must then stop, well before it would be made to."""
    server = ApiServer(server_config(site.app, Settings(data=folder, stop_timeout_seconds=300)), site.app)
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    port = listener.getsockname()[1]
    async with asyncio.timeout(WAIT_SECONDS):
        while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(serve, WAIT_SECONDS)
