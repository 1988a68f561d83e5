"""The arguments of the `dask` commands that schedulers and workers are started with."""

from __future__ import annotations

from collections.abc import Sequence

from sublet_hub.dask.local_processes import PRELOAD
from sublet_hub.dask.wishes import Part


def scheduler_arguments(theirs: Sequence[str]) -> list[str]:
    """Dask-Gateway's arguments, with our own preload behind its own, and without the pages."""
    return ["--no-dashboard", *theirs, "--preload", str(PRELOAD)]


def worker_arguments(theirs: Sequence[str], part: Part) -> list[str]:
    """`cuda worker` for a real GPU, else `worker`: Dask-Gateway's arguments are the same for both."""
    return [*(("cuda", "worker") if part.gpus and not part.simulated else ("worker",)), "--no-dashboard", *theirs]
