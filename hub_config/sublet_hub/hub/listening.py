"""Whether a server that starts takes connections yet. JupyterHub itself looks ever more seldom, and would notice one
that took five seconds about two seconds late; who starts a server looks more often."""

from __future__ import annotations

import asyncio

LOOK_SECONDS = 0.05
"""Between two looks. A look costs a connection, no request."""

CONNECT_SECONDS = 1.0
"""Longer than a connection within a cluster takes; what drops packets never refuses one."""


async def listens(host: str, port: int) -> bool:
    """Whether something at this address takes a connection. Waits a second for that at most."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:  # TimeoutError is one of them
        return False
    writer.close()
    return True
