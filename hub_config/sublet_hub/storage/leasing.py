"""Granting leases, and ordering their end. What they really did is written by `metering`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.admission import Draw, LeaseRequest, first_slice
from sublet_hub.domain.audit import Json
from sublet_hub.domain.errors import Conflict, MeterAway, NoCapacity, NotAllowed, NotFound, PublicError
from sublet_hub.domain.flavors import Flavor, Pool, fits, free_devices
from sublet_hub.domain.lease import Deadline, EndReason, Lease, LeaseState, told_to_end
from sublet_hub.domain.ledger import EntryKind
from sublet_hub.domain.notices import WHY
from sublet_hub.domain.quota import WINDOWED, LimitState
from sublet_hub.storage import audit
from sublet_hub.storage.books import DEFAULT_LOCK, METER, Books
from sublet_hub.storage.limits import effective_quota, limit_states
from sublet_hub.storage.notifying import write_notice
from sublet_hub.storage.planning import replan
from sublet_hub.storage.posting import append_entry, hold_ahead
from sublet_hub.storage.store import Transaction


def request(books: Books, wanted: LeaseRequest, *, actor: str) -> Lease:
    """Grant a lease, or raise the refusal as a PublicError and leave an audit record of it."""
    with refusals_audited(books, wanted, actor=actor):
        return grant(books, wanted, actor=actor)


@contextmanager
def refusals_audited(books: Books, wanted: LeaseRequest, *, actor: str) -> Iterator[None]:
    """Write an audit record of a refusal that leaves the block; in a transaction of its own, after the roll-back."""
    try:
        yield
    except PublicError as refused:
        with books.store.transaction(write=True) as tx:
            audit.append(
                tx,
                books,
                actor=actor,
                action="lease.refused",
                subject=f"user:{wanted.user}",
                after={**named(wanted), "type": refused.type_name},
                reason=refused.message,
            )
        raise


def named(wanted: LeaseRequest) -> dict[str, Json]:
    """What was asked for, as audit records have it."""
    return {"account": str(wanted.account), "flavor": wanted.flavor, "tier": wanted.tier.value}


def grant(books: Books, wanted: LeaseRequest, *, actor: str) -> Lease:
    """Check every limit, hold the first slice and write the lease, in one transaction.

    Raises QuotaExceeded, NoQuota, NoCapacity, MeterAway, NotAllowed or NotFound, and then nothing is written.
    An open lease of the same server is ended first.
    """
    flavor = books.catalog.flavor(wanted.flavor)
    pool = books.catalog.pools[flavor.pool]
    draw = Draw(flavor.name, flavor.parts, books.catalog.price(flavor, wanted.tier))
    check_account(wanted.user, wanted.groups, wanted.account)
    user = accounts.user(wanted.user)
    with books.store.transaction(write=True) as tx:
        tx.lock(*sorted({DEFAULT_LOCK, f"pool:{pool.name}", str(user), str(wanted.account)}))
        now_ms = books.clock.now_ms()
        check_meter(tx, books, now_ms)
        _replace_earlier(tx, books, wanted, now_ms, actor)
        hold_what_runs(tx, books, wanted.account, now_ms)
        states = binding_states(tx, user, wanted.account, now_ms)
        policy = books.policy
        hold = first_slice(draw, states, policy.slice_ms, policy.minimum_lease_ms)
        lease = new_lease(
            books,
            wanted,
            uuid.uuid4().hex,
            requested_at_ms=now_ms,
            from_ms=now_ms,
            hold_ms=hold.hold_ms,
            devices=_pick_devices(tx, pool, flavor),
        )
        tx.add_lease(lease)
        append_entry(tx, lease, EntryKind.HOLD, lease.held, now_ms, lease.held_until_ms, now_ms, "grant")
        replan(tx, books, [lease.account], now_ms)
        granted = stored(tx, lease.id)
        after: dict[str, Json] = {
            **named(wanted),
            "held_seconds": hold.hold_ms // 1000,
            "deadline_at_ms": granted.deadline.at_ms,
        }
        audit.append(
            tx, books, actor=actor, action="lease.granted", subject=str(user), lease_id=lease.id, after=after
        )
    return granted


def new_lease(
    books: Books,
    wanted: LeaseRequest,
    lease_id: str,
    *,
    requested_at_ms: int,
    from_ms: int,
    hold_ms: int,
    devices: tuple[str, ...],
) -> Lease:
    """A granted lease, unsaved: the share and the price are the catalog's of now, the hold begins at `from_ms`, and
    of all deadlines only the last stop is set. NotFound where the flavor isn't offered."""
    flavor = books.catalog.flavor(wanted.flavor)
    pool = books.catalog.pools[flavor.pool]
    return Lease(
        id=lease_id,
        user=wanted.user,
        account=wanted.account,
        flavor=flavor.name,
        pool=pool.name,
        tier=wanted.tier,
        kind=wanted.kind,
        server_name=wanted.server_name,
        state=LeaseState.GRANTED,
        parts=flavor.parts,
        price_micros_per_gpu_hour=books.catalog.price(flavor, wanted.tier),
        currency=books.catalog.currency,
        simulated=pool.simulated,
        devices=devices,
        requested_at_ms=requested_at_ms,
        posted_until_ms=from_ms,
        held_until_ms=from_ms + hold_ms,
        deadline=Deadline(requested_at_ms + books.policy.longest_lease_ms, EndReason.LIMIT),
    )


