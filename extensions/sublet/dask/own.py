"""A Dask cluster on what this server holds already: a worker on each of its GPUs, or on its processors.

On one machine all users' servers share the loopback interface. So the scheduler and its workers talk TLS only, with a
certificate made for this cluster, and their web pages lie below a path that nobody can guess.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sublet import wording
from sublet.dask.devices import Gpu, gpus, simulated
from sublet.dask.share import GIB, Share, share
from sublet.dask.showing import show
from sublet.errors import NotHere

SPILL_PERCENT = 80
"""How full a GPU gets before Dask moves what lies on it to the host: Dask-CUDA's own default."""
POOL_PERCENT = 50
"""RMM's pool to begin with; it grows. The rest is for libraries that don't ask RMM, such as PyTorch."""
ALIGNED_BYTES = 256
"""What the size of RMM's pool must be a multiple of."""
SECRET = "sublet-" + secrets.token_urlsafe(24)
"""The path of the web pages, of all clusters of this process."""


def own_cluster(settings: Mapping[str, Any], env: Mapping[str, str] = os.environ) -> Any:
    """A `dask_cuda.LocalCUDACluster`, or a `distributed.LocalCluster` where there is no GPU. `settings` go before
    those that are right here. NotHere where Dask isn't installed."""
    dask, distributed = module("dask"), module("distributed")
    found, part = gpus(env), share(env)
    dask.config.set({"distributed.dashboard.link": dashboard_link(env)})
    if found:
        wanted = {**guarded(env), **cuda_settings(found, part, env), **settings}
        cluster = module("dask_cuda").LocalCUDACluster(**wanted)
        show(_of_gpus(found, cluster, wanted))
        return cluster
    wanted = {**guarded(env), **cpu_settings(part, settings), **settings}
    # Where a machine has GPUs that this lease was not given, they are none of its figures.
    with dask.config.set({"distributed.diagnostics.nvml": False}):
        cluster = distributed.LocalCluster(**wanted)
    show(_of_cpus(cluster, wanted, env))
    return cluster


def guarded(env: Mapping[str, str]) -> dict[str, Any]:
    """What keeps others on the machine out."""
    port = _free_port()
    return {
        "security": True,
        "dashboard_address": f"127.0.0.1:{port}",
        "scheduler_kwargs": {"http_prefix": _pages(env).format(port=port)},
        "http_prefix": f"/{SECRET}",
    }


def dashboard_link(env: Mapping[str, str]) -> str:
    """Where the dashboard is for a browser: through the server itself, where it can pass it on."""
    pages = _pages(env)
    return f"{pages}/status" if _passed_on(env) else f"http://127.0.0.1:{{port}}{pages}/status"


def _pages(env: Mapping[str, str]) -> str:
    """The path of the scheduler's web pages. They name their scripts by it, so it must be the one that a browser
    sees, which has the port."""
    return f"{env['JUPYTERHUB_SERVICE_PREFIX']}proxy/absolute/{{port}}/{SECRET}" if _passed_on(env) else f"/{SECRET}"


def _passed_on(env: Mapping[str, str]) -> bool:
    """https://jupyter-server-proxy.readthedocs.io/en/latest/arbitrary-ports-hosts.html"""
    return bool(env.get("JUPYTERHUB_SERVICE_PREFIX") and importlib.util.find_spec("jupyter_server_proxy"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_settings(part: Share, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Workers on processors, and the memory of each."""
    workers, threads = part.cpu_workers()
    if settings.get("n_workers"):
        workers = int(settings["n_workers"])
        threads = max(1, part.cpus // workers)
    return {
        "n_workers": workers,
        "threads_per_worker": threads,
        "memory_limit": part.memory_bytes // workers,
        "config": {"distributed.diagnostics.nvml": False},
    }


def cuda_settings(found: Sequence[Gpu], part: Share, env: Mapping[str, str]) -> dict[str, Any]:
    """A worker on each GPU. Sizes are in bytes, since Dask-CUDA would take parts of another GPU's memory."""
    settings: dict[str, Any] = {
        "CUDA_VISIBLE_DEVICES": [each.name for each in found],
        "memory_limit": part.memory_bytes // len(found),
    }
    sizes = [each.memory_bytes for each in found if each.memory_bytes]
    if sizes:
        settings["device_memory_limit"] = min(sizes) * SPILL_PERCENT // 100
        if importlib.util.find_spec("rmm"):
            pool = min(sizes) * POOL_PERCENT // 100
            settings["rmm_pool_size"] = pool - pool % ALIGNED_BYTES
    else:
        settings["device_memory_limit"] = None
    if len(found) > 1 and _alone(env) and importlib.util.find_spec("distributed_ucxx"):
        settings |= {"protocol": "ucx", "security": None}
    return settings


def module(name: str) -> Any:
    """A module that need not be there: `sublet` itself needs none of them."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0].replace("_", "-")
        raise NotHere(f"Dask clusters need {package}: {sys.executable} -m pip install {package}") from None


def _alone(env: Mapping[str, str]) -> bool:
    """Whether nobody else shares the network of this server: in a pod. UCX, which moves data from GPU to GPU, can't
    talk TLS."""
    return "KUBERNETES_SERVICE_HOST" in env


def _of_gpus(found: Sequence[Gpu], cluster: Any, settings: Mapping[str, Any]) -> str:
    models = " and ".join(dict.fromkeys(each.model for each in found))
    count = "GPU" if len(found) == 1 else f"{len(found)} GPUs"
    pool = ", with a pool of RMM" if settings.get("rmm_pool_size") else ""
    return (
        f"A Dask cluster on this server's {count} ({models}): {_workers(cluster, 'GPU')}{_memory(settings)}{pool}."
        " It costs nothing beyond the lease."
    )


def _of_cpus(cluster: Any, settings: Mapping[str, Any], env: Mapping[str, str]) -> str:
    why = "The GPUs of this server are simulated" if simulated(env) else "This server has no GPU"
    return (
        f"{why}, so this is a Dask cluster on its processors: {_workers(cluster, 'CPU')}{_memory(settings)}."
        " It costs nothing beyond the lease."
    )


def _workers(cluster: Any, of: str) -> str:
    count = len(cluster.worker_spec)
    return f"{count} {of} worker{'' if count == 1 else 's'}"


def _memory(settings: Mapping[str, Any]) -> str:
    limit = settings.get("memory_limit")
    if not isinstance(limit, int):
        return ""
    return f" with {wording.number(Decimal(limit) / GIB, 1)} GiB of memory each"
