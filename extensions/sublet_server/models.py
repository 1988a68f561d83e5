"""The store's models in the user's own cache of the hub's tools, from the start of the server on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from logging import Logger

from sublet.errors import SubletError
from sublet.models.hub_cache import cache_folder, link_models
from sublet.models.store import Store


async def show_models(env: Mapping[str, str], log: Logger) -> None:
    """Link them. Without a store, or a home to write to, there is nothing to do; the log says why."""
    try:
        linked = await asyncio.to_thread(lambda: link_models(Store.of(env), cache_folder(env)))
    except (SubletError, OSError) as error:
        log.info("Sublet: no models are linked for tools of the hub: %s", error)
    else:
        log.info("Sublet: %d models are linked for tools of the hub", linked)
