"""What can be had, what is in use, and what was used: the reads behind the pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.admission import Draw, first_slice, how_many, lasts_ms, refusal
from sublet_hub.domain.allowances import ModelUse
from sublet_hub.domain.errors import MeterAway, PublicError
from sublet_hub.domain.flavors import Flavor, Tier, fits
from sublet_hub.domain.offers import Choice, DayUse, Offer, PlatformState, PoolUse
from sublet_hub.domain.quota import WINDOWED, LimitState, What
from sublet_hub.storage.books import METER, Books
from sublet_hub.storage.leasing import binding_states, check_meter, no_capacity
from sublet_hub.storage.store import Transaction

LONGEST_DAYS = 366

StatesOf = dict[Subject, Sequence[LimitState] | PublicError]


def offers(books: Books, user: str, groups: Sequence[str]) -> list[Offer]:
    """Every flavor, with each way for the user to have it now or the reason why not."""
    now_ms = books.clock.now_ms()
    with books.store.transaction(write=False) as tx:
        states = _states_by_account(tx, books, user, groups, now_ms)
        return [_offer(tx, books, flavor, states) for flavor in books.catalog.flavors.values()]


def _states_by_account(tx: Transaction, books: Books, user: str, groups: Sequence[str], now_ms: int) -> StatesOf:
    own = accounts.user(user)
    found: StatesOf = {}
    for account in (own, *map(accounts.group, groups)):
        try:
            check_meter(tx, books, now_ms)
            found[account] = binding_states(tx, own, account, now_ms)
        except PublicError as problem:
            found[account] = problem
    return found


def _offer(tx: Transaction, books: Books, flavor: Flavor, states: StatesOf) -> Offer:
    pool = books.catalog.pools[flavor.pool]
    in_pool = tx.open_leases(pool=pool.name)
    taken = frozenset(device for lease in in_pool for device in lease.devices)
    free = fits(pool, flavor, sum(lease.parts for lease in in_pool), taken) if flavor.parts else None
    choices = tuple(
        _choice(books, flavor, account, tier, found, free)
        for account, found in states.items()
        for tier in flavor.prices
    )
    return Offer(flavor, pool, free, choices)


def _choice(
    books: Books,
    flavor: Flavor,
    account: Subject,
    tier: Tier,
    states: Sequence[LimitState] | PublicError,
    free: int | None,
) -> Choice:
    if isinstance(states, PublicError):
        return Choice(account, tier, None, None, states)
    draw = Draw(flavor.name, flavor.parts, flavor.prices[tier])
    try:
        held = first_slice(draw, states, books.policy.slice_ms, books.policy.minimum_lease_ms)
    except PublicError as problem:
        return Choice(account, tier, None, None, problem)
    if free == 0:
        return Choice(account, tier, None, None, no_capacity(flavor.pool))
    bounded = [
        lasts
        for state in states
        if state.limit.what in WINDOWED | {What.LEASE_SECONDS} and state.applies_to(flavor.name)
        if (lasts := lasts_ms(draw, state)) is not None
    ]
    fit, fit_problem = _fits(books, flavor, draw, states, free)
    return Choice(account, tier, min(bounded, default=None), held.hold_ms, None, fit, fit_problem)


def _fits(
    books: Books, flavor: Flavor, draw: Draw, states: Sequence[LimitState], free: int | None
) -> tuple[int | None, PublicError | None]:
    number, tightest = how_many(draw, states, books.policy.slice_ms, books.policy.minimum_lease_ms)
    if free is not None and (number is None or free < number):
        return free, no_capacity(flavor.pool)
    return number, None if tightest is None else refusal(tightest)


def pools(books: Books) -> list[PoolUse]:
    """Each pool's use now."""
    with books.store.transaction(write=False) as tx:
        uses = []
        for pool in books.catalog.pools.values():
            leases = tx.open_leases(pool=pool.name)
            uses.append(PoolUse(pool, sum(lease.parts for lease in leases), len(leases)))
        return uses


def platform(books: Books) -> PlatformState:
    """What there must be before anybody can be granted a lease."""
    now_ms = books.clock.now_ms()
    with books.store.transaction(write=False) as tx:
        try:
            check_meter(tx, books, now_ms)
            current = True
        except MeterAway:
            current = False
        return PlatformState(len(books.catalog.flavors), tx.last_beat(METER), current)


@dataclass(frozen=True, slots=True)
class ModelDayUse:
    """What an account used of a model on one day; `date` as in DayUse."""

    date: str
    model: str
    use: ModelUse


def model_use_by_day(books: Books, account: Subject, since_ms: int, time_zone: str) -> list[ModelDayUse]:
    """What the account used of each model, by day in that IANA time zone, from the day of that moment on, at most a
    year and a day back. Days and models without any are left out."""
    zone = ZoneInfo(time_zone)
    tomorrow = _midnight(books.clock.now_ms(), zone) + timedelta(days=1)
    first = max(_midnight(since_ms, zone), tomorrow - timedelta(days=LONGEST_DAYS))
    days = [tomorrow - timedelta(days=back) for back in range((tomorrow - first).days, -1, -1)]
    with books.store.transaction(write=False) as tx:
        return [
            ModelDayUse(midnight.date().isoformat(), model, use)
            for midnight, following in pairwise(days)
            for model, use in tx.model_use(account, _ms(midnight), _ms(following)).items()
        ]


def _midnight(at_ms: int, zone: ZoneInfo) -> datetime:
    """The beginning of the day that a moment lies in."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return at.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp()) * 1000


def usage_by_day(books: Books, account: Subject, days: int, time_zone: str) -> list[DayUse]:
    """What the account was charged on each of the last `days` days, today the last, in that IANA time zone."""
    zone = ZoneInfo(time_zone)
    today = _midnight(books.clock.now_ms(), zone)
    midnights = [today - timedelta(days=back) for back in range(days - 1, -2, -1)]
    with books.store.transaction(write=False) as tx:
        totals = [tx.used_before(account, None, _ms(midnight)) for midnight in midnights]
    days_used = (after - before for before, after in pairwise(totals))
    return [
        DayUse(midnight.date().isoformat(), used.gpu_time, used.money)
        for midnight, used in zip(midnights, days_used, strict=False)
    ]