def hold_what_runs(tx: Transaction, books: Books, account: Subject, now_ms: int) -> None:
    """Hold what the account's leases have used since their holds ran out, and the next slice: posts may be late, such
    as from a node that nothing is heard of, and what is used meanwhile must not be granted to another lease."""
    for lease in tx.open_leases(account=account):
        if lease.started_at_ms is not None and lease.held_until_ms < now_ms:
            tx.save_lease(hold_ahead(tx, books.policy, lease, now_ms, now_ms, "its post is late"))


def check_account(user: str, groups: tuple[str, ...], account: Subject) -> None:
    """NotAllowed unless the account is the user's own or one of the user's groups'."""
    if account == accounts.user(user) or (account.kind == "group" and account.name in groups):
        return
    raise NotAllowed(f"{user} may not charge {account}: it is neither their own account nor one of their groups'.")


def check_meter(tx: Transaction, books: Books, now_ms: int) -> None:
    """MeterAway unless the meter noted lately that it is alive: nobody else could stop a lease early."""
    beat = tx.last_beat(METER)
    if beat is None or now_ms - beat > books.policy.meter_stale_ms:
        raise MeterAway("Metering is not running, so no lease can be started just now. Try again in a minute.")


def binding_states(tx: Transaction, user: Subject, account: Subject, now_ms: int) -> list[LimitState]:
    """All limits that a new lease of the user on the account must fit. NoQuota where one of them has no quota."""
    states = list(limit_states(tx, account, effective_quota(tx, account), now_ms))
    if account != user:
        of_user = limit_states(tx, user, effective_quota(tx, user), now_ms)
        states += [state for state in of_user if state.limit.what not in WINDOWED]
    return states


def _pick_devices(tx: Transaction, pool: Pool, flavor: Flavor) -> tuple[str, ...]:
    if flavor.parts == 0:
        return ()
    in_pool = tx.open_leases(pool=pool.name)
    taken = frozenset(uuid_ for lease in in_pool for uuid_ in lease.devices)
    if fits(pool, flavor, sum(lease.parts for lease in in_pool), taken) < 1:
        raise NoCapacity(f"All of pool {pool.name} is leased just now. Try again later or pick another flavor.")
    return tuple(device.uuid for device in free_devices(pool, taken)[: flavor.device_count])


