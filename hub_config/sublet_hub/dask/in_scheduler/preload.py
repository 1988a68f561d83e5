"""Run inside a Dask scheduler, in the users' environment, after Dask-Gateway's own preload.

It adds to that one's web application, under the same token, what Dask-Gateway has no word for: retiring workers by
name. A retired worker hands its data to the others and ends; its cluster goes on. And where nobody is to look at a
dashboard past its user's sign-in, it sees to it that no port of this machine serves one.
"""

from typing import Any

from dask_gateway.scheduler_preload import BaseHandler
from tornado import web

NAMES_MAX = 1000


class RetireHandler(BaseHandler):
    """POST {"names": [...]}: retire those of these workers that there are."""

    @web.authenticated
    async def post(self) -> None:
        service = self.gateway_service
        asked = self.json_data.get("names", []) if isinstance(self.json_data, dict) else []
        names = [name for name in asked[:NAMES_MAX] if name in service.active_workers]
        if names:
            service.closing_workers.update(names)
            try:
                await service.scheduler.retire_workers(names=names, remove=True, close_workers=True)
            except BaseException:
                service.closing_workers.difference_update(names)
                raise
        self.write({"retired": names})


async def dask_setup(scheduler: Any) -> None:
    """Called by Dask when the scheduler starts."""
    scheduler.http_server.stop()
    scheduler.services["gateway"].app.add_handlers(".*", [("/api/retire", RetireHandler)])
