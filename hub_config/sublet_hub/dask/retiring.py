"""Workers whose leases are about to end: their schedulers are told in time, so that what they hold moves on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import aiohttp
from dask_gateway_server.backends.db_base import Cluster, JobStatus, Worker

from sublet_hub.cluster import records
from sublet_hub.cluster.base import Observed
from sublet_hub.meter.plan import LEAST_WARNING_SECONDS

if TYPE_CHECKING:
    from sublet_hub.dask.backend import LeasedBackend

TIMEOUT = aiohttp.ClientTimeout(total=120, connect=5)


class Retiring:
    """Has workers retired, each once: at the last of the warnings that a lease's user gets."""

    def __init__(self, backend: LeasedBackend) -> None:
        self._backend = backend
        self._lead_ms = min(backend.sublet_settings.notice_seconds, default=LEAST_WARNING_SECONDS) * 1000
        self._asked: set[str] = set()

    def is_time(self, seen: Observed) -> bool:
        """Whether a worker's lease ends so soon. The deadline is the armed one, which all else follows."""
        return seen.armed_deadline_ms is not None and seen.armed_deadline_ms - records.wall_ms() <= self._lead_ms

    def was_asked(self, worker: Worker) -> bool:
        """Whether a worker ends because its lease does."""
        return worker.name in self._asked

    def expect(self, workers: Iterable[Worker]) -> None:
        """Take it that these end because their leases do, though nobody was asked to retire them."""
        self._asked.update(each.name for each in workers)

    def forget(self, alive: frozenset[str]) -> None:
        """Keep nothing of workers that are over."""
        self._asked &= alive

    def retire(self, cluster: Cluster, workers: Sequence[Worker]) -> None:
        """Ask the scheduler, in the background, for those that it wasn't asked for. Their ends are then expected."""
        names = [each.name for each in workers if each.status == JobStatus.RUNNING and each.name not in self._asked]
        if not names:
            return
        self._asked.update(names)
        self._backend.log.info(
            "Cluster %s retires %d workers, whose leases are about to end", cluster.name, len(names)
        )
        self._backend.db.update_workers([(each, {"close_expected": True}) for each in workers if each.name in names])
        self._backend.task_pool.spawn(self._ask(cluster, names))

    async def _ask(self, cluster: Cluster, names: list[str]) -> None:
        try:
            answer = await self._backend.session.post(
                f"{cluster.api_address}/api/retire",
                json={"names": names},
                headers={"Authorization": f"token {cluster.token}"},
                timeout=TIMEOUT,
                allow_redirects=False,
            )
            answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._backend.log.warning("Cluster %s did not retire its workers: %r", cluster.name, error)
            self._asked.difference_update(names)  # and asked again at the next look
