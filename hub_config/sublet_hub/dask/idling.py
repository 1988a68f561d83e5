"""Clusters that compute nothing: their workers' leases get an end with a notice, which is taken back once there is
work again, or where their user keeps one of them. When it comes, the cluster is over.

A scheduler that never says it is idle costs its user the leases of its workers; one without workers is ended anyway.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker

from sublet_hub.cluster import records

if TYPE_CHECKING:
    from sublet_hub.dask.backend import LeasedBackend

ASK_SECONDS = 2.0
"""How often a scheduler whose workers are about to end for idleness is asked whether it still is idle."""

COMING_MS = 1_500
"""So near an end has come."""

MOVED_MS = 5_000
TIMEOUT = aiohttp.ClientTimeout(total=5, connect=2)


@dataclass
class _Ending:
    """When a cluster is to end, when to ask its scheduler next, and which workers were armed with that end."""

    at_ms: int
    ask_at: float
    armed: set[str] = field(default_factory=set)


class Idling:
    """What is to be done about idle clusters. Kept in memory only: one that is idle says so again."""

    def __init__(self, backend: LeasedBackend) -> None:
        self._backend = backend
        self._ending: dict[str, _Ending] = {}
        self._kept_until: dict[str, float] = {}

    def is_ending(self, cluster: Cluster) -> bool:
        return cluster.name in self._ending

    async def told(self, cluster: Cluster) -> None:
        """A scheduler says that it has been idle for as long as it may."""
        if self.is_ending(cluster) or time.monotonic() < self._kept_until.get(cluster.name, 0.0):
            return
        why = f"Dask cluster {cluster.name} computes nothing"
        ends = [await self._backend.asking.end_idle(each.state["lease"], why) for each in _running(cluster)]
        latest = max((each for each in ends if each is not None), default=None)
        if latest is not None:
            self._backend.log.info("Cluster %s is idle; its workers end at %s", cluster.name, latest)
            self._ending[cluster.name] = _Ending(round(latest.timestamp() * 1000), time.monotonic() + ASK_SECONDS)

    async def look(self, cluster: Cluster) -> None:
        """Take the ends back, or end the cluster where they have come."""
        ending = self._ending.get(cluster.name)
        if ending is None:
            return
        if records.wall_ms() >= ending.at_ms - COMING_MS:
            self._backend.log.info("Cluster %s has been idle, and is stopped", cluster.name)
            del self._ending[cluster.name]
            self._backend.retiring.expect(_running(cluster))
            await self._backend.stop_cluster(cluster.name)
        elif self._was_kept(cluster, ending):
            self._kept_until[cluster.name] = time.monotonic() + self._backend.sublet_settings.dask_idle_seconds
            await self._take_back(cluster, "its user keeps the cluster")
        elif time.monotonic() >= ending.ask_at:
            ending.ask_at = time.monotonic() + ASK_SECONDS
            if not await self._is_idle(cluster):
                await self._take_back(cluster, "it is in use again")

    def forget(self, alive: frozenset[str]) -> None:
        """Keep nothing of clusters that are over."""
        self._ending = {name: each for name, each in self._ending.items() if name in alive}
        self._kept_until = {name: each for name, each in self._kept_until.items() if name in alive}

    def _was_kept(self, cluster: Cluster, ending: _Ending) -> bool:
        """Whether a worker's deadline was moved out, that had been armed with the end that was planned."""
        for worker in _running(cluster):
            seen = self._backend.processes.workers.look(worker.state["lease"])
            armed_ms = None if seen is None else seen.armed_deadline_ms
            if armed_ms is None:
                continue
            if armed_ms <= ending.at_ms + MOVED_MS:
                ending.armed.add(worker.name)
            elif worker.name in ending.armed:
                return True
        return False

    async def _take_back(self, cluster: Cluster, why: str) -> None:
        self._backend.log.info("Cluster %s goes on: %s", cluster.name, why)
        done = [await self._backend.asking.keep(each.state["lease"], why) for each in _running(cluster)]
        if all(done):
            del self._ending[cluster.name]

    async def _is_idle(self, cluster: Cluster) -> bool:
        """What the scheduler says; one that doesn't answer is taken for busy."""
        try:
            answer = await self._backend.session.get(
                f"{cluster.api_address}/api/idle",
                headers={"Authorization": f"token {cluster.token}"},
                timeout=TIMEOUT,
                allow_redirects=False,
            )
            said = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False
        return isinstance(said, dict) and said.get("idle") is True


def _running(cluster: Cluster) -> list[Worker]:
    return [
        each
        for each in cluster.workers.values()
        if each.status == JobStatus.RUNNING and each.target == JobStatus.RUNNING and "lease" in each.state
    ]
