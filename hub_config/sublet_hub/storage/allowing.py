"""Allowances: holding tokens and money for calls of models, and booking what was used. Each post may be repeated."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.allowances import (
    DRAWN,
    KEPT_MS,
    Allowance,
    AllowanceRequest,
    CallCounts,
    ModelUse,
    Post,
    Renewal,
    check_in_time,
    drawn_on,
    first_hold,
    is_repeated,
    room,
)
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.errors import MeterAway, NoQuota, NotFound
from sublet_hub.domain.ledger import BucketUse, Entry, EntryKind, entry_hash
from sublet_hub.domain.quota import LimitState, What
from sublet_hub.domain.windows import bucket_of
from sublet_hub.storage.books import Books
from sublet_hub.storage.leasing import check_meter, hold_what_runs
from sublet_hub.storage.limits import effective_quota, limit_states
from sublet_hub.storage.planning import replan
from sublet_hub.storage.store import Transaction

AT_ONCE = 500
"""The most allowances that one round of housekeeping voids, or forgets."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """An allowance as it stands, and the limits that calls on its account count towards. `booked` is what this very
    call booked, by model: nothing where it was booked before."""

    allowance: Allowance
    states: tuple[LimitState, ...] = ()
    booked: tuple[tuple[CallCounts, Amount], ...] = ()


def allow(books: Books, wanted: AllowanceRequest) -> Allowed:
    """Hold as much as is asked for, or less where a limit leaves less, in one transaction.

    CallsQuotaExceeded where less than the least is left, NoQuota where nothing is allowed to anybody; MeterAway where
    leases run on the same money and nobody could end them in time.
    """
    with books.store.transaction(write=True) as tx:
        tx.lock(str(wanted.account))
        now_ms = books.clock.now_ms()
        for old in tx.open_allowances(wanted.account):
            if old.expires_at_ms <= now_ms:
                _close(tx, old, now_ms, "expired")
        hold_what_runs(tx, books, wanted.account, now_ms)
        states = _states(tx, wanted.account, now_ms)
        if wanted.asked.money:
            _check_leases_can_be_ended(tx, books, wanted.account, states, now_ms)
        allowance = Allowance(
            id=uuid.uuid4().hex,
            user=wanted.user,
            account=wanted.account,
            granted_at_ms=now_ms,
            expires_at_ms=now_ms + wanted.lasts_ms,
            held=first_hold(states, wanted),
            posted_at_ms=now_ms,
        )
        tx.add_allowance(allowance)
        held = _Line(EntryKind.HOLD, allowance.held, reason="allowance")
        _write(tx, allowance, [held], now_ms, allowance.expires_at_ms, now_ms)
        _move_deadlines(tx, books, wanted.account, now_ms)
        return Allowed(allowance, _states(tx, wanted.account, now_ms))


def post(books: Books, allowance_id: str, posted: Post) -> Allowed:
    """Book what was used since the post before, then renew or release the hold. Use is a fact: it is booked whatever
    the quotas say, and where nothing is held any more. A renewal holds what they leave, and is never refused.

    Does nothing where that post was booked before. NotFound; Conflict where a post before it is missing, where the
    same number came with other uses, or a day after the allowance's end.
    """
    with books.store.transaction(write=True) as tx:
        tx.lock(str(_stored(tx, allowance_id).account))
        allowance, now_ms = _stored(tx, allowance_id), books.clock.now_ms()
        if is_repeated(allowance, posted):
            return Allowed(allowance, _states_if_any(tx, allowance.account, now_ms))
        check_in_time(allowance, now_ms)
        before = allowance.held + allowance.posted
        booked = tuple((use, use.amount(books.models)) for use in posted.uses)
        allowance = _book(tx, replace(allowance, posts=posted.number, post_mark=posted.mark), booked, now_ms)
        if allowance.is_open and posted.release:
            allowance = _close(tx, allowance, now_ms, "released")
        elif allowance.is_open and posted.renewal is not None:
            allowance = _renew(tx, books, allowance, posted.renewal, now_ms)
        if (allowance.held + allowance.posted).money != before.money:
            _move_deadlines(tx, books, allowance.account, now_ms)
        return Allowed(allowance, _states_if_any(tx, allowance.account, now_ms), booked)


def void_expired(books: Books) -> int:
    """Void what is held by allowances whose time is over, some hundreds at most; gives how many."""
    with books.store.transaction(write=False) as tx:
        due = tx.expired_allowances(books.clock.now_ms(), AT_ONCE)
    for account in dict.fromkeys(allowance.account for allowance in due):
        with books.store.transaction(write=True) as tx:
            tx.lock(str(account))
            now_ms = books.clock.now_ms()
            for allowance in tx.open_allowances(account):
                if allowance.expires_at_ms <= now_ms:
                    _close(tx, allowance, now_ms, "expired")
            _move_deadlines(tx, books, account, now_ms)
    return len(due)


def drop_old(books: Books) -> int:
    """Forget some of the allowances that ended so long ago that nothing can be posted on them; gives how many."""
    with books.store.transaction(write=True) as tx:
        return tx.drop_allowances(books.clock.now_ms() - KEPT_MS, AT_ONCE)


@dataclass(frozen=True, slots=True)
class _Line:
    """What an entry says beside its place in the chain."""

    kind: EntryKind
    amount: Amount
    model: str | None = None
    reason: str = ""


def _write(
    tx: Transaction, allowance: Allowance, lines: Iterable[_Line], from_ms: int, to_ms: int, now_ms: int
) -> None:
    """Append entries to the account's chain; none for an amount of nothing."""
    head = tx.ledger_head(allowance.account)
    number, previous, entries = head.number, head.mark, []
    for line in lines:
        if line.amount == ZERO:
            continue
        number += 1
        entry = Entry(
            account=allowance.account,
            number=number,
            kind=line.kind,
            amount=line.amount,
            lease_id=None,
            flavor=None,
            from_ms=from_ms,
            to_ms=to_ms,
            at_ms=now_ms,
            reason=line.reason,
            previous=previous,
            hash="",
            allowance_id=allowance.id,
            model=line.model,
        )
        entry = replace(entry, hash=entry_hash(entry))
        entries.append(entry)
        previous = entry.hash
    tx.append_entries(entries)


