"""How long after its deadline a lease's last process is gone, with nothing of the platform running.

A hundred leases are started by a process that is then killed. Half of the servers end at SIGTERM; the others ignore
it and are killed after the grace of 0.7 s, which is most of their figure. First the deadlines lie apart, then all of
them fall on one moment. The end is the one in the supervising parent's record: when the kernel had given back the
last process. Meanwhile it is measured what a supervising parent costs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from sublet_hub.cluster import records
from sublet_hub.cluster.base import Observed
from sublet_hub.cluster.local import LocalCluster
from tests.bench.figures import Limit, Result, median, percentile
from tests.fixtures.platform import ROOT, wait_until

AT_MOST_MS = 1000.0
PERCENT = 99
UID = 200_777
PATIENCE_SECONDS = 120
STARTS_PER_SECOND = 4
"""A careful guess at how many parents are started a second on a slow machine."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one supervising parent takes while its server runs: processor time on average, memory at the median."""

    cpu_seconds_per_minute: float
    resident_mib: float
    own_mib: float | None
    """Proportional set size: pages that parents share are split among them. Only root may know it."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a set of leases ended: milliseconds after their deadlines, and the parents' cost if it was measured."""

    polite_ms: list[int]
    stubborn_ms: list[int]
    cost: Cost | None


def run(*, quick: bool) -> Result:
    count, watch_seconds = (12, 3) if quick else (100, 30)
    apart = _course(count, apart_ms=50, watch_seconds=watch_seconds)
    at_once = _course(count, apart_ms=0, watch_seconds=0)
    cost = apart.cost
    assert cost is not None
    own = (
        ""
        if cost.own_mib is None
        else f", of which {cost.own_mib:.1f} MiB are its own or its share of what is shared"
    )
    rows = [
        (f"{kind}, {when}", *(f"{value:.0f}" for value in (median(late), percentile(late, PERCENT), max(late))))
        for when, course in (("deadlines 50 ms apart", apart), ("all at one moment", at_once))
        for kind, late in (("ends at SIGTERM", course.polite_ms), ("ignores SIGTERM", course.stubborn_ms))
    ]
    limits = tuple(
        Limit(f"p99 in ms, {when}", percentile([*course.polite_ms, *course.stubborn_ms], PERCENT), AT_MOST_MS)
        for when, course in (("deadlines 50 ms apart", apart), ("all at one moment", at_once))
    )
    return Result(
        title="End of a lease after its deadline, with the platform dead",
        limits=limits,
        columns=("server", "median in ms", "p99 in ms", "latest in ms"),
        rows=tuple(rows),
        samples=f"{count} leases each time, half of each kind",
        notes=(
            (
                f"{count} supervising parents were watched for {watch_seconds} s: each took "
                f"{cost.cpu_seconds_per_minute:.3f} s of processor a minute and {cost.resident_mib:.1f} MiB{own}."
            ),
        ),
    )


def _course(count: int, *, apart_ms: int, watch_seconds: int) -> Course:
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as name:
        data = Path(name)
        data.chmod(0o711)
        home = data / "homes" / "ann"
        home.mkdir(parents=True)
        as_root = os.geteuid() == 0
        if as_root:
            os.chown(home, UID, UID)
        first_ms = records.wall_ms() + (count * 1000 // STARTS_PER_SECOND) + (watch_seconds + 5) * 1000
        numbers = map(str, (count, first_ms, apart_ms))
        command = [sys.executable, "-m", "tests.bench.abandoned", name, str(UID) if as_root else "-", *numbers]
        killed = subprocess.run(command, cwd=ROOT, timeout=PATIENCE_SECONDS, check=False)
        assert killed.returncode == -9, f"the platform's part ended with {killed.returncode}"
        assert records.wall_ms() + watch_seconds * 1000 < first_ms, "the machine is too slow to start so many in time"
        cluster = LocalCluster(data)
        cost = _cost(cluster, data, watch_seconds) if watch_seconds else None
        time.sleep(
            max(0, (first_ms + count * apart_ms - records.wall_ms()) / 1000 + 1)
        )  # nothing may watch meanwhile
        wait_until(lambda: _all_ended(cluster), PATIENCE_SECONDS, "all leases have ended")
        observed = cluster.observe()
        assert [lease.cause for lease in observed] == ["deadline"] * count
        late = [_late_ms(lease) for lease in observed]
        return Course(polite_ms=late[1::2], stubborn_ms=late[::2], cost=cost)


def _all_ended(cluster: LocalCluster) -> bool:
    return all(lease.ended_at_ms is not None for lease in cluster.observe())


def _late_ms(lease: Observed) -> int:
    assert lease.ended_at_ms is not None
    assert lease.armed_deadline_ms is not None
    return lease.ended_at_ms - lease.armed_deadline_ms


def _cost(cluster: LocalCluster, data: Path, seconds: int) -> Cost:
    """Watch the parents for so long."""
    started = [records.read_record(data / "leases" / lease.lease_id).started for lease in cluster.observe()]
    parents = [psutil.Process(each.parent_pid) for each in started if each is not None]

    def spent() -> list[float]:
        return [times.user + times.system for times in (parent.cpu_times() for parent in parents)]

    before, begun = spent(), time.monotonic()
    time.sleep(seconds)
    after, took = spent(), time.monotonic() - begun
    return Cost(
        cpu_seconds_per_minute=sum(b - a for a, b in zip(before, after, strict=True)) * 60 / took / len(parents),
        resident_mib=median([parent.memory_info().rss / 2**20 for parent in parents]),
        own_mib=median([parent.memory_full_info().pss / 2**20 for parent in parents]) if os.geteuid() == 0 else None,
    )
