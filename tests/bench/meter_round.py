"""How long a round of the meter takes with many open leases, and how much of that each lease adds.

The meter, the store (SQLite) and the lease folders are real; the servers are not: every folder's record names this
process as the supervising parent, which is alive. A quiet round observes and plans only; in a busy one all leases'
use is due to be posted, which with the default settings happens to each lease in one round of thirty.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sublet_hub import storage
from sublet_hub.cluster import processes, records
from sublet_hub.cluster.local import LocalCluster
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import Lease
from sublet_hub.meter.loop import Meter
from sublet_hub.storage import leasing
from sublet_hub.storage.anchors import Anchors
from sublet_hub.storage.books import Books
from tests.bench.figures import Limit, Result, median, ms
from tests.fixtures.books import TurnedClock, books, limit

COUNTS = (12, 100, 1_000)
QUICK_COUNTS = (12, 50)
ROUNDS = 15
BUSY_ROUNDS = 3
AT_MOST = 1.5
"""What a lease of the most adds to a round, against one of the fewest: flat, with some room for noise."""


@dataclass
class Side:
    """A meter with so many open leases, and the seconds of its rounds."""

    folder: Path
    of: Books
    clock: TurnedClock
    leases: list[Lease]
    meter: Meter
    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    @property
    def quiet_per_lease(self) -> float:
        return median(self.quiet) / len(self.leases)

    @property
    def per_post(self) -> float:
        return (median(self.busy) - median(self.quiet)) / len(self.leases)


def run(*, quick: bool) -> Result:
    with ExitStack() as stack:
        sides = [stack.enter_context(_side(count)) for count in (QUICK_COUNTS if quick else COUNTS)]
        for _ in range(ROUNDS):
            for side in sides:
                side.quiet.append(_round(side.meter))
        for _ in range(BUSY_ROUNDS):
            for side in sides:
                side.busy.append(_busy_round(side))
        return _result(sides)


def _result(sides: list[Side]) -> Result:
    fewest, most = sides[0], sides[-1]
    against = f"with {len(most.leases):,} open leases against {len(fewest.leases)}"
    rows = [
        (
            f"{len(side.leases):,}",
            ms(median(side.quiet)),
            f"{side.quiet_per_lease * 1e6:.0f}",
            ms(median(side.busy)),
            f"{side.per_post * 1e6:.0f}",
        )
        for side in sides
    ]
    return Result(
        title="A round of the meter",
        limits=(
            Limit(
                f"ratio of a lease's part in a quiet round, {against}",
                most.quiet_per_lease / fewest.quiet_per_lease,
                AT_MOST,
            ),
            Limit(f"ratio of one post, {against}", most.per_post / fewest.per_post, AT_MOST),
        ),
        columns=("open leases", "quiet round in ms", "of it per lease in µs", "busy round in ms", "per post in µs"),
        rows=tuple(rows),
        samples=f"median of {ROUNDS} quiet rounds and {BUSY_ROUNDS} busy ones, in turns; an account for each lease",
    )


@contextmanager
def _side(count: int) -> Iterator[Side]:
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/sublet.sqlite"
        storage.migrate(url)
        store = storage.open_store(url)
        try:
            clock = TurnedClock(records.wall_ms())
            of = books(store, clock, devices=count)
            limit(of, gpu_seconds=(10**9, "month"), money_microunits=(10**12, "month"), gpus=8, leases=8)
            leases = [_open(of, folder, number) for number in range(count)]
            meter = Meter(of, LocalCluster(folder), Anchors(folder / "anchors"), tick_seconds=1)
            meter.round()  # starts them in the books
            meter.round()  # arms them
            yield Side(folder, of, clock, leases, meter)
        finally:
            store.close()


def _open(of: Books, folder: Path, number: int) -> Lease:
    """A lease that was granted, and whose server runs as far as anybody can see."""
    user = f"user{number}"
    wanted = LeaseRequest(user, accounts.user(user), "gpu-1x", Tier.GUARANTEED, server_name="")
    lease = leasing.request(of, wanted, actor="bench")
    lease_folder = LocalCluster(folder).prepare(lease.id, lease.deadline.at_ms)
    here, ticks = os.getpid(), processes.start_ticks(os.getpid())
    assert ticks is not None
    started = records.Started(
        at_ms=of.clock.now_ms(),
        boottime_ms=records.boottime_ms(),
        boot_id=processes.boot_id(),
        child_pid=here,
        child_ticks=ticks,
        parent_pid=here,
        parent_ticks=ticks,
        sandbox="none",
    )
    (lease_folder / records.RECORD).write_text(json.dumps({"event": "started", **started._asdict()}) + "\n")
    _live_until(lease_folder, of.clock.now_ms())
    return lease


def _live_until(lease_folder: Path, at_ms: int) -> None:
    (lease_folder / records.ALIVE).write_bytes(f"{at_ms:20d}".encode())


def _round(meter: Meter) -> float:
    begun = time.perf_counter()
    meter.round()
    return time.perf_counter() - begun


def _busy_round(side: Side) -> float:
    """Let all servers have lived on until their posts are due; the round must post for every one."""
    now_ms = side.clock.turn(side.of.policy.post_interval_ms)
    for lease in side.leases:
        _live_until(side.folder / "leases" / lease.id, now_ms)
    took = _round(side.meter)
    with side.of.store.transaction(write=False) as tx:
        assert all(lease.posted_until_ms == now_ms for lease in tx.open_leases())
    return took
