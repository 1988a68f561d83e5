"""Fetching how far the limits of a subject are used: two look-ups per limit, whatever the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sublet_hub.domain.accounts import DEFAULT, Subject
from sublet_hub.domain.amounts import ZERO, Amount
from sublet_hub.domain.deadlines import at_once
from sublet_hub.domain.errors import NoQuota
from sublet_hub.domain.lease import Lease
from sublet_hub.domain.quota import WINDOWED, Limit, LimitState, Quota, What, raw_of
from sublet_hub.domain.windows import falls_out_at, is_rolling, window_at
from sublet_hub.storage.read_once import Reads

NOTHING_ALLOWED = Quota((Limit(What.LEASES, 0),))
"""What rules leases that run while no quota is set at all: they are ended with notice (policy fails closed)."""


@dataclass(frozen=True, slots=True)
class Effective:
    """The quota that rules a subject; `own` is false where it is the default's."""

    quota: Quota
    own: bool


def effective_quota(reads: Reads, subject: Subject) -> Effective:
    """The subject's own quota, else the default's. NoQuota where there is neither."""
    own = reads.quota(subject)
    if own is not None:
        return Effective(own, own=True)
    default = reads.quota(DEFAULT) if subject != DEFAULT else None
    if default is None:
        raise NoQuota(f"No quota is set for {subject}, nor a default one. Ask an admin to set one.")
    return Effective(default, own=False)


def ruling_quota(reads: Reads, subject: Subject) -> Effective:
    """As `effective_quota`, but where there is none, one that allows nothing."""
    try:
        return effective_quota(reads, subject)
    except NoQuota:
        return Effective(NOTHING_ALLOWED, own=False)


def limit_states(reads: Reads, subject: Subject, effective: Effective, now_ms: int) -> tuple[LimitState, ...]:
    """Every limit of a subject as it stands.

    Windowed limits count what is charged to the account of that name, and what its leases and allowances hold; the
    others count the open leases of the user, whichever account pays, or of the group's account.
    """
    on_account = reads.open_leases(account=subject) if subject.kind != "default" else []
    counted = reads.open_leases(user=subject.name) if subject.kind == "user" else on_account
    for_calls = reads.held_by_allowances(subject) if subject.kind != "default" else ZERO
    return tuple(
        _state(reads, subject, effective, limit, on_account, for_calls, counted, now_ms)
        for limit in effective.quota.limits
    )


def _state(
    reads: Reads,
    subject: Subject,
    effective: Effective,
    limit: Limit,
    on_account: Sequence[Lease],
    for_calls: Amount,
    counted: Sequence[Lease],
    now_ms: int,
) -> LimitState:
    zone = effective.quota.time_zone
    if limit.what not in WINDOWED:
        taken = sum(at_once(limit.what, lease) for lease in counted if limit.flavor in (None, lease.flavor))
        return LimitState(subject, limit, None, taken, 0, not effective.own, zone)
    assert limit.window is not None
    window = window_at(limit.window, zone, now_ms)
    used, eases_at_ms = reads.used_in_all(subject, limit.flavor), None
    if window.start_ms is not None:
        used -= reads.used_before(subject, limit.flavor, window.start_ms)
        if (
            is_rolling(limit.window)
            and (first := reads.first_use(subject, limit.flavor, window.start_ms)) is not None
        ):
            eases_at_ms = falls_out_at(limit.window, first)
    held = sum((lease.held for lease in on_account if limit.flavor in (None, lease.flavor)), ZERO)
    reserved = for_calls if limit.flavor is None else ZERO
    return LimitState(
        subject=subject,
        limit=limit,
        window=window,
        used=raw_of(limit.what, used),
        held=raw_of(limit.what, held + reserved),
        inherited=not effective.own,
        time_zone=zone,
        eases_at_ms=eases_at_ms,
        reserved=raw_of(limit.what, reserved),
    )
