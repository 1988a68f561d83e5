"""What a decision on a lease costs with a long history, against a short one: promise 5, decided in O(1).

A sample is one `leasing.request` of a random account: locks, quota, balances, open leases, the hold, the lease, the
deadlines, the audit record, and the commit, which waits for the disk. The lease is voided at once, not timed, so
the next decision finds all GPUs free. Grant and void leave two entries each, by which the short history would
grow; so it is put back to its first state before every turn, opened anew and warmed up. The long one is opened once,
as by an api that runs for days; its accounts are so many that hardly one is met twice.
"""

from __future__ import annotations

import gc
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy.engine import URL

from sublet_hub import storage
from sublet_hub.clock import SystemClock
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.policy import Policy
from sublet_hub.storage import leasing, metering
from sublet_hub.storage.books import Books
from sublet_hub.storage.sql.migrate import upgrade
from tests.bench.figures import Limit, Result, median, ms, percentile
from tests.bench.fill import account_name, fill
from tests.fixtures import postgres
from tests.fixtures.books import books
from tests.fixtures.stores import text

AT_MOST = 1.5
PERCENT = 99
FLAVOR = "gpu-1x"
CHUNK_BYTES = 2**22
ALIVE_FOR_EVER = Policy(meter_stale_ms=10**12)
"""No meter runs here; its heartbeat is written once."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much history there is, and how many samples are taken of each."""

    small: tuple[int, int] = (100, 1_000)
    big: tuple[int, int] = (100_000, 10_000_000)
    turns: int = 25
    per_turn: int = 200
    warm_up: int = 50


QUICK = Scale(big=(2_000, 200_000), turns=6, per_turn=100, warm_up=20)


@dataclass
class Side:
    """One of the two databases, and what was measured on it."""

    name: str
    url: str
    accounts: int
    restore: Callable[[], None] | None = None
    """Puts the database, which must be closed, back to its first state before each turn."""
    file: Path | None = None
    """Read through before each turn, for it to be in the system's memory: some virtual machines let go of it."""
    of: Books | None = None
    seconds: list[float] = field(default_factory=list)


def run_sqlite(*, quick: bool) -> Result:
    scale = QUICK if quick else Scale()
    with tempfile.TemporaryDirectory(prefix="sublet-bench-") as name:
        folder = Path(name)
        small, big = folder / "small.sqlite", folder / "big.sqlite"
        filled = _filled({f"sqlite:///{small}": scale.small, f"sqlite:///{big}": scale.big})
        first_state = folder / "first.sqlite"
        shutil.copyfile(small, first_state)

        def restore() -> None:
            for path in folder.glob("small.sqlite-*"):
                path.unlink()
            shutil.copyfile(first_state, small)

        return _measure(
            "SQLite",
            Side(_describe(*scale.small), f"sqlite:///{small}", scale.small[0], restore=restore),
            Side(_describe(*scale.big), f"sqlite:///{big}", scale.big[0], file=big),
            scale,
            filled,
        )


def run_postgresql(*, quick: bool) -> Result:
    scale = QUICK if quick else Scale()
    missing = postgres.why_missing()
    assert missing is None, missing
    with postgres.server(durable=True) as server, _databases(server, "bench_first", "bench_big") as (first, big):
        filled = _filled({text(first): scale.small, text(big): scale.big})
        small = first.set(database="bench_small")

        def restore() -> None:
            postgres.drop_database(small)
            postgres.create_database(server, "bench_small", template="bench_first")

        try:
            return _measure(
                "PostgreSQL",
                Side(_describe(*scale.small), text(small), scale.small[0], restore=restore),
                Side(_describe(*scale.big), text(big), scale.big[0]),
                scale,
                filled,
            )
        finally:
            postgres.drop_database(small)


@contextmanager
def _databases(server: URL, *names: str) -> Iterator[list[URL]]:
    made: list[URL] = []
    try:
        for name in names:
            postgres.drop_database(server.set(database=name))
            made.append(postgres.create_database(server, name))
        yield made
    finally:
        for url in made:
            postgres.drop_database(url)


def _filled(wanted: dict[str, tuple[int, int]]) -> float:
    """Fill the databases; gives the seconds it took."""
    begun = time.monotonic()
    for url, (account_count, entries) in wanted.items():
        upgrade(url)
        fill(url, account_count, entries)
    return time.monotonic() - begun


def _describe(account_count: int, entries: int) -> str:
    return f"{account_count:,} accounts, {entries:,} entries"


def _measure(database: str, short: Side, long: Side, scale: Scale, filled_seconds: float) -> Result:
    sides = (short, long)
    chance = random.Random(3)
    try:
        for turn in range(scale.turns):
            for side in sides[:: 1 if turn % 2 else -1]:
                side.seconds += _turn(side, scale, chance)
    finally:
        for side in sides:
            _close(side)
    ratio = percentile(long.seconds, PERCENT) / percentile(short.seconds, PERCENT)
    rows = [
        (side.name, ms(median(side.seconds)), ms(percentile(side.seconds, 90)), ms(percentile(side.seconds, PERCENT)))
        for side in sides
    ]
    return Result(
        title=f"Admission with a long history, on {database}",
        limits=(Limit("ratio of p99", ratio, AT_MOST),),
        columns=("history", "median in ms", "p90 in ms", "p99 in ms"),
        rows=tuple(rows),
        samples=f"{scale.turns * scale.per_turn:,} decisions each, in turns of {scale.per_turn}",
        notes=(f"Filling the databases took {filled_seconds:.0f} s.",),
    )


def _turn(side: Side, scale: Scale, chance: random.Random) -> list[float]:
    """One turn on one side; gives the seconds of each decision after the warm-up."""
    if side.restore is not None:
        _close(side)
        side.restore()
    if side.file is not None:
        _read_through(side.file)
    of = side.of or _open(side)
    gc.collect()
    users = [account_name(chance.randrange(side.accounts)) for _ in range(scale.warm_up + scale.per_turn)]
    return [_decide(of, user) for user in users][scale.warm_up :]


def _read_through(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(CHUNK_BYTES):
            pass


def _open(side: Side) -> Books:
    side.of = replace(books(storage.open_store(side.url), devices=4), clock=SystemClock(), policy=ALIVE_FOR_EVER)
    metering.beat(side.of)
    return side.of


def _close(side: Side) -> None:
    if side.of is not None:
        side.of.store.close()
        side.of = None


def _decide(of: Books, user: str) -> float:
    wanted = LeaseRequest(user, accounts.user(user), FLAVOR, Tier.GUARANTEED, server_name="")
    begun = time.perf_counter()
    lease = leasing.request(of, wanted, actor="bench")
    took = time.perf_counter() - begun
    metering.void(of, lease.id)
    return took
