"""Lets a server's pages reach it until it has ended, so that what is open in them can be saved.

JupyterHub takes a server's route from the proxy first, and asks the server to stop after that. What a page then
sends, such as a document, meets the hub, which refuses it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.proxy import ConfigurableHTTPProxy

from sublet_hub.hub.lease_mixin import LeaseMixin


class LeaseProxy(ConfigurableHTTPProxy):
    """JupyterHub's own proxy, where a server that is being stopped keeps its route until it has."""

    async def delete_user(self, user: Any, server_name: str = "") -> None:
        """Stop the server, if that is what this is for; then take its route away. JupyterHub, which goes on to stop
        it, finds it gone; where it could not be stopped, it tries again and says why it can't."""
        spawner = user.spawners.get(server_name)
        if isinstance(spawner, LeaseMixin) and spawner.pending == "stop" and await spawner.poll() is None:
            spawner.stop_polling()  # else JupyterHub takes the end for an accident
            stopping = asyncio.ensure_future(spawner.stop())
            await asyncio.wait((stopping,))
            if (error := stopping.exception()) is not None:
                self.log.error("The server of %s was not stopped at the first try: %r", user.name, error)
        await super().delete_user(user, server_name)
