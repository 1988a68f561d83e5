"""Start `sublet.cluster()` in `.venv-notebook`, compute on it, try what others could do; print it all as JSON.

python own_cluster.py SETTINGS_AS_JSON
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any


def computed() -> bool:
    """Whether chunks that lie on several workers are added up rightly."""
    import dask.array as da

    numbers = da.arange(1_000_000, chunks=100_000)
    return int((numbers + numbers[::-1]).sum().compute()) == 999_999 * 1_000_000


def worker(dask_worker: Any) -> dict[str, Any]:
    rmm = sys.modules.get("rmm")
    return {
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "memory": dask_worker.memory_manager.memory_limit,
        "threads": dask_worker.state.nthreads,
        "data": type(dask_worker.data).__name__,
        "gpu_memory": getattr(getattr(dask_worker.data, "device_buffer", None), "n", None),
        "pool": getattr(rmm, "asked", None),
        "port": dask_worker.http_server.port,
    }


def status(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def others_get_in(address: str) -> bool:
    """Whether somebody who knows where the scheduler is, but has not its certificate, can use it."""
    from distributed import Client
    from distributed.security import Security

    for at, security in ((address, Security.temporary()), (address.replace("tls://", "tcp://"), None)):
        try:
            Client(at, security=security, timeout=3).close()
        except (OSError, RuntimeError, TypeError):
            continue
        return True
    return False


def main(settings: dict[str, Any]) -> dict[str, Any]:
    import sublet

    with sublet.cluster(**settings) as cluster, cluster.get_client() as client:
        workers = list(client.run(worker).values())
        root = cluster.dashboard_link.partition("/sublet-")[0]
        return {
            "class": type(cluster).__name__,
            "computed": computed(),
            "workers": sorted(workers, key=lambda each: str(each["gpus"])),
            "dashboard": status(cluster.dashboard_link),
            "guessed": [status(f"{root}{path}") for path in ("/status", "/info/main/workers.html", "/metrics")]
            + [status(f"http://127.0.0.1:{each['port']}/metrics") for each in workers],
            "others get in": others_get_in(cluster.scheduler_address),
        }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
