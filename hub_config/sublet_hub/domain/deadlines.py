"""How long leases can still run on their quotas: computed, not polled for, since every rate is known.

For one windowed limit, the leases that draw on it share what is left by their rates: each keeps at least what it
already holds, and what nobody holds is poured over them so that those with the nearest ends are lifted first
(water-filling). If less is left than is held (the quota was lowered), those with the latest ends are brought nearer
first, in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet_hub.domain.amounts import MS_PER_HOUR, PARTS_PER_GPU, GpuParts, Micros
from sublet_hub.domain.lease import Binding, Deadline, EndReason, Lease, LeaseState
from sublet_hub.domain.quota import LimitState, What
from sublet_hub.domain.windows import window_at

_MONEY_SCALE = PARTS_PER_GPU * MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Margins:
    """Times that shape a deadline, in milliseconds.

    `end_ms`: a quota's deadline lies this much before the quota is used up, so that a server that has to be
    killed is gone within it. `notice_ms`: a deadline is never brought nearer than this from now.
    `longest_ms`: the hard cap on any lease.
    """

    end_ms: int
    notice_ms: int
    longest_ms: int


def rate(what: What, parts: GpuParts, price_micros_per_gpu_hour: Micros) -> int:
    """What a share at a price draws per millisecond, in ledger units times `scale(what)`; 0 if it draws nothing."""
    if what is What.GPU_SECONDS:
        return parts
    if what is What.MONEY:
        return parts * price_micros_per_gpu_hour
    return 0


def scale(what: What) -> int:
    return _MONEY_SCALE if what is What.MONEY else 1


def exhaustion(state: LimitState, leases: Sequence[Lease], until_ms: int) -> dict[str, int]:
    """When each open lease has used up one windowed limit, by lease id; a lease that never does is left out.

    What allowances hold is not the leases' to use, in this window or (since it may be held on) in the next.
    `leases` are all open leases of the account; `until_ms` is how far ahead it is worth looking. A calendar
    window that begins anew before that brings a full limit again. For rolling windows nothing is taken to fall
    out of the window, so the moment is a lower bound that moves out as time passes.
    """
    what = state.limit.what
    drawing = [lease for lease in leases if state.applies_to(lease.flavor) and _rate_of(what, lease) > 0]
    if not drawing:
        return {}
    ends = _share_out(what, drawing, state.limit.raw - state.used - state.reserved)
    window_end = state.window.end_ms if state.window else None
    if window_end is None:
        return ends
    late = {lease_id for lease_id, at in ends.items() if at >= window_end}
    if late:
        refilled = _after_reset(state, drawing, window_end, until_ms)
        for lease_id in late:
            if refilled is None:
                del ends[lease_id]
            else:
                ends[lease_id] = refilled
    return ends


def _rate_of(what: What, lease: Lease) -> int:
    return rate(what, lease.parts, lease.price_micros_per_gpu_hour)


def _share_out(what: What, leases: Sequence[Lease], available: int) -> dict[str, int]:
    rates = {lease.id: _rate_of(what, lease) for lease in leases}
    held = sum(rates[lease.id] * (lease.held_until_ms - lease.posted_until_ms) for lease in leases)
    free = available * scale(what) - held
    if free < 0:
        return _drawn_in(leases, rates, -free)
    ordered = sorted(leases, key=lambda lease: lease.held_until_ms)
    level, total_rate = ordered[0].held_until_ms, 0
    for i, lease in enumerate(ordered):
        total_rate += rates[lease.id]
        next_end = ordered[i + 1].held_until_ms if i + 1 < len(ordered) else None
        if next_end is None or (next_end - level) * total_rate > free:
            level += free // total_rate
            break
        free -= (next_end - level) * total_rate
        level = next_end
    return {lease.id: max(level, lease.held_until_ms) for lease in leases}


def _drawn_in(leases: Sequence[Lease], rates: Mapping[str, int], short: int) -> dict[str, int]:
    """The ends of leases that hold more than there is: the latest are brought nearer first, and to one moment, so
    that a lease ends before its hold only where it must. The rounding of money alone makes them a unit short."""
    ordered = sorted(leases, key=lambda lease: -lease.held_until_ms)
    level, total_rate = ordered[0].held_until_ms, 0
    for i, lease in enumerate(ordered):
        total_rate += rates[lease.id]
        next_end = ordered[i + 1].held_until_ms if i + 1 < len(ordered) else None
        if next_end is None or (level - next_end) * total_rate >= short:
            level -= -(-short // total_rate)
            break
        short -= (level - next_end) * total_rate
        level = next_end
    return {lease.id: min(level, lease.held_until_ms) for lease in leases}


def _after_reset(state: LimitState, leases: Sequence[Lease], window_end: int, until_ms: int) -> int | None:
    """When the leases together use up a whole fresh window; None if they don't before `until_ms`."""
    what, window = state.limit.what, state.limit.window
    assert window is not None
    total_rate = sum(_rate_of(what, lease) for lease in leases)
    lasts_ms = max(0, state.limit.raw - state.reserved) * scale(what) // total_rate
    start = window_end
    while start < until_ms:
        end = window_at(window, state.time_zone, start).end_ms
        assert end is not None
        if start + lasts_ms < end:
            return start + lasts_ms
        start = end
    return None