def _book(
    tx: Transaction, allowance: Allowance, booked: tuple[tuple[CallCounts, Amount], ...], now_ms: int
) -> Allowance:
    """Post uses out of the hold; what was not held is held first, as with leases."""
    used = sum((amount for _, amount in booked), ZERO)
    overrun = (used - allowance.held).clamped()
    lines = [_Line(EntryKind.HOLD, overrun, reason="overrun" if allowance.is_open else "told late")]
    lines += (_Line(EntryKind.POST, amount, use.model, _counted(use)) for use, amount in booked)
    _write(tx, allowance, lines, allowance.posted_at_ms, now_ms, now_ms)
    bucket_ms = bucket_of(now_ms)
    if used != ZERO:
        tx.add_use(allowance.account, None, [BucketUse(bucket_ms, used)])
    by_model: dict[str, ModelUse] = {}
    for use, amount in booked:
        more = ModelUse(use.calls, use.input_tokens, use.output_tokens, amount.money)
        by_model[use.model] = by_model.get(use.model, ModelUse()) + more
    tx.add_model_use(allowance.account, bucket_ms, by_model)
    allowance = replace(
        allowance, held=allowance.held + overrun - used, posted=allowance.posted + used, posted_at_ms=now_ms
    )
    tx.save_allowance(allowance)
    return allowance


def _counted(use: CallCounts) -> str:
    """What the entry of a post says of the calls, so that the chain covers that too."""
    return f"{use.calls} calls, {use.input_tokens} tokens in, {use.output_tokens} out"


def _renew(tx: Transaction, books: Books, allowance: Allowance, renewal: Renewal, now_ms: int) -> Allowance:
    """Bring the hold to what is wanted, as far as the limits leave it, and its end to so long from now."""
    surplus = (allowance.held - renewal.wanted).clamped()
    missing = (renewal.wanted - allowance.held).clamped()
    more = _allowed_more(tx, books, allowance.account, missing, now_ms)
    until_ms = now_ms + renewal.lasts_ms
    lines = [_Line(EntryKind.VOID, surplus, reason="renewal"), _Line(EntryKind.HOLD, more, reason="renewal")]
    _write(tx, allowance, lines, now_ms, until_ms, now_ms)
    allowance = replace(allowance, held=allowance.held - surplus + more, expires_at_ms=until_ms)
    tx.save_allowance(allowance)
    return allowance


def _allowed_more(tx: Transaction, books: Books, account: Subject, missing: Amount, now_ms: int) -> Amount:
    if missing == ZERO:
        return ZERO
    hold_what_runs(tx, books, account, now_ms)
    try:
        states = _states(tx, account, now_ms)
        if missing.money:
            _check_leases_can_be_ended(tx, books, account, states, now_ms)
    except (NoQuota, MeterAway):
        return ZERO
    return room(states, missing)


def _close(tx: Transaction, allowance: Allowance, now_ms: int, why: str) -> Allowance:
    """Release what is still held."""
    void = _Line(EntryKind.VOID, allowance.held, reason=why)
    _write(tx, allowance, [void], now_ms, allowance.expires_at_ms, now_ms)
    allowance = replace(allowance, held=ZERO, closed_at_ms=now_ms)
    tx.save_allowance(allowance)
    return allowance


def _check_leases_can_be_ended(
    tx: Transaction, books: Books, account: Subject, states: Iterable[LimitState], now_ms: int
) -> None:
    """MeterAway where the money that is asked for is that of running leases, and the meter, which alone could bring
    their armed deadlines nearer, isn't heard of."""
    shared = any(state.limit.what is What.MONEY for state in states)
    if shared and any(lease.price_micros_per_gpu_hour for lease in tx.open_leases(account=account)):
        check_meter(tx, books, now_ms)


def _move_deadlines(tx: Transaction, books: Books, account: Subject, now_ms: int) -> None:
    """Leases run on what allowances leave of the money."""
    replan(tx, books, [account], now_ms)


def _states(tx: Transaction, account: Subject, now_ms: int) -> tuple[LimitState, ...]:
    """The limits on the account that calls count towards. NoQuota where it has no quota, nor is there a default."""
    effective = effective_quota(tx, account)
    limits = tuple(limit for limit in effective.quota.limits if limit.what in DRAWN)
    drawn = replace(effective, quota=replace(effective.quota, limits=limits))
    return drawn_on(limit_states(tx, account, drawn, now_ms))


def _states_if_any(tx: Transaction, account: Subject, now_ms: int) -> tuple[LimitState, ...]:
    try:
        return _states(tx, account, now_ms)
    except NoQuota:
        return ()


def _stored(tx: Transaction, allowance_id: str) -> Allowance:
    allowance = tx.allowance(allowance_id)
    if allowance is None:
        raise NotFound(f"There is no allowance {allowance_id}.", field="id")
    return allowance
