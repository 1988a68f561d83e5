"""A Dask cluster of its own: the platform's Dask-Gateway runs it, and each worker of it is a lease.

This module and `asked` alone need dask_gateway; nothing imports them before such a cluster is asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import dask
from dask_gateway import GatewayCluster

from sublet import client, wording
from sublet.dask.asked import changing, starting
from sublet.dask.left import left_rows
from sublet.dask.offers import offers
from sublet.dask.orders import Order, Wish
from sublet.dask.showing import Board, Said
from sublet.dask.views import Bounds, Rows, State, price, said
from sublet.errors import NotHere, SubletError, Unavailable

VARIABLE = "SUBLET_DASK_URL"
LOOK_SECONDS = 0.2
ASK_SECONDS = 5.0
"""How often it is asked why workers don't come."""


class LeasedCluster(GatewayCluster):
    """A `dask_gateway.GatewayCluster` that tells what it costs, and says which limit it is where one is met."""

    def __init__(self, order: Order, url: str, env: Mapping[str, str]) -> None:
        self.order = order
        self.bounds: Bounds | None = None
        with starting(), dask.config.set({"gateway.http-client.proxy": False}):  # no place for the server's token
            super().__init__(
                address=url,
                public_address=public_address(url, env),
                auth="jupyterhub",
                flavor=order.offer.flavor,
                tier=order.choice.tier,
                account=order.choice.account,
            )

    @property
    def ready(self) -> int:
        """Workers that are there."""
        return len(self.scheduler_info.get("workers", {}))

    def scale(self, n: int, **kwargs: Any) -> None:
        """So many workers from now on. Refused where a limit has no room for them, with how many would fit."""
        self.hold(n, **kwargs)
        Board().show(Said(f"{self.order.workers} Dask workers: {price(self.order)}, once they are all there."))

    def adapt(
        self,
        minimum: int | None = None,
        maximum: int | None = None,
        active: bool = True,
        **kwargs: Any,
    ) -> None:
        """As many workers as there is work for, within bounds and within the quotas."""
        self._check_open()
        with changing():
            super().adapt(minimum=minimum, maximum=maximum, active=active, **kwargs)
        if not active:
            self.bounds, self.order = None, replace(self.order, workers=self.ready)
            return
        self.bounds = Bounds(minimum or 0, maximum)
        self.order = replace(self.order, workers=maximum or 1)
        Board().show(Said(f"Dask workers: {self.bounds}: {price(self.order, self.bounds)}."))

    def close(self, shutdown: bool | None = None) -> None:
        """Stop it, and give its workers' leases back; with `shutdown=False` it runs on without this object."""
        if self.status == "closed":
            return
        super().close(shutdown=shutdown)
        # Else its finalizer would close it once more, and show a traceback since its loop has stopped.
        del self.gateway._loop_runner  # noqa: SLF001

    def hold(self, n: int, **kwargs: Any) -> None:
        """As `scale`, without a word."""
        self._check_open()
        with changing():
            super().scale(n, **kwargs)
        self.bounds, self.order = None, replace(self.order, workers=n)

    def state(self, note: str = "") -> State:
        return State(self.ready, note, self.dashboard_link, self.bounds)

    def __repr__(self) -> str:
        return repr(said(self.order, (), self.state(self._closed())))

    def _repr_html_(self) -> str:
        return said(self.order, (), self.state(self._closed()))._repr_html_()

    def _check_open(self) -> None:
        if self._closed():
            raise ValueError("This Dask cluster is closed. sublet.cluster(...) starts another.")

    def _closed(self) -> str:
        return "It is closed." if self.status in {"closing", "closed"} else ""


def lease_cluster(wish: Wish, wait_seconds: float, env: Mapping[str, str] = os.environ) -> LeasedCluster:
    """Start a cluster and wait for its workers. Whatever goes wrong, or is interrupted: nothing is left running."""
    url = address(env)
    lease = client.lease()
    order = wish.order(offers(), lease)
    order.check_room()
    left = left_rows(order, client.quota())
    board = Board()
    board.show(said(order, left, State(0, "The scheduler starts.")))
    cluster = LeasedCluster(order, url, env)
    try:
        cluster.hold(order.workers)
        _wait(cluster, left, board, wait_seconds)
    except BaseException:
        cluster.shutdown()
        raise
    return cluster


def address(env: Mapping[str, str]) -> str:
    """Where the platform's Dask clusters are asked for; NotHere where it has none."""
    url = env.get(VARIABLE, "").rstrip("/")
    if urlsplit(url).scheme not in {"http", "https"}:
        raise NotHere(
            "This platform leases no workers for Dask."
            " sublet.cluster() without arguments runs on what this server has."
        )
    return url


def public_address(url: str, env: Mapping[str, str]) -> str:
    """The same for browsers; only a path where the server doesn't know under which name they reach the platform."""
    path = urlsplit(url).path
    public = urlsplit(env.get("JUPYTERHUB_PUBLIC_HUB_URL", ""))
    return f"{public.scheme}://{public.netloc}{path}" if public.netloc else path


def _wait(cluster: LeasedCluster, left: Rows, board: Board, wait_seconds: float) -> None:
    """Until all workers are there, or for so long; Unavailable where not one has come."""
    began = time.monotonic()
    asked, note = began, ""
    while (now := time.monotonic()) < began + wait_seconds and cluster.ready < cluster.order.workers:
        if now > asked + ASK_SECONDS:
            asked, note = now, _why_not(cluster.order)
        board.show(said(cluster.order, left, cluster.state(note)))
        time.sleep(LOOK_SECONDS)
    took = f"{wording.duration(int(time.monotonic() - began))}"
    if cluster.ready >= cluster.order.workers:
        board.show(said(cluster.order, left, cluster.state(f"All came within {took or '1 s'}.")))
        return
    if wait_seconds > 0 and not cluster.ready:
        raise Unavailable(f"No worker came within {took}. {note}".rstrip())
    board.show(said(cluster.order, left, cluster.state("The others join as they come.")))


def _why_not(order: Order) -> str:
    """What keeps a further worker out, if the platform says so."""
    try:
        offer = next((each for each in offers() if each.flavor == order.offer.flavor), None)
    except SubletError:
        return ""
    choice = offer.choice(order.choice.tier, order.choice.account) if offer else None
    return choice.problem.detail if choice and choice.problem else ""
