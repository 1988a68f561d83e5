"""Any interleaving of allowances, posts, renewals, releases, expiry, late and repeated posts keeps the ledger whole,
on every store; and beside leases no quota is overshot but by what calls used beyond what was held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sublet_hub import storage
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.allowances import LATE_MS, Allowance, AllowanceRequest, CallCounts, Post, Renewal
from sublet_hub.domain.amounts import ZERO, Amount, Micros
from sublet_hub.domain.errors import Conflict, NotFound, PublicError
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason
from sublet_hub.domain.ledger import EntryKind
from sublet_hub.storage import allowing, leasing, metering, quotas
from sublet_hub.storage.books import Books
from sublet_hub.storage.sql.engine import parse_url
from sublet_hub.storage.store import Store
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import TurnedClock, books, limit

LAB = accounts.group("lab")
ACCOUNTS = [accounts.user("alice"), LAB]
TABLES = ("allowances", "model_use", "use_totals", "ledger_entries", "chain_heads", "leases", "notices", "quotas",
          "audit_records", "heartbeats")  # fmt: skip
MODELS = ["tiny-llama", "llama-big", "left-the-catalogue"]

counts = st.builds(
    CallCounts, st.sampled_from(MODELS), st.integers(0, 3), st.integers(0, 3_000), st.integers(0, 3_000)
)
amounts = st.builds(lambda tokens, money: Amount(money=Micros(money), tokens=tokens), st.integers(1, 9_000),
                    st.integers(0, 9_000))  # fmt: skip
renewals = st.builds(Renewal, amounts, st.integers(1, 120_000))


@dataclass
class Told:
    """What a gateway remembers of an allowance."""

    account: Subject
    posts: list[Post] = field(default_factory=list)


class AllowanceMachine(RuleBasedStateMachine):
    store: Store

    @initialize()
    def open(self) -> None:
        self.clock = TurnedClock()
        self.books: Books = books(self.store, self.clock)
        self.told: dict[str, Told] = {}
        self.leases: list[str] = []
        self.overran: dict[Subject, Amount] = dict.fromkeys(ACCOUNTS, ZERO)
        limit(self.books, model_tokens=(20_000, "P1D"), money_microunits=(600_000, "P1D"), leases=3)

    @rule(account=st.sampled_from(ACCOUNTS), asked=amounts, least=amounts, lasts_ms=st.integers(1, 120_000))
    def allow(self, account: Subject, asked: Amount, least: Amount, lasts_ms: int) -> None:
        least = Amount(money=min(least.money, asked.money), tokens=min(least.tokens, asked.tokens))
        try:
            held = allowing.allow(self.books, AllowanceRequest("alice", account, asked, least, lasts_ms)).allowance
        except PublicError:
            return
        assert least.tokens <= held.held.tokens <= asked.tokens
        assert least.money <= held.held.money <= asked.money
        self.told[held.id] = Told(account)

    @precondition(lambda self: self.told)
    @rule(pick=st.integers(0, 99), uses=st.lists(counts, max_size=3), renewal=st.none() | renewals,
          release=st.booleans(), times=st.integers(1, 3))  # fmt: skip
    def post(self, pick: int, uses: list[CallCounts], renewal: Renewal | None, release: bool, times: int) -> None:
        allowance_id = list(self.told)[pick % len(self.told)]
        told = self.told[allowance_id]
        posted = Post(len(told.posts) + 1, tuple(uses), None if release else renewal, release)
        before = self._stored(allowance_id)
        too_late = before.closed_at_ms is not None and self.clock.now_ms() > before.closed_at_ms + LATE_MS
        used = sum((use.amount(self.books.models) for use in uses), ZERO)
        for time in range(times):
            try:
                done = allowing.post(self.books, allowance_id, posted)
            except Conflict:
                assert too_late
                return
            assert bool(done.booked) == (time == 0 and bool(uses))
            assert done.allowance.posted == before.posted + used
            assert done.allowance.is_open == (before.is_open and not release)
        told.posts.append(posted)
        self.overran[told.account] += (used - before.held).clamped()

    @precondition(lambda self: any(told.posts for told in self.told.values()))
    @rule(pick=st.integers(0, 99), back=st.integers(0, 9))
    def a_post_comes_again(self, pick: int, back: int) -> None:
        posted = [(each, told) for each, told in self.told.items() if told.posts]
        allowance_id, told = posted[pick % len(posted)]
        before = self._stored(allowance_id)
        again = told.posts[-1 - back % len(told.posts)]
        assert allowing.post(self.books, allowance_id, again).allowance == before
        for wrong in (replace(told.posts[-1], uses=(*told.posts[-1].uses, CallCounts("tiny-llama", 1, 1, 1))),
                      Post(len(told.posts) + 2, ())):  # fmt: skip
            with pytest.raises(Conflict):
                allowing.post(self.books, allowance_id, wrong)

    @rule(by_ms=st.sampled_from([1, 30_000, 100_000, 3_600_000, LATE_MS + 1]))
    def time_passes(self, by_ms: int) -> None:
        """Servers end at their deadlines meanwhile."""
        for lease_id in list(self.leases):
            if self._lease_deadline(lease_id) <= self.clock.now_ms() + by_ms:
                self._end(lease_id, max(self._lease_deadline(lease_id), self.clock.now_ms()))
        self.clock.turn(by_ms)

    @rule()
    def the_meter_keeps_house(self) -> None:
        metering.beat(self.books)
        for lease_id in self.leases:
            metering.post(self.books, lease_id, self.clock.now_ms())
        allowing.void_expired(self.books)
        for account in ACCOUNTS:
            with self.books.store.transaction(write=False) as tx:
                assert all(each.expires_at_ms > self.clock.now_ms() for each in tx.open_allowances(account))

    @rule(account=st.sampled_from(ACCOUNTS), name=st.sampled_from(["", "two"]))
    def a_lease_starts(self, account: Subject, name: str) -> None:
        metering.beat(self.books)
        wanted = LeaseRequest("alice", account, "gpu-1x", Tier.GUARANTEED, "worker", name, groups=("lab",))
        try:
            lease = leasing.request(self.books, wanted, actor="test")
        except PublicError:
            return
        metering.start(self.books, lease.id, self.clock.now_ms())
        self.leases.append(lease.id)

    @precondition(lambda self: self.leases)
    @rule(pick=st.integers(0, 9))
    def a_lease_ends(self, pick: int) -> None:
        self._end(self.leases[pick % len(self.leases)], self.clock.now_ms())

    def _end(self, lease_id: str, at_ms: int) -> None:
        self.leases.remove(lease_id)
        with self.books.store.transaction(write=False) as tx:
            started = leasing.stored(tx, lease_id).started_at_ms
        assert started is not None
        metering.end(self.books, lease_id, started, max(at_ms, started), EndReason.QUOTA)

    def _lease_deadline(self, lease_id: str) -> int:
        with self.books.store.transaction(write=False) as tx:
            return leasing.stored(tx, lease_id).deadline.at_ms

    def _stored(self, allowance_id: str) -> Allowance:
        with self.books.store.transaction(write=False) as tx:
            found = tx.allowance(allowance_id)
        if found is None:
            raise NotFound(allowance_id)
        return found

    @invariant()
    def holds_are_posts_and_voids_and_what_is_held(self) -> None:
        for account in ACCOUNTS:
            sums: dict[str, dict[EntryKind, Amount]] = {}
            with self.books.store.transaction(write=False) as tx:
                for entry in tx.entries(account, after=0, limit=1000):
                    if entry.allowance_id is not None:
                        of = sums.setdefault(entry.allowance_id, dict.fromkeys(EntryKind, ZERO))
                        of[entry.kind] += entry.amount
                for allowance_id, of in sums.items():
                    kept = tx.allowance(allowance_id)
                    assert kept is not None
                    assert of[EntryKind.HOLD] == of[EntryKind.POST] + of[EntryKind.VOID] + kept.held
                    assert of[EntryKind.POST] == kept.posted
                    assert kept.held == kept.held.clamped()

    @invariant()
    def the_books_balance(self) -> None:
        for account in ACCOUNTS:
            assert verify_account(self.books.store, account) == []

    @invariant()
    def no_quota_is_overshot_but_by_what_was_never_held(self) -> None:
        for account in ACCOUNTS:
            over = self.overran[account]
            for state in quotas.read(self.books, account).states:
                if state.limit.what == "model_tokens":
                    assert state.used + state.held <= state.limit.raw + over.tokens
                elif state.limit.what == "money_microunits":
                    assert state.used + state.held <= state.limit.raw + over.money + 1000 * bool(over.money) + 20


@contextmanager
def emptied(url: str) -> Iterator[Store]:
    """The store with nothing in it."""
    if url != storage.MEMORY_URL:
        engine = sa.create_engine(parse_url(url))
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET session_replication_role = replica")  # past the append-only triggers
                connection.exec_driver_sql(f"TRUNCATE {', '.join(TABLES)}")
            else:
                triggers = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
                kept = triggers.all()
                for name, _ in kept:
                    connection.exec_driver_sql(f"DROP TRIGGER {name}")
                for table in TABLES:
                    connection.exec_driver_sql(f"DELETE FROM {table}")
                for _, sql in kept:
                    connection.exec_driver_sql(sql)
        engine.dispose()
    store = storage.open_store(url)
    try:
        yield store
    finally:
        store.close()


EXAMPLES = {"memory": 60, "sqlite": 12, "postgresql": 6}


def test_any_sequence_keeps_the_books(store_url: str, tmp_path: Path) -> None:
    assert tmp_path.is_dir()

    class OnThisStore(AllowanceMachine):
        def __init__(self) -> None:
            super().__init__()
            self._opened = emptied(store_url)
            self.store = self._opened.__enter__()

        def teardown(self) -> None:
            self._opened.__exit__(None, None, None)

    kind = store_url.partition(":")[0].partition("+")[0]
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=EXAMPLES[kind],
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=set(Phase) - {Phase.explain},
        ),
    )
