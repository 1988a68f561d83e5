"""Run inside a Dask scheduler, in the users' environment, after Dask-Gateway's own preload.

It adds to that one's web application, under the same token, what Dask-Gateway has no words for: retiring workers by
name, and whether the cluster is idle. A retired worker hands its data to the others and ends; its cluster goes on. An
idle cluster isn't shut down at once: the platform is told, and warns its user first. And the scheduler's pages, which
ask nobody who they are, are served on a socket in a folder that only its user and the platform can enter.
"""

import os
from typing import Any

from dask_gateway.scheduler_preload import BaseHandler
from distributed.http import get_handlers
from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

SHOWN = ("scheduler.info", "scheduler.json", "health", "statics")
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


def show_pages(scheduler: Any, folder: str) -> None:
    """Serve the dashboard on a socket in this folder; without Bokeh there is none."""
    try:
        from distributed.dashboard.scheduler import connect
    except ImportError:
        return
    application = scheduler.http_application
    application.add_handlers(
        ".*", get_handlers(scheduler, [f"distributed.http.{each}" for each in SHOWN], prefix="/")
    )
    server = HTTPServer(application)
    connect(application, server, scheduler, prefix="")
    # A socket's path may have 107 characters only; this one is short wherever the folder is.
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    server.add_socket(bind_unix_socket(f"/proc/self/fd/{held}/pages", mode=0o600))


async def dask_setup(scheduler: Any) -> None:
    """Called by Dask when the scheduler starts."""
    scheduler.http_server.stop()
    await scheduler.http_server.close_all_connections()
    service = scheduler.services["gateway"]
    service.app.add_handlers(".*", [("/api/retire", RetireHandler), ("/api/idle", IdleHandler)])
    client = service.gateway
    client.shutdown = lambda: tell_idle(client)
    if folder := os.environ.get("SUBLET_DASK_PAGES"):
        show_pages(scheduler, folder)