def binding(state: LimitState) -> Binding:
    limit = state.limit
    return Binding(str(state.subject), limit.what.value, limit.limit, limit.window, limit.flavor, state.resets_at_ms)


def beyond(state: LimitState, leases: Sequence[Lease]) -> frozenset[str]:
    """Ids of the newest leases that don't fit a limit that binds at once, given all open leases that it counts."""
    allowed, taken, over = state.limit.raw, 0, set()
    for lease in sorted(leases, key=lambda lease: (lease.requested_at_ms, lease.id)):
        if state.applies_to(lease.flavor):
            taken += at_once(state.limit.what, lease)
            if taken > allowed:
                over.add(lease.id)
    return frozenset(over)


def at_once(what: What, lease: Lease) -> int:
    """What one open lease takes of a limit that binds at once, in ledger units."""
    if what is What.GPUS:
        return lease.parts
    return 1 if what is What.LEASES else 0


def plan_deadlines(
    now_ms: int,
    leases: Sequence[Lease],
    account_states: Sequence[LimitState],
    own_limits: Mapping[str, Sequence[LimitState]],
    margins: Margins,
) -> dict[str, Deadline]:
    """The deadline of every open lease of one account, by lease id.

    `account_states` are the windowed limits on the account. `own_limits` are, by lease id, the limits that bind that
    lease alone: those on seconds per lease, and those on GPUs or leases at once which the lease is `beyond`.
    A deadline that comes nearer never comes nearer than `margins.notice_ms` from now (promise 3: no surprise);
    an ordered or planned deadline is kept as it was set.
    """
    nearest = {lease.id: _hard_cap(lease, margins) for lease in leases}
    for state in account_states:
        for lease_id, at in exhaustion(state, leases, now_ms + margins.longest_ms).items():
            _nearer(nearest, lease_id, Deadline(at - margins.end_ms, EndReason.QUOTA, binding(state)))
    for lease in leases:
        for state in own_limits.get(lease.id, ()):
            _nearer(nearest, lease.id, _own_deadline(lease, state, now_ms, margins))
        for order in lease.orders:
            _nearer(nearest, lease.id, order)
    return {lease.id: _with_notice(lease, nearest[lease.id], now_ms, margins) for lease in leases}


def _own_deadline(lease: Lease, state: LimitState, now_ms: int, margins: Margins) -> Deadline:
    if state.limit.what is What.LEASE_SECONDS:
        return Deadline(_start(lease) + state.limit.raw, EndReason.LIMIT, binding(state))
    at = min(lease.deadline.at_ms, now_ms + margins.notice_ms)
    return Deadline(at, EndReason.QUOTA, binding(state))


def _start(lease: Lease) -> int:
    """When it began. Of a grant that wasn't seen to start yet, the moment of the grant: it may run since then, with
    the deadline that follows from it, and nothing that is recomputed meanwhile may promise it more."""
    return lease.posted_until_ms if lease.started_at_ms is None else lease.started_at_ms


def _hard_cap(lease: Lease, margins: Margins) -> Deadline:
    return Deadline(_start(lease) + margins.longest_ms, EndReason.LIMIT)


def _nearer(nearest: dict[str, Deadline], lease_id: str, deadline: Deadline) -> None:
    if deadline.at_ms < nearest[lease_id].at_ms:
        nearest[lease_id] = deadline


def _with_notice(lease: Lease, deadline: Deadline, now_ms: int, margins: Margins) -> Deadline:
    """The new deadline, but not nearer than the notice period, unless the old one or an order already was."""
    if lease.state is LeaseState.GRANTED or deadline.at_ms >= lease.deadline.at_ms or deadline in lease.orders:
        return deadline
    at = max(deadline.at_ms, min(lease.deadline.at_ms, now_ms + margins.notice_ms))
    return Deadline(at, deadline.reason, deadline.binding)
