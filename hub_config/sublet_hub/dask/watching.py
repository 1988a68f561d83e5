"""What the Dask gateway looks at about once a second: who has ended, who is to live on, who is to be retired."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker

from sublet_hub.cluster import records
from sublet_hub.cluster.local import OUTLIVES_US_SECONDS

if TYPE_CHECKING:
    from sublet_hub.dask.backend import LeasedBackend

LOOK_SECONDS = 0.5
ORPHANS_SECONDS = 10.0
RUNS = (JobStatus.SUBMITTED, JobStatus.RUNNING)


class Watching:
    """Goes by what supervising parents have written. What it keeps between looks only saves work."""

    def __init__(self, backend: LeasedBackend) -> None:
        self._backend = backend
        self._processes = backend.processes
        self._next_orphans = 0.0
        self._lonely_since: dict[str, float] = {}

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except Exception:  # the top of the loop: the next look starts from what is written
                self._backend.log.exception("A look at the clusters failed; trying again")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One look."""
        self._processes.reap()
        for cluster in [each for each in self._backend.db.active_clusters() if each.status in RUNS]:
            if not await asyncio.to_thread(self._keep, cluster):
                self._backend.log.warning("The scheduler of cluster %s has ended", cluster.name)
                await self._backend.stop_cluster(cluster.name, failed=True)
                continue
            await self._backend.idling.look(cluster)
            await self._look_at_workers(cluster)
            await self._end_if_lonely(cluster)
        await self._end_orphans()

    async def _look_at_workers(self, cluster: Cluster) -> None:
        ending = []
        for worker in [each for each in cluster.workers.values() if _is_to_run(each)]:
            seen = await asyncio.to_thread(self._processes.workers.look, worker.state["lease"])
            if seen is None or seen.ended_at_ms is not None:
                self._backend.log.info("Worker %s has ended", worker.name)
                self._backend.mark_ended(worker)
            elif self._backend.retiring.is_time(seen):
                ending.append(worker)
        if not self._backend.idling.is_ending(cluster):  # all of it ends: there is nowhere to move to
            self._backend.retiring.retire(cluster, ending)

    def _keep(self, cluster: Cluster) -> bool:
        """Put a scheduler's deadline off; False where it has ended."""
        seen = self._processes.schedulers.look(cluster.name)
        if seen is None or seen.ended_at_ms is not None:
            return False
        if (seen.armed_deadline_ms or 0) - records.wall_ms() < OUTLIVES_US_SECONDS * 500:
            self._processes.put_off(cluster.name)
        return True

    async def _end_if_lonely(self, cluster: Cluster) -> None:
        """End a cluster that has had no worker for as long as an idle one may be."""
        if cluster.active_workers():
            self._lonely_since.pop(cluster.name, None)
            return
        since = self._lonely_since.setdefault(cluster.name, time.monotonic())
        if time.monotonic() - since > self._backend.sublet_settings.dask_idle_seconds:
            self._backend.log.info("Cluster %s has had no worker for long, and is stopped", cluster.name)
            del self._lonely_since[cluster.name]
            await self._backend.stop_cluster(cluster.name)

    async def _end_orphans(self) -> None:
        if time.monotonic() < self._next_orphans:
            return
        self._next_orphans = time.monotonic() + ORPHANS_SECONDS
        known = self._backend.db.name_to_cluster
        alive = frozenset(name for name, each in known.items() if each.status < JobStatus.STOPPED)
        self._lonely_since = {name: since for name, since in self._lonely_since.items() if name in alive}
        self._backend.idling.forget(alive)
        self._backend.retiring.forget(frozenset(name for each in alive for name in known[each].workers))
        await asyncio.to_thread(self._processes.end_orphans, alive)


def _is_to_run(worker: Worker) -> bool:
    return worker.status in RUNS and worker.target == JobStatus.RUNNING and "lease" in worker.state
