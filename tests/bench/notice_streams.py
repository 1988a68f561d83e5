"""How long after an admin's change the last of many servers knows of it, and what an open event stream takes.

The api is a real process on SQLite; the servers are simulated: each has a user, a running lease and a token of its
own, and holds its lease's event stream (`tests.bench.stream_clients`). The admin lowers the default quota through the
API, so that every lease gets a notice, and raises it again, so that every notice is withdrawn.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from sublet_hub.settings import Settings
from tests.bench.api_alone import WAIT_SECONDS, api_process, change_default_quota, fill, hub_of_names
from tests.bench.figures import Limit, Result, median, percentile
from tests.fixtures.platform import ROOT, free_port

COUNTS, QUICK_COUNTS = (200, 2_000), (50,)
CHANGES, QUICK_CHANGES = 5, 1
QUIET_SECONDS, QUICK_QUIET_SECONDS = 20.0, 3.0
AT_MOST_SECONDS = 2.0
HIGH, LOW = 1_000_000, 400
"""GPU-seconds a day. The lower leaves a lease some minutes, which is less than it had and more than it has used."""


@dataclass
class Side:
    """What was measured with so many streams."""

    count: int
    opening_seconds: float = 0.0
    kib_each: float = 0.0
    quiet_share: float = 0.0
    """Of one core, while nothing changes."""
    answered: list[float] = field(default_factory=list)
    """Seconds from the sending of an admin's request to its answer."""
    busy: list[float] = field(default_factory=list)
    """The api's seconds of processor from the sending of an admin's request until all clients knew."""
    told: list[float] = field(default_factory=list)
    """Seconds from the sending of an admin's request until a stream's client knew."""


def run(*, quick: bool) -> Result:
    sides = [_measure(count, quick=quick) for count in (QUICK_COUNTS if quick else COUNTS)]
    most = sides[-1]
    rows = [
        (
            f"{side.count:,}",
            f"{side.kib_each:.0f}",
            f"{side.quiet_share:.1%}",
            f"{side.opening_seconds:.1f}",
            f"{median(side.busy):.2f}",
            f"{median(side.answered):.2f}",
            f"{median(side.told):.2f}",
            f"{percentile(side.told, 99):.2f}",
            f"{max(side.told):.2f}",
        )
        for side in sides
    ]
    return Result(
        title="Notices to many servers, by event streams",
        limits=(
            Limit(
                f"p99 in seconds from an admin's change to the notice, {most.count:,} streams",
                percentile(most.told, 99),
                AT_MOST_SECONDS,
            ),
        ),
        columns=(
            "event streams", "memory of one in KiB", "a core's share while quiet", "opening all in s",
            "processor of a change in s", "the change itself in s", "told: median in s", "p99 in s", "last in s",
        ),
        rows=tuple(rows),
        samples=f"{len(most.answered)} changes of the default quota, each of which moves every lease's deadline",
        notes=(
            "Seconds count from the sending of the admin's request. The change itself is the time until its answer:",
            "by then the new deadlines and notices of all leases are written. The processor's time is the api's,",
            "of the change and the telling together.",
        ),
    )  # fmt: skip


def _measure(count: int, *, quick: bool) -> Side:
    side = Side(count)
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as folder, hub_of_names() as hub_port:
        port = free_port()
        settings = Settings(data=Path(folder), port=port, hub_port=hub_port)
        lease_ids = fill(settings, count)
        with api_process(settings) as api, httpx.Client(base_url=settings.api_url, timeout=WAIT_SECONDS) as admin:
            change_default_quota(admin, HIGH)
            memory = api.memory_info().rss
            begun = time.monotonic()
            with _clients(settings.api_url, lease_ids) as clients:
                side.opening_seconds = time.monotonic() - begun
                time.sleep(1)
                side.kib_each = (api.memory_info().rss - memory) / count / 1024
                side.quiet_share = _share(api, QUICK_QUIET_SECONDS if quick else QUIET_SECONDS)
                for number in range(1, (QUICK_CHANGES if quick else CHANGES) + 1):
                    for limit, event in ((LOW, "notice"), (HIGH, "withdrawn")):
                        sent, busy = time.monotonic(), _processor(api)
                        change_default_quota(admin, limit)
                        side.answered.append(time.monotonic() - sent)
                        side.told += [moment - sent for moment in _moments(clients, event, number)]
                        side.busy.append(_processor(api) - busy)
    return side


@contextmanager
def _clients(api_url: str, lease_ids: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The simulated servers, once each of them has its stream."""
    command = [sys.executable, "-m", "tests.bench.stream_clients", api_url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdin is not None
        try:
            for number, lease_id in enumerate(lease_ids):
                clients.stdin.write(f"/services/sublet/api/leases/{lease_id}/events user{number}\n")
            assert _asked(clients, "") == len(lease_ids)
            yield clients
        finally:
            clients.kill()


def _moments(clients: subprocess.Popen[str], event: str, number: int) -> list[float]:
    moments = _asked(clients, f"{event} {number}")
    assert isinstance(moments, list)
    return moments


def _asked(clients: subprocess.Popen[str], line: str) -> object:
    assert clients.stdin is not None
    assert clients.stdout is not None
    clients.stdin.write(f"{line}\n")
    clients.stdin.flush()
    answer = clients.stdout.readline()
    assert answer, "the simulated servers have ended"
    return json.loads(answer)


def _share(process: psutil.Process, seconds: float) -> float:
    """How much of a core the process takes over so long a time."""
    before, begun = _processor(process), time.monotonic()
    time.sleep(seconds)
    return (_processor(process) - before) / (time.monotonic() - begun)


def _processor(process: psutil.Process) -> float:
    """Seconds of processor that it took up to now."""
    times = process.cpu_times()
    return float(times.user + times.system)
