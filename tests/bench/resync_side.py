"""One side of the bench `resync`, in a process of its own: read all pods of a namespace once, and say what that took.

python -m tests.bench.resync_side ours|theirs NAMESPACE
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 600


def memory_kib(what: str) -> int:
    """From the kernel: `VmRSS` is what is resident, `VmHWM` the most that ever was."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


@contextmanager
def measured(said: dict[str, float]) -> Iterator[None]:
    """Time and memory of a block. What it reads must be held beyond it."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begins the peak anew: proc(5)
    before = memory_kib("VmRSS")
    cpu, begun = time.process_time(), time.perf_counter()
    yield
    said["seconds"] = time.perf_counter() - begun
    said["cpu_seconds"] = time.process_time() - cpu
    said["peak_mib"] = (memory_kib("VmHWM") - before) / 1024
    gc.collect()
    said["steady_mib"] = (memory_kib("VmRSS") - before) / 1024


def ours(namespace: str) -> dict[str, float]:
    """Our reflector, from its start to its first whole copy."""
    from sublet_hub.cluster.kube.connection import connect
    from sublet_hub.cluster.kube.errors import PODS
    from sublet_hub.cluster.kube.objects import Pod
    from sublet_hub.cluster.kube.reflector import Reflector

    said: dict[str, float] = {}
    connection = connect()
    connection.server_version()
    reflector = Reflector(connection, PODS, Pod, namespace=namespace)
    with measured(said):
        reflector.start()
        assert reflector.wait_synced(PATIENCE_SECONDS), reflector.trouble
    said["pods"] = len(reflector.snapshot().items)
    reflector.close()
    return said


async def theirs(namespace: str) -> dict[str, float]:
    """KubeSpawner's, by the one method that it lists with, as it calls it at its start and after an error."""
    from kubernetes_asyncio.client import VersionApi
    from kubespawner.clients import load_config, shared_client
    from kubespawner.spawner import PodReflector

    said: dict[str, float] = {}
    load_config()
    await VersionApi(shared_client("CoreV1Api").api_client).get_code()
    reflector = PodReflector(namespace=namespace)
    with measured(said):
        await reflector._list_and_update("0")
    said["pods"] = len(reflector.pods)
    return said


def main() -> None:
    which, namespace = sys.argv[1:]
    said = ours(namespace) if which == "ours" else asyncio.run(theirs(namespace))
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
