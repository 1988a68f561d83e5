"""Any interleaving of grants, starts, posts, quota changes, plans, ends and retries keeps the ledger's invariants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sublet_hub import storage
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.activity import Activity
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.errors import Conflict, PublicError
from sublet_hub.domain.flavors import IdlePolicy, Tier
from sublet_hub.domain.lease import EndReason, Lease
from sublet_hub.domain.policy import Policy
from sublet_hub.domain.quota import WINDOWED
from sublet_hub.storage import activity, leasing, metering, planned, quotas
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.store import LeaseFilter
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import TurnedClock, books, limit

USERS = ["alice", "bob"]
LAB = accounts.group("lab")
ACCOUNTS = [accounts.user("alice"), accounts.user("bob"), LAB]
IDLE = IdlePolicy(1, tiers=frozenset(Tier))
OVERRUN_MS = 1_300
"""How long after its deadline a server may still be there: it is killed, and the quota's deadline lies before."""


@dataclass
class Running:
    """A server of the simulated machine: what a supervising parent would know."""

    started_ms: int
    ended_ms: int | None = None
    posted: list[int] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    """Drives the operations in any order, against a machine that ends servers at their deadlines."""

    @initialize()
    def open(self) -> None:
        self.clock = TurnedClock()
        made = books(storage.open_store("memory://"), self.clock, Policy(minimum_lease_ms=1000))
        pools = {name: replace(pool, idle=IDLE) for name, pool in made.catalog.pools.items()}
        self.books = replace(made, catalog=replace(made.catalog, pools=pools))
        self.running: dict[str, Running] = {}
        self.granted: list[str] = []
        self.lowered: set[Subject] = set()
        limit(self.books, gpu_seconds=(3600, "day"), money_microunits=(3_000_000, "P1D"), leases=3)

    @rule(
        user=st.sampled_from(USERS),
        on_group=st.booleans(),
        flavor=st.sampled_from(["gpu-1x", "gpu-2x", "mig-1x", "cpu"]),
        name=st.sampled_from(["", "two", "three"]),
        start=st.booleans(),
    )
    def ask(self, user: str, on_group: bool, flavor: str, name: str, start: bool) -> None:
        account = LAB if on_group else accounts.user(user)
        wanted = LeaseRequest(user, account, flavor, Tier.GUARANTEED, server_name=name, groups=("lab",))
        metering.beat(self.books)
        try:
            self.granted.append(leasing.request(self.books, wanted, actor="test").id)
        except PublicError:
            return
        if start:
            self.start(-1, 500)

    @precondition(lambda self: self.granted)
    @rule(pick=st.integers(0, 99), late_ms=st.integers(0, 5000))
    def start(self, pick: int, late_ms: int) -> None:
        lease_id = self.granted[pick % len(self.granted)]
        if self._lease(lease_id).ordered is not None:
            return  # it was replaced meanwhile: the thing that would run it refuses, and it is voided
        self.granted.remove(lease_id)
        self.running[lease_id] = Running(self.clock.now_ms())
        self._turn(late_ms)
        metering.start(self.books, lease_id, self.running[lease_id].started_ms)

    @precondition(lambda self: self.granted)
    @rule(pick=st.integers(0, 99))
    def void(self, pick: int) -> None:
        lease_id = self.granted.pop(pick % len(self.granted))
        metering.void(self.books, lease_id)
        metering.void(self.books, lease_id)

    @rule(by_ms=st.integers(1, 2_000_000))
    def time_passes(self, by_ms: int) -> None:
        self._turn(by_ms)

    @rule(retries=st.integers(1, 3))
    def post_all(self, retries: int) -> None:
        for lease_id, server in self.running.items():
            until = server.ended_ms if server.ended_ms is not None else self.clock.now_ms()
            for _ in range(retries):
                metering.post(self.books, lease_id, until)

    @rule()
    def close_what_ended(self) -> None:
        for lease_id, server in list(self.running.items()):
            if server.ended_ms is not None:
                for _ in range(2):
                    metering.end(self.books, lease_id, server.started_ms, server.ended_ms, EndReason.QUOTA)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 99), unseen_ms=st.integers(0, 100_000))
    def a_server_exits(self, pick: int, unseen_ms: int) -> None:
        server = list(self.running.values())[pick % len(self.running)]
        if server.ended_ms is None:
            server.ended_ms = max(server.started_ms, self.clock.now_ms())
            self._turn(unseen_ms)

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 99), with_notice=st.booleans())
    def somebody_stops_it(self, pick: int, with_notice: bool) -> None:
        lease_id = list(self.running)[pick % len(self.running)]
        at = None if with_notice else self.clock.now_ms()
        try:
            leasing.order_end(self.books, lease_id, at_ms=at, reason=EndReason.ADMIN, actor="admin", why="")
        except Conflict:
            assert not self._lease(lease_id).is_open

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 99), in_ms=st.integers(1, 4_000_000))
    def its_user_plans_a_stop(self, pick: int, in_ms: int) -> None:
        lease_id = list(self.running)[pick % len(self.running)]
        try:
            planned.plan_stop(self.books, lease_id, self.clock.now_ms() + in_ms, actor="user", why="")
        except PublicError:
            return

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 99))
    def its_user_keeps_it(self, pick: int) -> None:
        lease_id = list(self.running)[pick % len(self.running)]
        try:
            kept = planned.keep(self.books, lease_id, actor="user", why="")
        except PublicError:
            return
        assert kept.planned == ()

    @rule(busy=st.integers(0, 1))
    def servers_tell_and_the_meter_looks(self, busy: int) -> None:
        for lease_id, server in self.running.items():
            if server.ended_ms is None:
                record = Activity(self.clock.now_ms(), 60, (), 1, busy)
                activity.report(self.books, lease_id, [record])
                planned.settle_idleness(self.books, lease_id)

    @rule(account=st.sampled_from(ACCOUNTS), seconds=st.integers(0, 10_000), money=st.integers(0, 8_000_000))
    def the_quota_changes(self, account: Subject, seconds: int, money: int) -> None:
        self._turn(0)
        limit(self.books, account, gpu_seconds=(seconds, "day"), money_microunits=(money, "P1D"), leases=3)
        self.lowered.add(account)

    def _turn(self, by_ms: int) -> None:
        """Let time pass; servers end at their deadlines while it does, as their parents see to."""
        until = self.clock.now_ms() + by_ms
        while True:
            due = [
                (max(self._lease(lease_id).deadline.at_ms, server.started_ms), lease_id)
                for lease_id, server in self.running.items()
                if server.ended_ms is None
            ]
            if not due or min(due)[0] > until:
                break
            at, lease_id = min(due)
            self.clock.at_ms = max(self.clock.at_ms, at)
            self.running[lease_id].ended_ms = at
        self.clock.at_ms = until

    def _lease(self, lease_id: str) -> Lease:
        with self.books.store.transaction(write=False) as tx:
            return leasing.stored(tx, lease_id)

    def _all(self) -> list[Lease]:
        with self.books.store.transaction(write=False) as tx:
            return tx.leases(LeaseFilter(), after=None, limit=1000)

    @invariant()
    def the_books_balance(self) -> None:
        for account in ACCOUNTS:
            assert verify_account(self.books.store, account) == []
        assert verify_audit(self.books, {}) is None

    @invariant()
    def use_is_the_sum_of_the_leases(self) -> None:
        with self.books.store.transaction(write=False) as tx:
            for account in ACCOUNTS:
                posted = sum((lease.posted for lease in self._all() if lease.account == account), ZERO)
                assert tx.used_in_all(account, None) == posted

    @invariant()
    def a_closed_lease_is_charged_exactly(self) -> None:
        for lease in self._all():
            server = self.running.get(lease.id)
            if server is not None and not lease.is_open:
                assert server.ended_ms is not None
                assert lease.posted.gpu_time == lease.parts * (server.ended_ms - server.started_ms)

    @invariant()
    def no_order_and_no_plan_is_put_off(self) -> None:
        for lease in self._all():
            if lease.is_open:
                assert all(lease.deadline.at_ms <= order.at_ms for order in lease.orders)

    @invariant()
    def no_device_is_held_twice(self) -> None:
        devices = [device for lease in self._all() if lease.is_open for device in lease.devices]
        assert len(devices) == len(set(devices))

    @invariant()
    def an_unchanged_quota_is_never_overshot(self) -> None:
        for account in ACCOUNTS:
            if account not in self.lowered:
                for state in quotas.read(self.books, account).states:
                    if state.limit.what in WINDOWED:
                        assert state.used + state.held <= state.limit.raw + self._rounding(account)

    def _rounding(self, account: Subject) -> int:
        """Money is rounded to a micro-unit once per hold and lease."""
        return 2 * sum(lease.account == account for lease in self._all())

    def teardown(self) -> None:
        if hasattr(self, "books"):
            self._turn(8 * 24 * 3_600_000)
            self.close_what_ended()
            for lease_id in self.granted:
                metering.void(self.books, lease_id)
            for account in ACCOUNTS:
                assert verify_account(self.books.store, account) == []
            held = sum((lease.held for lease in self._all()), Amount())
            assert held == ZERO


LedgerMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLedger = LedgerMachine.TestCase
