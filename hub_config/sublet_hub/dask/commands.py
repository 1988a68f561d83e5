"""The arguments of the `dask` commands that schedulers and workers are started with."""

from __future__ import annotations

from collections.abc import Sequence

from sublet_hub.dask.local_processes import PRELOAD
from sublet_hub.dask.wishes import Part

SPILL_PERCENT = 80
"""How full a GPU gets before a worker moves what lies on it to main memory: Dask-CUDA's own default."""


def scheduler_arguments(theirs: Sequence[str]) -> list[str]:
    """Dask-Gateway's arguments, with our own preload behind its own, and without the pages."""
    return ["--no-dashboard", *theirs, "--preload", str(PRELOAD)]


def worker_arguments(theirs: Sequence[str], part: Part) -> list[str]:
    """`cuda worker` for a real GPU, else `worker`: Dask-Gateway's arguments are the same for both.

    How full a GPU may get is said in bytes. By itself Dask-CUDA takes 80 % of the memory of a whole GPU, for a slice
    of one too.
    """
    if not part.gpus or part.simulated:
        return ["worker", "--no-dashboard", *theirs]
    full = part.gpu_memory_bytes * SPILL_PERCENT // 100
    return ["cuda", "worker", "--no-dashboard", *(["--device-memory-limit", str(full)] if full else []), *theirs]