def no_capacity(pool: str) -> NoCapacity:
    return NoCapacity(f"All of pool {pool} is leased just now. Try again later or pick another flavor.")


def _replace_earlier(tx: Transaction, books: Books, wanted: LeaseRequest, now_ms: int, actor: str) -> None:
    """End what the hub forgot: it starts a server of this name, so an earlier one can't be meant to run on."""
    if wanted.kind != "notebook":
        return
    for lease in tx.open_leases(user=wanted.user):
        if lease.kind == wanted.kind and lease.server_name == wanted.server_name and lease.ordered is None:
            ordered = _ordered(lease, Deadline(now_ms + books.policy.stop_ms, EndReason.REPLACED))
            tx.save_lease(told_to_end(ordered, now_ms, books.policy.stop_ms))
            audit.append(
                tx,
                books,
                actor=actor,
                action="lease.stopped",
                subject=f"user:{lease.user}",
                lease_id=lease.id,
                reason="the same server is started again",
            )


def order_end(
    books: Books,
    lease_id: str,
    *,
    at_ms: int | None,
    reason: EndReason,
    actor: str,
    why: str,
    quietly: bool = False,
) -> Lease:
    """Order a lease to end at a moment, or with the full notice where `at_ms` is None.

    An order that leaves no more time than a stop takes (`stop_at_once`) has the server asked to end at once. An order
    can bring an earlier order nearer, never further. `quietly`: nobody is warned of it.
    NotFound, or Conflict where it has ended already.
    """
    with books.store.transaction(write=True) as tx:
        lease = locked(tx, lease_id)
        if not lease.is_open:
            raise Conflict(f"Lease {lease_id} has ended already.")
        now_ms = books.clock.now_ms()
        notice_ms = max(books.policy.margins.notice_ms, books.policy.stop_ms)
        ordered = Deadline(now_ms + notice_ms if at_ms is None else at_ms, reason)
        if lease.ordered is not None and lease.ordered.at_ms <= ordered.at_ms:
            return lease
        before = lease.deadline.at_ms
        tx.save_lease(lease := _ordered(lease, ordered))
        if not quietly and now_ms < lease.deadline.at_ms < before and lease.deadline.reason in WHY:
            write_notice(tx, books, lease, round((lease.deadline.at_ms - now_ms) / 1000), actor)
        tx.save_lease(lease := told_to_end(lease, now_ms, books.policy.stop_ms))
        audit.append(
            tx,
            books,
            actor=actor,
            action="lease.stopped",
            subject=f"user:{lease.user}",
            lease_id=lease.id,
            before={"deadline_at_ms": before},
            after={"deadline_at_ms": lease.deadline.at_ms, "reason": reason.value},
            reason=why,
        )
        return lease


def stop_at_once(
    books: Books, lease_id: str, *, reason: EndReason, actor: str, why: str, quietly: bool = False
) -> Lease:
    """Order a lease to end now: its server is asked to, and ended a few seconds later if it has not saved by then.

    Raises as `order_end`.
    """
    at_ms = books.clock.now_ms() + books.policy.stop_ms
    return order_end(books, lease_id, at_ms=at_ms, reason=reason, actor=actor, why=why, quietly=quietly)


def _ordered(lease: Lease, ordered: Deadline) -> Lease:
    deadline = min(ordered, lease.deadline, key=lambda deadline: deadline.at_ms)
    return replace(lease, ordered=ordered, deadline=deadline)


def stored(tx: Transaction, lease_id: str) -> Lease:
    """The lease of that id; NotFound where there is none."""
    lease = tx.lease(lease_id)
    if lease is None:
        raise NotFound(f"There is no lease {lease_id}.", field="id")
    return lease


def locked(tx: Transaction, lease_id: str) -> Lease:
    """The lease of that id, with its account locked. A lease never changes its account."""
    tx.lock(str(stored(tx, lease_id).account))
    return stored(tx, lease_id)
