"""The meter and idleness: who is looked at and when, what is planned, and that reports change nothing else."""

from __future__ import annotations

import itertools
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sublet_hub import storage
from sublet_hub.cluster.base import Cause, Observed, Stray
from sublet_hub.domain import accounts
from sublet_hub.domain.activity import MINUTE_MS, Activity, GpuUse
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.errors import PublicError
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState, with_plan
from sublet_hub.domain.policy import Policy
from sublet_hub.meter.loop import Meter
from sublet_hub.meter.plan import Action, Idle, Warn, plan
from sublet_hub.storage import activity, leasing, planned
from sublet_hub.storage.anchors import Anchors
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import Transaction
from tests.fixtures.books import TurnedClock, books, limit
from tests.fixtures.factories import FAR, HOUR, NOW, lease

NOTICE_MS = 300_000
UNUSED, USED = GpuUse("SIM-0", 0, 1, 100), GpuUse("SIM-0", 90, 50, 100)


def planned_for(one: Lease, *, idle: bool | None, seen: Observed | None = None, now_ms: int = NOW) -> list[Action]:
    runs = seen or Observed("l1", NOW, None, None, None, one.deadline.at_ms, alive_at_ms=NOW)
    looked = {} if idle is None else {"l1": idle}
    return plan([runs], {"l1": one}, now_ms, Policy(), frozenset(), looked)


def test_what_is_idle_is_planned_to_end_and_what_is_not_any_more_to_go_on() -> None:
    assert planned_for(lease(), idle=True) == [Idle("l1")]
    assert planned_for(lease(), idle=False) == []
    assert planned_for(lease(), idle=None) == []
    ending = with_plan(lease(), Deadline(NOW + NOTICE_MS - 1000, EndReason.IDLE))
    assert planned_for(ending, idle=True) == [Warn("l1", 300)]
    assert planned_for(ending, idle=False) == [Warn("l1", 300), Idle("l1")]


@pytest.mark.parametrize("state", [LeaseState.GRANTED, LeaseState.ENDING, LeaseState.ENDED])
def test_only_what_runs_is_ended_for_being_idle(state: LeaseState) -> None:
    assert Idle("l1") not in planned_for(lease(state=state), idle=True)
    gone = Observed("l1", NOW, NOW + 1000, "exited", 0, None, alive_at_ms=NOW)
    assert Idle("l1") not in planned_for(lease(), idle=True, seen=gone)
    assert Idle("l1") not in planned_for(lease(), idle=True, seen=replace(gone, ended_at_ms=None, broken="torn"))


def test_an_end_that_was_planned_is_not_why_it_ended_before() -> None:
    stopping = with_plan(lease(), Deadline(NOW + HOUR, EndReason.USER))
    unstarted = replace(stopping, state=LeaseState.GRANTED, started_at_ms=None)
    assert planned_for(unstarted, idle=None, seen=Observed("l1", None, None, None, None, FAR.at_ms)) == []
    causes: list[tuple[Cause, EndReason]] = [("exited", EndReason.EXITED), ("deadline", EndReason.USER)]
    for cause, reason in causes:
        gone = Observed("l1", NOW, NOW + 1000, cause, 0, None, alive_at_ms=NOW)
        assert getattr(planned_for(stopping, idle=None, seen=gone)[0], "reason", None) is reason


class Running:
    """A cluster in which one lease runs, and is armed as it is told."""

    def __init__(self, lease_id: str, clock: TurnedClock) -> None:
        self.lease_id = lease_id
        self.clock = clock
        self.armed_ms: int | None = None
        self.ended_ms: int | None = None

    def observe(self) -> Sequence[Observed]:
        cause: Cause | None = None if self.ended_ms is None else "deadline"
        now_ms = self.clock.now_ms()
        return [Observed(self.lease_id, NOW, self.ended_ms, cause, None, self.armed_ms, alive_at_ms=now_ms)]

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        self.armed_ms = deadline_ms

    def stop(self, lease_id: str) -> None: ...

    def forget(self, lease_id: str) -> None: ...

    def withdraw(self, lease_id: str) -> bool:
        return False

    def strays(self) -> Sequence[Stray]:
        return []

    def trouble(self) -> str | None:
        return None


