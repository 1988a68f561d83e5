"""What an hour of one lease costs the meter on Kubernetes, with few pods and with many: processor and API requests.

The meter is a process of its own, as a platform runs it, with the settings of production. API server, pods, database
(SQLite) and posts are real; nobody runs the pods, and this bench speaks for their node. The first rounds after the
start are left out: what is measured is whole post intervals of a meter that has caught up.

    python -m tests.bench.kube_meter 20 100      with so many pods
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.cluster.kube.connection import Connection, connect
from sublet_hub.cluster.kube.errors import LEASES, NotFound
from tests.bench import fake_pods, metered
from tests.bench.figures import Limit, Result
from tests.bench.metered import Figures

COUNTS, QUICK_COUNTS = (100, 1_000, 10_000), (20, 200)
INTERVALS, QUICK_INTERVALS = 4, 1
"""Post intervals to measure. One more goes before, so that the meter has caught up."""
CPU_AT_MOST = 1.1
"""Processor per lease-hour, with the most pods against the fewest: flat, with some room for noise. What a meter takes
by itself is shared by more leases and makes it fall; what grows faster than the leases makes it rise."""
REQUESTS_AT_MOST = 1.0
BEAT_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What the meter took with so many pods."""

    pods: int
    took: Figures
    rss_mib: float

    @property
    def lease_hours(self) -> float:
        return self.pods * self.took["seconds"] / 3600

    @property
    def cpu(self) -> float:
        """Seconds per lease-hour."""
        return self.took["cpu"] / self.lease_hours

    @property
    def requests(self) -> float:
        """Per lease-hour."""
        return self.took["kube_requests_total"] / self.lease_hours

    @property
    def round_seconds(self) -> float:
        return (self.took["plan_seconds_sum"] + self.took["apply_seconds_sum"]) / self.took["rounds_total"]

    @property
    def row(self) -> tuple[str, ...]:
        return (
            f"{self.pods:,}",
            f"{self.cpu:.3f}",
            f"{self.requests:.2f}",
            f"{100 * self.took['cpu'] / self.took['seconds']:.1f}%",
            f"{1000 * self.took['plan_seconds_sum'] / self.took['plan_seconds_count']:.0f}",
            f"{1000 * self.round_seconds:.0f}",
            f"{self.took['actions_total.post.done'] / self.took['rounds_total']:.0f}",
            f"{self.rss_mib:.0f}",
        )


def run(*, quick: bool, counts: Sequence[int] | None = None) -> Result:
    counts = counts or (QUICK_COUNTS if quick else COUNTS)
    intervals = QUICK_INTERVALS if quick else INTERVALS
    connection = connect()
    name = f"sublet-bench-{secrets.token_hex(4)}"
    with fake_pods.namespace(connection, name), fake_pods.fake_node(connection, name), _alive(name):
        try:
            measured = list(_measured(connection, name, counts, intervals))
        finally:
            _forget_leader(connection, name)
    return _result(measured, intervals)


def _measured(connection: Connection, name: str, counts: Sequence[int], intervals: int) -> Iterator[Measured]:
    started_at_ms = time.time_ns() // 1_000_000 - 60_000
    lease_ids: list[str] = []
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="sublet-bench-") as folder:
            settings, _ = metered.settings_of(Path(folder), name)
            more = fake_pods.lease_ids(count - len(lease_ids))
            deadline_ms = metered.deadline_ms(settings, started_at_ms)
            fake_pods.make(
                connection, name, more, node=name, finalizer=True, first=len(lease_ids), deadline_ms=deadline_ms
            )
            lease_ids += more
            with metered.running(Path(folder), name, lease_ids, started_at_ms) as meter:
                time.sleep(settings.post_interval_seconds)
                before = meter.figures()
                time.sleep(intervals * settings.post_interval_seconds)
                after = meter.figures()
                took = {what: after[what] - before.get(what, 0) for what in after}
                _check(took, count, intervals)
                yield Measured(count, took, meter.rss_mib())


def _check(took: Figures, count: int, intervals: int) -> None:
    """That it did its work meanwhile, and nothing else: a post comes a round or two late at the most."""
    done = {what: number for what, number in took.items() if what.startswith("actions_total.") and number}
    assert done.keys() == {"actions_total.post.done"}, done
    assert 0.8 * count * intervals <= done["actions_total.post.done"] <= 1.1 * count * intervals, done
    assert not took.get("rounds_total.failed"), took


@contextmanager
def _alive(node: str) -> Iterator[None]:
    """Keep a node ready that no kubelet speaks for."""
    connection, ended = connect(), threading.Event()

    def keep() -> None:
        while not ended.is_set():
            fake_pods.beat(connection, node)
            ended.wait(BEAT_SECONDS)

    thread = threading.Thread(target=keep, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        connection.close()


def _forget_leader(connection: Connection, release: str) -> None:
    try:
        connection.delete(LEASES, f"{release}-meter")
    except NotFound:
        return


def _result(measured: Sequence[Measured], intervals: int) -> Result:
    fewest, most = measured[0], measured[-1]
    against = f"with {most.pods:,} pods against {fewest.pods:,}"
    return Result(
        title="The meter on Kubernetes",
        limits=(
            Limit(f"ratio of processor seconds per lease-hour, {against}", most.cpu / fewest.cpu, CPU_AT_MOST),
            Limit(
                f"ratio of API requests per lease-hour, {against}",
                most.requests / fewest.requests,
                REQUESTS_AT_MOST,
            ),
        ),
        columns=(
            "lease pods",
            "processor s per lease-hour",
            "API requests per lease-hour",
            "of one core",
            "observe and plan in ms",
            "round in ms",
            "posts per round",
            "memory MiB",
        ),
        rows=tuple(each.row for each in measured),
        samples=f"{intervals} post intervals of 30 s each; an account for each lease",
    )


if __name__ == "__main__":
    sys.stdout.write(run(quick=True, counts=[int(each) for each in sys.argv[1:]]).line + "\n")
