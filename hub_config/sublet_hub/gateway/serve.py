"""The gateway as a process: `sublet gateway`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import suppress

import uvicorn
import uvloop
from starlette.types import ASGIApp

from sublet_hub.catalog import check_model_leases, load_models, model_holder
from sublet_hub.cluster.kube.errors import KubeError
from sublet_hub.credentials import CredentialsError, read_secrets
from sublet_hub.domain.models import ModelCatalogue
from sublet_hub.gateway.app import create_app
from sublet_hub.gateway.booking import Booking
from sublet_hub.gateway.callers import Callers
from sublet_hub.gateway.http_uploads import Uploading
from sublet_hub.gateway.lease_api import HttpLeases
from sublet_hub.gateway.model_servers import ModelServers
from sublet_hub.gateway.places import Place
from sublet_hub.gateway.platform_api import HttpPlatform
from sublet_hub.gateway.pod_place import in_pods_of
from sublet_hub.gateway.purses import Purses
from sublet_hub.gateway.quiet import keep_loop_quiet, keep_quiet
from sublet_hub.gateway.rates import Rates
from sublet_hub.gateway.relay import Limits, Relay
from sublet_hub.gateway.this_machine import ThisMachine
from sublet_hub.gateway.turns import Turns
from sublet_hub.gateway.upstreams import Servers
from sublet_hub.http_service import allow_files, outlive_signals, uvicorn_config
from sublet_hub.settings import Settings, SettingsError

log = logging.getLogger(__name__)

FILES_MAX = 16_384
"""Files open at most: two for each call."""


def serve(settings: Settings, level: int = logging.INFO) -> None:
    """Serve until SIGTERM or SIGINT; then finish the calls that run, post what they used, and release what is held.

    Exits in words where it can't start: no secrets, a wrong `models.toml`, a server's key that is missing,
    no way to the cluster where models' servers are pods.
    """
    keep_quiet(level)
    outlive_signals()
    allow_files(FILES_MAX)
    os.umask(0o077)
    try:
        token = read_secrets(settings.data, settings.secrets_dir).gateway_token
        catalogue = load_models(settings)
        uvloop.run(_run(settings, catalogue, token))
    except (CredentialsError, SettingsError, KubeError) as error:
        sys.exit(f"sublet gateway: {error}")


async def _run(settings: Settings, catalogue: ModelCatalogue, token: str) -> None:
    keep_loop_quiet(asyncio.get_running_loop())
    platform = HttpPlatform(settings.api_url, token)
    purses = Purses(
        platform,
        settings.gateway_dir / "journal",
        ahead_tokens=settings.model_allowance_tokens,
        call_seconds=settings.model_call_seconds,
    )
    left = purses.take_over()
    if left:
        log.info("%d allowances of an earlier run are posted and released", left)
    check_model_leases(catalogue, settings)
    holder = model_holder(settings)
    leases = None if holder is None else HttpLeases(settings.api_url, token, holder)
    place: Place = ThisMachine(settings, leases)
    if settings.cluster == "kubernetes" and leases is not None and holder is not None and catalogue.leased:
        place = in_pods_of(settings, leases, holder, os.environ)
    started = ModelServers(place, settings.model_idle_seconds, max(settings.notice_seconds, default=0))
    servers = Servers(catalogue.served, started)
    booking = Booking(platform, purses)
    tasks = [asyncio.ensure_future(each) for each in (booking.run(), servers.watch(), started.watch())]
    app = _app(settings, catalogue, platform, purses, servers)
    try:
        log.info("%d models can be called", len(catalogue.served))
        await uvicorn.Server(server_config(app, settings)).serve()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await booking.settle_all()
        await started.close()
        if leases is not None:
            await leases.close()
        await servers.close()
        await platform.close()
        purses.close()


def _app(
    settings: Settings, catalogue: ModelCatalogue, platform: HttpPlatform, purses: Purses, servers: Servers
) -> ASGIApp:
    turns = {
        model.name: Turns(
            model.name, model.serving.concurrency, settings.model_waiting_max, float(settings.model_wait_seconds)
        )
        for model in catalogue.served
        if model.serving is not None
    }
    limits = Limits(
        call_seconds=float(settings.model_call_seconds),
        silence_seconds=float(settings.model_silence_seconds),
        ahead_tokens=settings.model_allowance_tokens,
    )
    rates = Rates(settings.model_calls_per_minute)
    relay = Relay(catalogue, purses, turns, servers, rates, limits)
    return create_app(catalogue, Callers(platform), rates, relay)


def server_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    # The other half of the time is for the last posts.
    stop_seconds = max(1, settings.stop_timeout_seconds // 2)
    return uvicorn_config(
        app, settings.internal_host, settings.gateway_port, stop_seconds=stop_seconds, protocol=Uploading
    )