class Platform:
    """Books, a cluster with alice's one lease, and a meter; minutes pass as they are told to."""

    def __init__(self, url: str, folder: Path, policy: IdlePolicy | None) -> None:
        self.store = storage.open_store(url)
        self.clock = TurnedClock()
        made = books(self.store, self.clock)
        limit(made, gpu_seconds=(3 * 3600, "day"))
        pools = {**made.catalog.pools, "gpu": replace(made.catalog.pools["gpu"], idle=policy)}
        self.books = Books(made.store, replace(made.catalog, pools=pools), made.policy, made.clock, made.audit_key)
        asked = LeaseRequest("alice", accounts.user("alice"), "gpu-1x", Tier.SURPLUS)
        self.lease_id = leasing.request(self.books, asked, actor="test").id
        self.cluster = Running(self.lease_id, self.clock)
        self.meter = Meter(self.books, self.cluster, Anchors(folder / "anchors"), 1)
        self.meter.round()

    def lease(self) -> Lease:
        with self.store.transaction(write=False) as tx:
            return leasing.stored(tx, self.lease_id)

    def minute(self, *told: Activity, rounds: int = 2) -> None:
        """A minute passes, in as many rounds; the server tells at its end, which no refusal stops."""
        for number in range(rounds):
            self.clock.turn(MINUTE_MS // rounds)
            if number == rounds - 1 and told:
                with suppress(PublicError):
                    activity.report(self.books, self.lease_id, told)
            self.meter.round()

    def record(self, gpu: GpuUse = UNUSED, busy: int = 0, ahead_ms: int = 0) -> Activity:
        return Activity(self.clock.at_ms + MINUTE_MS + ahead_ms, 60, (gpu,), 1, busy)


@pytest.fixture
def idle_platform(tmp_path: Path) -> Iterator[Platform]:
    made = Platform(storage.MEMORY_URL, tmp_path, IdlePolicy(10))
    yield made
    made.store.close()


def test_an_idle_lease_is_warned_armed_and_ended_as_idle(idle_platform: Platform) -> None:
    before = idle_platform.lease().deadline
    for _ in range(10):
        assert idle_platform.lease().deadline.reason is before.reason
        idle_platform.minute(idle_platform.record())
    idle_platform.minute(idle_platform.record())
    ending = idle_platform.lease()
    assert ending.deadline.reason is EndReason.IDLE
    assert NOTICE_MS - 2 * MINUTE_MS < ending.deadline.at_ms - idle_platform.clock.at_ms <= NOTICE_MS
    idle_platform.minute(idle_platform.record())
    assert idle_platform.cluster.armed_ms == ending.deadline.at_ms
    idle_platform.cluster.ended_ms = idle_platform.clock.turn(ending.deadline.at_ms - idle_platform.clock.at_ms)
    idle_platform.meter.round()
    ended = idle_platform.lease()
    assert (ended.state, ended.end_reason) == (LeaseState.ENDED, EndReason.IDLE)


def test_the_record_that_decides_is_seen_within_seconds(idle_platform: Platform) -> None:
    """Servers tell of a minute just after it: who looks at its very end sees each record a minute late."""
    clock = idle_platform.clock
    clock.turn(-clock.at_ms % MINUTE_MS + 15_000)
    for _ in range(10):
        minute_ms = clock.turn(45_000)
        idle_platform.meter.round()
        clock.turn(3_000)
        activity.report(idle_platform.books, idle_platform.lease_id, [Activity(minute_ms, 60, (UNUSED,), 1, 0)])
        assert idle_platform.lease().deadline.reason is not EndReason.IDLE
        clock.turn(12_000)
        idle_platform.meter.round()
    assert idle_platform.lease().deadline.reason is EndReason.IDLE


def test_work_before_the_end_is_heard_within_seconds(idle_platform: Platform) -> None:
    before = idle_platform.lease().deadline
    while idle_platform.lease().deadline.reason is not EndReason.IDLE:
        idle_platform.minute(idle_platform.record())
    idle_platform.clock.turn(MINUTE_MS)
    activity.report(idle_platform.books, idle_platform.lease_id, [Activity(idle_platform.clock.at_ms, 60, (), 1, 1)])
    for _ in range(2):  # one takes it back, the next arms
        idle_platform.clock.turn(5_000)
        idle_platform.meter.round()
    after = idle_platform.lease()
    assert after.deadline == before
    assert idle_platform.cluster.armed_ms == before.at_ms


def test_all_leases_are_looked_at_once_a_minute_in_one_query(
    idle_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    began = idle_platform.store.transaction

    def watched(*, write: bool) -> AbstractContextManager[Transaction]:
        return Watched(began(write=write))

    class Watched(AbstractContextManager[Transaction]):
        def __init__(self, inner: AbstractContextManager[Transaction]) -> None:
            self.inner = inner

        def __enter__(self) -> Transaction:
            tx = self.inner.__enter__()
            quiet = tx.quiet_leases

            def counted(pool: str, policy: IdlePolicy, since_ms: int) -> list[str]:
                looks.append(since_ms)
                return quiet(pool, policy, since_ms)

            monkeypatch.setattr(tx, "quiet_leases", counted)
            return tx

        def __exit__(self, *raised: object) -> bool | None:
            return self.inner.__exit__(*raised)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(idle_platform.store, "transaction", watched)
    for _ in range(5):
        idle_platform.minute(idle_platform.record(busy=1), rounds=20)
    assert len(looks) == 5


def told(platform: Platform, kind: str) -> list[Activity]:
    """What a server tells in one minute: honestly, or not."""
    record = platform.record()
    return {
        "nothing": [],
        "idle": [record],
        "busy": [platform.record(USED, 3)],
        "the same again": [record, record, replace(record, gpus=(USED,))],
        "another time": [platform.record(ahead_ms=-HOUR * 24)],
        "the future": [platform.record(ahead_ms=HOUR)],
        "the most there is": [
            Activity(NOW + minute * MINUTE_MS, 120, (GpuUse("x" * 200, 100, 2**53, 1),) * 64, 10**5, 10**5)
            for minute in range((platform.clock.at_ms - NOW) // MINUTE_MS + 1)
        ],
    }[kind]


KINDS = ("idle", "busy", "nothing", "the same again", "another time", "the future", "the most there is")


def books_after(folder: Path, monkeypatch: pytest.MonkeyPatch, kinds: Sequence[str]) -> dict[str, list[object]]:
    """Every row of every table, after two hours of a lease to its end."""
    numbers = itertools.count(1)
    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))
        url = f"sqlite:///{folder}/sublet.sqlite"
        storage.migrate(url)
        platform = Platform(url, folder, None)
        for minute in range(110):
            platform.minute(*told(platform, kinds[minute % len(kinds)]))
            if minute == 60:
                at_ms = platform.clock.at_ms + 50 * MINUTE_MS
                planned.plan_stop(platform.books, platform.lease_id, at_ms, actor="user:alice", why="")
            if minute == 90:
                limit(platform.books, accounts.user("alice"), gpu_seconds=(2 * 3600, "day"))
        platform.cluster.ended_ms = platform.lease().deadline.at_ms
        platform.meter.round()
        assert platform.lease().state is LeaseState.ENDED
        platform.store.close()
    connection = sqlite3.connect(folder / "sublet.sqlite")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows: dict[str, list[object]] = {
        table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
        for table in tables
        if table != "alembic_version"
    }
    connection.close()
    return rows


def test_without_a_policy_reports_change_no_second_no_limit_and_no_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = books_after(tmp_path / "silent", monkeypatch, ["nothing"])
    telling = books_after(tmp_path / "telling", monkeypatch, KINDS)
    assert silent.pop("activity") == []
    assert len(telling.pop("activity")) > 100
    assert telling == silent
    assert len(silent["ledger_entries"]) > 100
    assert len(silent["audit_records"]) > 4
