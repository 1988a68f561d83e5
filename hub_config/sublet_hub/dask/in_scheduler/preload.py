"""Run inside a Dask scheduler, in the users' environment, after Dask-Gateway's own preload.

It adds to that one's web application, under the same token, what Dask-Gateway has no words for: retiring workers by
name, and whether the cluster is idle. A retired worker hands its data to the others and ends; its cluster goes on. An
idle cluster isn't shut down at once: the platform is told, and warns its user first. And it sees to it that no port
of this machine shows pages of the scheduler's, which would ask nobody who they are.
"""

from typing import Any

from dask_gateway.scheduler_preload import BaseHandler
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

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


class IdleHandler(BaseHandler):
    """GET: whether the cluster has computed nothing for as long as it may."""

    @web.authenticated
    async def get(self) -> None:
        self.write({"idle": is_idle(self.gateway_service)})


def is_idle(service: Any) -> bool:
    """As GatewaySchedulerService.check_idle has it."""
    scheduler = service.scheduler
    if any(each.processing for each in scheduler.workers.values()) or scheduler.unrunnable:
        return False
    last = scheduler.transition_log[-1][-1] if scheduler.transition_log else scheduler.time_started
    return bool(service.loop.time() - last > service.idle_timeout)


async def tell_idle(client: Any) -> None:
    """Tell the platform. Sent instead of Dask-Gateway's wish to be shut down, and as often."""
    url = f"{client.api_url}/v1/clusters/{client.cluster_name}/idle"
    headers = {"Authorization": f"token {client.token}"}
    await AsyncHTTPClient().fetch(HTTPRequest(url, method="POST", headers=headers, body=""))


async def dask_setup(scheduler: Any) -> None:
    """Called by Dask when the scheduler starts."""
    scheduler.http_server.stop()
    service = scheduler.services["gateway"]
    service.app.add_handlers(".*", [("/api/retire", RetireHandler), ("/api/idle", IdleHandler)])
    client = service.gateway
    client.shutdown = lambda: tell_idle(client)
