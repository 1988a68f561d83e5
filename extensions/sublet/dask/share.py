"""What of a server's processors and memory Dask's workers may take."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from sublet import client
from sublet.asking import Surroundings
from sublet.dask.offers import offers
from sublet.errors import SubletError

GIB = 2**30
ASKING_SECONDS = 3.0
"""How long the platform may take to tell what the flavor has; without it the machine's own limits do."""
LEAST_WORKER_BYTES = GIB
"""A worker with less than that spills at once."""


@dataclass(frozen=True, slots=True)
class Share:
    """Processors, and bytes for all workers together."""

    cpus: int
    memory_bytes: int

    def cpu_workers(self) -> tuple[int, int]:
        """So many workers with so many threads each, as Dask would for these processors, if the memory allows."""
        divide = importlib.import_module("distributed.deploy.utils").nprocesses_nthreads
        workers = max(1, min(divide(self.cpus)[0], self.memory_bytes // LEAST_WORKER_BYTES))
        return workers, max(1, self.cpus // workers)


def share(env: Mapping[str, str] = os.environ) -> Share:
    """The least of what the container, JupyterHub and the lease's flavor allow, less what the notebook needs."""
    system = importlib.import_module("distributed.system")
    cpus = [importlib.import_module("dask.system").CPU_COUNT]
    memory = [system.MEMORY_LIMIT]
    if env.get("CPU_LIMIT"):
        cpus.append(int(float(env["CPU_LIMIT"])))
    if env.get("MEM_LIMIT", "").isdecimal():
        memory.append(int(env["MEM_LIMIT"]))
    if flavor := _flavor(env):
        cpus.append(flavor[0])
        memory.append(flavor[1])
    return Share(max(1, min(cpus)), workers_bytes(min(memory)))


def workers_bytes(memory_bytes: int) -> int:
    """A tenth stays for the kernel and the server, but at least 1 GiB; of a small server a quarter."""
    return memory_bytes - min(max(GIB, memory_bytes // 10), memory_bytes // 4)


def _flavor(env: Mapping[str, str]) -> tuple[int, int] | None:
    """Processors and memory of the lease's flavor: on one machine nothing in the system tells of them."""
    try:
        Surroundings.of(env)
        lease = client.lease(timeout=ASKING_SECONDS)
        found = next((each for each in offers(timeout=ASKING_SECONDS) if each.flavor == lease.flavor), None)
    except SubletError:
        return None
    return None if found is None else (found.cpus, found.memory_bytes)
