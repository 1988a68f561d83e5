"""Start leases as a platform does, then be killed at once with SIGKILL: what is left are their supervising parents.

    python -m tests.bench.abandoned DATA UID COUNT FIRST_DEADLINE_MS APART_MS

Every second server ignores SIGTERM. UID is - where servers run under the platform's own account.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sublet_hub.cluster import records
from sublet_hub.cluster.local import LocalCluster, ServerSpec, python_paths, spawn_command

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
POLITE = "import time; time.sleep(3600)"
AT_ONCE = 4
"""Parents that are being started at once: the start is not what is measured."""


def main(data: Path, uid: int | None, count: int, first_ms: int, apart_ms: int) -> None:
    cluster = LocalCluster(data)
    folders: list[Path] = []
    for number in range(count):
        deadline_ms = first_ms + number * apart_ms
        folder = cluster.prepare(f"lease-{number:04}", deadline_ms)
        spec = ServerSpec(
            argv=(sys.executable, "-I", "-S", "-c", POLITE if number % 2 else STUBBORN),
            deadline_ms=deadline_ms,
            home=data / "homes" / "ann",
            uid=uid,
            hide=(data,),
            read_only=python_paths(Path(sys.executable)),
        )
        subprocess.Popen(spawn_command(folder, spec), start_new_session=True, stdin=subprocess.DEVNULL)
        folders.append(folder)
        while sum(records.read_record(each).started is None for each in folders[-AT_ONCE:]) >= AT_ONCE:
            time.sleep(0.005)
    while any(records.read_record(each).started is None for each in folders):
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    said = sys.argv[1:]
    main(Path(said[0]), None if said[1] == "-" else int(said[1]), *map(int, said[2:]))
