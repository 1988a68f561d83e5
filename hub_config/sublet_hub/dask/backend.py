"""Dask-Gateway's backend of this platform: each worker is a lease, asked for before it starts, observed to its end.

See decision 018 for what is subclassed and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web
from dask_gateway_server.backends.base import PublicException
from dask_gateway_server.backends.db_base import Cluster, DBBackendBase, JobStatus, Worker
from dask_gateway_server.options import Options, String
from dask_gateway_server.routes import api_handler
from dask_gateway_server.traitlets import Type
from traitlets import Instance, Unicode

from sublet_hub.cluster.base import LeaseUnknownError
from sublet_hub.dask import heartbeats
from sublet_hub.dask.asking import Asking, NotGrantedError
from sublet_hub.dask.cluster_config import part_in
from sublet_hub.dask.commands import scheduler_arguments, worker_arguments
from sublet_hub.dask.idling import Idling
from sublet_hub.dask.local_processes import LocalProcesses, Owned, runs_or_will, stop
from sublet_hub.dask.pages import Pages
from sublet_hub.dask.retiring import Retiring
from sublet_hub.dask.watching import Watching
from sublet_hub.dask.wishes import NotOfferedError, Room
from sublet_hub.settings import Settings

LOOK_SECONDS = 0.1
KILL_SECONDS = 5.0
"""What a supervising parent may take beyond the grace, on a busy machine."""

SHOWN_BY_US = "shown by sublet_hub.dask.pages"
OPTIONS = ("flavor", "tier", "account")
NAMES_WHO_ONLY = "Only users have Dask clusters."


class LeasedBackend(DBBackendBase):
    """Clusters whose schedulers and workers run under supervising parents on this machine."""

    cluster_config_class = Type(
        "sublet_hub.dask.cluster_config.LeasedClusterConfig",
        klass="dask_gateway_server.backends.base.ClusterConfig",
        help="The cluster config class to use",
        config=True,
    )

    sublet_settings = Instance(Settings, help="The platform's settings. Required.").tag(config=True)

    sublet_api_token = Unicode(
        help="Hub token with the scope `custom:leases:write`. Required. Never given to schedulers or workers."
    ).tag(config=True)

    default_host = "127.0.0.1"

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.asking = Asking(self.sublet_settings, self.sublet_api_token)
        self.processes = LocalProcesses(self.sublet_settings)
        self.retiring = Retiring(self)
        self.idling = Idling(self)
        self.pages = Pages(self.sublet_settings, self.sublet_api_token, self._pages_of)
        self.cluster_options = Options(*(String(name, default="") for name in OPTIONS))

    async def setup(self, app: web.Application) -> None:
        """See Backend, which says that routes are added here."""
        told_idle = api_handler(self._told_idle, token_authenticated=True)
        app.add_routes([web.post("/api/v1/clusters/{cluster_name}/idle", told_idle), *self.pages.routes()])
        await super().setup(app)

    async def _told_idle(self, request: web.Request) -> web.Response:
        """A scheduler, by its cluster's token, says that its cluster computes nothing."""
        cluster = self.db.get_cluster(request.match_info["cluster_name"])
        if cluster is not None and cluster.is_active():
            await self.idling.told(cluster)
        return web.Response(status=204)

    async def do_setup(self) -> None:
        """See DBBackendBase."""
        self.task_pool.spawn(Watching(self).run())

    async def do_cleanup(self) -> None:
        """See DBBackendBase."""
        await self.asking.close()
        await self.pages.close()

    # ---------------------------------------------------------------- pages

    async def list_clusters(self, username: str | None = None, statuses: Any = None) -> list[Any]:
        """See Backend."""
        return [_with_pages(each) for each in await super().list_clusters(username=username, statuses=statuses)]

    async def get_cluster(self, cluster_name: str, wait: bool = False) -> Any:
        """See Backend."""
        found = await super().get_cluster(cluster_name, wait=wait)
        return None if found is None else _with_pages(found)

    def _pages_of(self, name: str) -> tuple[str, Path, int] | None:
        cluster = self.db.get_cluster(name)
        if cluster is None or cluster.status != JobStatus.RUNNING:
            return None
        return (cluster.username, *self.processes.pages(Owned(name, cluster.username)))

    # ---------------------------------------------------------------- limits

    async def process_cluster_options(self, user: Any, request: Mapping[str, object]) -> Any:
        """What a new cluster is made of. PublicException says why there can't be one."""
        if ":" in user.name:
            raise PublicException(NAMES_WHO_ONLY)
        most = self.sublet_settings.dask_clusters_per_user_max
        if len(self.db.list_clusters(username=user.name)) >= most:
            raise PublicException(f"You have {most} Dask clusters, and may have no more. Close one with close().")
        try:
            requested = self.cluster_options.parse_options(request)
            part = await self.asking.part(user.name, requested)
        except (NotOfferedError, NotGrantedError, ValueError, TypeError) as error:
            raise PublicException(_one_line(str(error))) from error
        chosen = {name: getattr(part, name) for name in OPTIONS}
        kept = {name: getattr(part, name) for name in part.__dataclass_fields__}
        limits = {"cluster_max_workers": self.sublet_settings.dask_workers_max}
        sizes = {"worker_cores": max(1, part.cpus), "worker_memory": part.memory_bytes}
        idle = {"idle_timeout": float(self.sublet_settings.dask_idle_seconds)}
        return chosen, self.cluster_config_class(parent=self, **kept, **limits, **sizes, **idle)

    async def forward_message_to_scheduler(self, cluster: Any, msg: Mapping[str, Any]) -> None:
        """Pass on how many workers a user wants, if so many can be had; else PublicException, which names the limit
        and how many would fit."""
        wanted = msg.get("count") if msg.get("op") == "scale" else msg.get("minimum")
        more = (wanted or 0) - len(self.db.get_cluster(cluster.name).active_workers())
        if more > 0:
            part = part_in(cluster.config)
            try:
                room = await self.asking.room(cluster.username, part)
            except (NotGrantedError, NotOfferedError) as error:
                raise PublicException(_one_line(str(error))) from error
            if not room.has(more):
                raise PublicException(_one_line(room.refusal(more, part.gpus)))
        await super().forward_message_to_scheduler(cluster, msg)

    async def on_cluster_heartbeat(self, cluster_name: str, msg: Mapping[str, Any]) -> None:
        """Believe of a scheduler what may be so, and want no more workers than would be granted; the others are
        wanted again at the next heartbeat."""
        cluster = self.db.get_cluster(cluster_name)
        if cluster is None:
            return
        most = self.sublet_settings.dask_workers_max
        try:
            said = heartbeats.checked(msg, frozenset(cluster.workers), most)
        except heartbeats.NotBelievedError as error:
            raise PublicException(str(error)) from error
        have = len(cluster.active_workers())
        if said["count"] > have:
            said["count"] = min(said["count"], have + await self._room(cluster, said["count"] - have))
        await super().on_cluster_heartbeat(cluster_name, said)
        if cluster.count > len(cluster.active_workers()):
            self.queue.put(cluster)  # a retired worker's place is empty; Dask-Gateway looks when the count changes

    async def _room(self, cluster: Cluster, wanted: int) -> int:
        try:
            room = await self.asking.room(cluster.username, part_in(cluster.config))
        except (NotGrantedError, NotOfferedError) as error:
            room = Room(0, str(error))
        if room.has(wanted):
            return wanted
        self.log.info("Cluster %s gets %s of %d more workers: %s", cluster.name, room.workers, wanted, room.why)
        return room.workers or 0

    # ---------------------------------------------------------------- schedulers

    def get_tls_paths(self, cluster: Cluster) -> tuple[str, str]:
        """See DBBackendBase."""
        return self.processes.tls_paths(cluster.name)

    def get_scheduler_command(self, cluster: Cluster) -> list[str]:
        """Dask-Gateway's, with our own preload and without pages."""
        theirs = super().get_scheduler_command(cluster)[len(cluster.config.scheduler_cmd) :]
        return self.processes.dask_command("scheduler", *scheduler_arguments(theirs))

    def get_worker_command(
        self, cluster: Cluster, worker_name: str, scheduler_address: str | None = None
    ) -> list[str]:
        """Dask-Gateway's, of the kind that the flavor needs."""
        theirs = super().get_worker_command(cluster, worker_name, scheduler_address)[len(cluster.config.worker_cmd) :]
        return self.processes.dask_command(*worker_arguments(theirs, part_in(cluster.config)))

    async def do_start_cluster(self, cluster: Cluster) -> AsyncIterator[dict[str, object]]:
        """See DBBackendBase."""
        yield {"begun": True}
        await asyncio.to_thread(
            self.processes.start_scheduler,
            Owned(cluster.name, cluster.username),
            (cluster.tls_cert, cluster.tls_key),
            self.get_scheduler_command(cluster),
            self.get_scheduler_env(cluster),
        )

    async def do_stop_cluster(self, cluster: Cluster) -> None:
        """End the scheduler, and wait for it."""
        schedulers = self.processes.schedulers
        await asyncio.to_thread(stop, schedulers, cluster.name)
        await self._wait(lambda: not runs_or_will(schedulers, cluster.name), f"scheduler of {cluster.name}")
        await asyncio.to_thread(self.processes.forget_scheduler, cluster.name)

    async def do_check_clusters(self, clusters: Sequence[Cluster]) -> list[bool]:
        """See DBBackendBase."""
        return [runs_or_will(self.processes.schedulers, each.name) for each in clusters]

    # ---------------------------------------------------------------- workers

    async def do_start_worker(self, worker: Worker) -> AsyncIterator[dict[str, object]]:
        """Ask for a lease, and start the worker in it. Without a lease nothing is started, and that is no failure."""
        cluster = worker.cluster
        try:
            grant = await self.asking.lease(cluster.username, cluster.name, worker.name, part_in(cluster.config))
        except NotGrantedError as error:
            self._put_off(worker, str(error))
            raise
        yield {"lease": grant.id}
        await asyncio.to_thread(
            self.processes.start_worker,
            Owned(cluster.name, cluster.username),
            grant,
            self.get_worker_command(cluster, worker.name),
            self.get_worker_env(cluster),
        )

    async def do_stop_worker(self, worker: Worker) -> None:
        """End the worker first, since it costs; then say that its user wanted it, unless its lease had come to its
        end; then wait."""
        lease = worker.state.get("lease")
        if lease is None:
            return
        leases = self.processes.workers
        over = not await asyncio.to_thread(runs_or_will, leases, lease)
        await asyncio.to_thread(stop, leases, lease)
        if not over and not self.retiring.was_asked(worker):
            untold = await self.asking.give_back(lease, f"Dask cluster {worker.cluster.name} gave its worker up")
            if untold is not None:
                self.log.warning("The meter has to find the end of lease %s: %s", lease, untold)
        await self._wait(lambda: not runs_or_will(leases, lease), f"worker in lease {lease}")

    async def do_check_workers(self, workers: Sequence[Worker]) -> list[bool]:
        """See DBBackendBase."""
        return [runs_or_will(self.processes.workers, each.state.get("lease", "")) for each in workers]

    def _put_off(self, worker: Worker, why: str) -> None:
        """Want this worker no more until the scheduler asks again, and don't take it for one that failed to start, of
        which a cluster dies."""
        cluster = worker.cluster
        self.log.info("Cluster %s gets no lease: %s", cluster.name, why)
        self.db.update_worker(worker, close_expected=True)
        self.db.update_cluster(cluster, count=max(0, min(cluster.count, len(cluster.active_workers()) - 1)))
        cluster.worker_start_failure_count -= 1  # the base class adds one for whatever is raised

    def mark_ended(self, worker: Worker) -> None:
        """Note that a worker's process is gone, whatever its scheduler thinks."""
        target = JobStatus.STOPPED if worker.close_expected else JobStatus.FAILED
        self.db.update_worker(worker, target=target)
        self.queue.put(worker)

    async def _wait(self, ended: Callable[[], bool], what: str) -> None:
        """Wait for an end that was asked for; its parent kills after the grace, so that it comes soon."""
        seconds = self.sublet_settings.stop_grace_seconds + KILL_SECONDS
        with suppress(LeaseUnknownError):
            try:
                async with asyncio.timeout(seconds):
                    while not await asyncio.to_thread(ended):  # noqa: ASYNC110 — a file tells of it
                        await asyncio.sleep(LOOK_SECONDS)
            except TimeoutError:
                self.log.error("The %s did not end within %.0f s", what, seconds)


def _with_pages(cluster: Any) -> Any:
    """Dask-Gateway tells a client of a dashboard where it knows its address. It knows none: its proxy would show it
    to anybody, and ours asks who it is."""
    cluster.dashboard_address = SHOWN_BY_US
    return cluster


def _one_line(text: str) -> str:
    """A reason goes into the first line of an HTTP answer."""
    return " ".join(text.split())
