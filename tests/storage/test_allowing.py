"""Holding for calls beside leases: the same money is never held twice, and a lease ends before it would be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.allowances import AllowanceRequest, CallCounts, Post, Renewal
from sublet_hub.domain.amounts import Amount, Micros
from sublet_hub.domain.errors import CallsQuotaExceeded, MeterAway, QuotaExceeded
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason, Lease
from sublet_hub.storage import accepting, allowing, leasing, metering, quotas
from sublet_hub.storage.allowing import Allowed
from sublet_hub.storage.audit import verify_audit
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import Store
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import TurnedClock, books, limit

LAB = accounts.group("lab")
SECOND = 1_000
HOUR = 3_600 * SECOND
PRICE = 2_000_000
"""Of a lease of gpu-1x, in micro-units an hour."""


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def of(store: Store, clock: TurnedClock) -> Books:
    made = books(store, clock)
    limit(made)
    return made


def lease(of: Books, *, start: bool = True) -> Lease:
    metering.beat(of)
    wanted = LeaseRequest("alice", LAB, "gpu-1x", Tier.GUARANTEED, groups=("lab",))
    granted = leasing.request(of, wanted, actor="test")
    return metering.start(of, granted.id, of.clock.now_ms()) if start else granted


def hold(of: Books, money: int = 0, tokens: int = 1000, least: int | None = None, seconds: int = 60) -> Allowed:
    asked = Amount(money=Micros(money), tokens=tokens)
    minimum = Amount(money=Micros(money if least is None else least), tokens=1)
    return allowing.allow(of, AllowanceRequest("bob", LAB, asked, minimum, seconds * SECOND))


def used(number: int, tokens: int = 1000, *, renewal: Renewal | None = None, release: bool = False) -> Post:
    """1,000 tokens in cost 200 micro-units."""
    return Post(number, (CallCounts("tiny-llama", 1, tokens, 0),), renewal, release)


def now(of: Books, lease_id: str) -> Lease:
    with of.store.transaction(write=False) as tx:
        return leasing.stored(tx, lease_id)


def assert_balanced(of: Books) -> None:
    assert verify_account(of.store, LAB) == []
    (state,) = [each for each in quotas.read(of, LAB).states if each.limit.what == "money_microunits"]
    assert state.used + state.held <= state.limit.raw


def test_an_allowance_brings_a_leases_deadline_nearer_and_its_end_takes_it_out(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, money_microunits=(PRICE, "week"))
    running = lease(of)
    before = now(of, running.id).deadline.at_ms
    assert before == clock.now_ms() + HOUR - SECOND
    held = hold(of, money=PRICE // 4)
    assert now(of, running.id).deadline.at_ms == before - HOUR // 4
    allowing.post(of, held.allowance.id, used(1, release=True))
    lost = before - now(of, running.id).deadline.at_ms
    assert abs(lost - HOUR * 200 // PRICE) <= 100, "what was used is gone for good; less than 100 ms is left alone"
    assert_balanced(of)


def test_what_leases_hold_is_not_for_calls(of: Books) -> None:
    """Ten minutes are held of the hour that the money lasts: five sixths are left."""
    limit(of, LAB, money_microunits=(PRICE, "week"))
    running = lease(of)
    with pytest.raises(CallsQuotaExceeded) as refused:
        hold(of, money=PRICE)
    assert refused.value.detail_fields["limit"] == {
        "what": "money_microunits", "limit": PRICE, "window": "week", "flavor": None,
    }  # fmt: skip
    held = hold(of, money=PRICE, least=1)
    assert held.allowance.held.money == PRICE - now(of, running.id).held.money
    cut = now(of, running.id)
    assert abs(cut.deadline.at_ms - (cut.held_until_ms - SECOND)) <= 2, "but for the rounding of a micro-unit"
    with pytest.raises(CallsQuotaExceeded):
        hold(of, money=1)
    assert_balanced(of)


def test_what_allowances_hold_is_not_for_leases(of: Books) -> None:
    limit(of, LAB, money_microunits=(PRICE, "week"))
    hold(of, money=PRICE - 1000, seconds=3600)
    with pytest.raises(QuotaExceeded):
        lease(of)
    assert_balanced(of)


def test_a_lease_holds_on_only_as_far_as_allowances_leave(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, money_microunits=(PRICE, "week"))
    running = lease(of)
    held = hold(of, money=PRICE, least=1, seconds=3600)
    for _ in range(12):
        clock.turn(60 * SECOND)
        metering.beat(of)
        until = min(clock.now_ms(), now(of, running.id).deadline.at_ms)
        metering.post(of, running.id, until)
        assert_balanced(of)
    ended = now(of, running.id)
    assert abs(ended.posted_until_ms - (running.held_until_ms - SECOND)) <= 2
    metering.end(of, running.id, running.started_at_ms or 0, ended.posted_until_ms, EndReason.QUOTA)
    allowing.post(of, held.allowance.id, used(1))
    assert_balanced(of)


def test_a_renewal_holds_what_is_left_and_gives_back_what_is_too_much(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, money_microunits=(10_000, "week"), model_tokens=(5_000, "day"))
    allowed = hold(of, money=1_000, tokens=2_000).allowance
    clock.turn(30 * SECOND)
    more = Renewal(Amount(money=Micros(50_000), tokens=3_000), 60 * SECOND)
    renewed = allowing.post(of, allowed.id, used(1, renewal=more)).allowance
    assert (renewed.held, renewed.expires_at_ms) == (
        Amount(money=Micros(9_800), tokens=3_000), clock.now_ms() + 60 * SECOND,
    )  # fmt: skip
    less = Renewal(Amount(money=Micros(10), tokens=20), 5 * SECOND)
    renewed = allowing.post(of, allowed.id, replace(used(2, renewal=less), uses=())).allowance
    assert renewed.held == less.wanted
    assert allowing.post(of, allowed.id, replace(used(2, renewal=more), uses=())).allowance == renewed
    assert_balanced(of)


def test_while_the_meter_is_away_calls_take_no_money_that_leases_run_on(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, money_microunits=(PRICE, "week"))
    held = hold(of, money=100)
    running = lease(of)
    clock.turn(20 * SECOND)
    with pytest.raises(MeterAway):
        hold(of, money=100)
    more = Renewal(Amount(money=Micros(5_000), tokens=1), 60 * SECOND)
    assert allowing.post(of, held.allowance.id, used(1, renewal=more)).allowance.held.money == 0
    assert hold(of, money=0).allowance.held.tokens == 1000
    metering.end(of, running.id, running.started_at_ms or 0, clock.now_ms(), EndReason.EXITED)
    assert hold(of, money=100).allowance.held.money == 100
    assert_balanced(of)


def test_calls_without_a_money_limit_need_no_meter(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, model_tokens=(5_000, "day"))
    lease(of)
    clock.turn(HOUR)
    assert hold(of, money=100).allowance.held == Amount(money=Micros(100), tokens=1000)


def test_what_expired_is_voided_once_and_deadlines_move_out(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, money_microunits=(PRICE, "week"))
    running = lease(of)
    before = now(of, running.id).deadline.at_ms
    for _ in range(3):
        hold(of, money=10_000)
    assert allowing.void_expired(of) == 0
    clock.turn(60 * SECOND)
    assert allowing.void_expired(of) == 3
    assert allowing.void_expired(of) == 0
    assert now(of, running.id).deadline.at_ms == before
    assert_balanced(of)
    clock.turn(2 * 24 * HOUR + 1)
    assert allowing.drop_old(of) == 3


def test_tokens_of_the_day_are_back_the_next_day(of: Books, clock: TurnedClock) -> None:
    limit(of, LAB, model_tokens=(1_000, "day"), money_microunits=(PRICE, "week"))
    allowed = hold(of).allowance
    allowing.post(of, allowed.id, used(1, release=True))
    with pytest.raises(CallsQuotaExceeded) as refused:
        hold(of)
    assert refused.value.retry_at_ms == clock.now_ms() + 24 * HOUR
    clock.at_ms = refused.value.retry_at_ms
    assert hold(of).allowance.held.tokens == 1_000


def test_accepting_twice_is_one_acceptance_with_one_record(of: Books, clock: TurnedClock) -> None:
    first = accepting.accept(of, LAB, "llama-3.2", "1", actor="user:boss")
    clock.turn(1)
    assert accepting.accept(of, LAB, "llama-3.2", "1", actor="user:other") == first
    assert accepting.accept(of, LAB, "llama-3.2", "2", actor="user:other").number == first.number + 1
    with of.store.transaction(write=False) as tx:
        assert accepting.find_fault(tx) is None
    assert verify_audit(of, {}) is None
