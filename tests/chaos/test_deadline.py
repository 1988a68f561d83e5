"""Promise 2: the limit of a lease ends it on time even if every process of Sublet is dead.

Twenty leases are granted and started by a process that is then killed with SIGKILL. Nothing of the platform
runs from then on until all their deadlines are past; what remains are their supervising parents.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sublet_hub.cluster import processes, records
from sublet_hub.cluster.base import Observed
from sublet_hub.cluster.local import LocalCluster

LEASES = 20
FIRST_DEADLINE_MS = 8_000
APART_MS = 100
CLOCKS_APART_MS = 50
"""By how much the wall clock, which the ends are noted by, may be moved against the one that is waited on."""

PATIENCE_SECONDS = 60
USER_UID = 200_777

PLATFORM = """
import json, os, signal, subprocess, sys
from pathlib import Path
from sublet_hub.cluster import records
from sublet_hub.cluster.local import LocalCluster, ServerSpec, python_paths, spawn_command

data, uid, leases, first_ms, apart_ms = Path(sys.argv[1]), json.loads(sys.argv[2]), *map(int, sys.argv[3:])
cluster = LocalCluster(data)
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
for number in range(leases):
    deadline_ms = records.wall_ms() + first_ms + number * apart_ms
    folder = cluster.prepare(f"lease-{number}", deadline_ms)
    argv = ("sleep", "600") if number % 2 else (sys.executable, "-c", stubborn)
    spec = ServerSpec(argv, deadline_ms, home=data / "homes" / "ann", uid=uid, hide=(data,),
                      read_only=python_paths(Path(sys.executable)))
    subprocess.Popen(spawn_command(folder, spec), start_new_session=True)
while any(records.read_record(data / "leases" / f"lease-{n}").started is None for n in range(leases)):
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder with one user's home in it."""
    folder = Path(tempfile.mkdtemp(prefix="sublet-deadline-"))
    home = folder / "homes" / "ann"
    home.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(home, USER_UID, USER_UID)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _parents(data: Path) -> list[records.Started]:
    found = [records.read_record(path).started for path in (data / "leases").glob("lease-*")]
    return [started for started in found if started is not None]


def _wait_for_all(parents: list[records.Started]) -> None:
    """Wait as an outsider would: for the processes to be gone."""
    end = time.monotonic() + PATIENCE_SECONDS
    while any(processes.is_alive(parent.parent_pid, parent.parent_ticks) for parent in parents):
        assert time.monotonic() < end, "some leases have not ended"
        time.sleep(0.2)


def _late_ms(lease: Observed) -> int:
    assert lease.ended_at_ms is not None
    assert lease.armed_deadline_ms is not None
    return lease.ended_at_ms - lease.armed_deadline_ms


def test_leases_end_on_time_with_nothing_of_the_platform_running(
    data: Path, record_property: Callable[[str, object], None]
) -> None:
    uid = USER_UID if os.geteuid() == 0 else None
    numbers = map(str, (LEASES, FIRST_DEADLINE_MS, APART_MS))
    platform = [sys.executable, "-c", PLATFORM, str(data), json.dumps(uid), *numbers]
    killed = subprocess.run(platform, timeout=PATIENCE_SECONDS, check=False)
    assert killed.returncode == -9
    parents = _parents(data)
    assert len(parents) == LEASES

    _wait_for_all(parents)
    observed = LocalCluster(data).observe()
    assert [lease.cause for lease in observed] == ["deadline"] * LEASES
    late_ms = sorted(_late_ms(lease) for lease in observed)
    record_property("late_ms", late_ms)
    sys.stdout.write(f"late by milliseconds: {late_ms}\n")
    assert late_ms[0] >= -CLOCKS_APART_MS
    assert late_ms[-1] < 1000
    assert not any(processes.is_alive(parent.child_pid, parent.child_ticks) for parent in parents)
