"""Limits, the quotas that hold them, and how far each limit is used."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import (
    GPU_TIME_PER_GPU_SECOND,
    LARGEST_LIMIT,
    MS_PER_SECOND,
    PARTS_PER_GPU,
    Amount,
)
from sublet_hub.domain.errors import InvalidRequest
from sublet_hub.domain.windows import Window, check_time_zone, check_window


class What(StrEnum):
    """What a limit counts. The first three are used up in a window, the rest bind at once or per lease."""

    GPU_SECONDS = "gpu_seconds"
    MONEY = "money_microunits"
    TOKENS = "model_tokens"
    GPUS = "gpus"
    LEASES = "leases"
    LEASE_SECONDS = "lease_seconds"


WINDOWED = frozenset({What.GPU_SECONDS, What.MONEY, What.TOKENS})

RAW_PER_UNIT = {
    What.GPU_SECONDS: GPU_TIME_PER_GPU_SECOND,
    What.MONEY: 1,
    What.TOKENS: 1,
    What.GPUS: PARTS_PER_GPU,
    What.LEASES: 1,
    What.LEASE_SECONDS: MS_PER_SECOND,
}
"""How many of the ledger's units one unit of a limit is: part-milliseconds, micro-units, parts, milliseconds."""

MOST_LIMITS = 50


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit, in the unit that its kind names (whole GPU-seconds, micro-units, tokens, GPUs, leases, seconds).

    `window` is None for limits that bind at once or per lease. `flavor` None counts all flavors.
    """

    what: What
    limit: int
    window: str | None = None
    flavor: str | None = None

    @property
    def key(self) -> tuple[What, str | None, str | None]:
        """What tells one limit of a quota from another; a PATCH replaces the limit with the same key."""
        return (self.what, self.window, self.flavor)

    @property
    def raw(self) -> int:
        """The limit in the ledger's units."""
        return self.limit * RAW_PER_UNIT[self.what]


@dataclass(frozen=True, slots=True)
class Quota:
    """The limits of one subject, and the time zone in which its calendar windows begin.

    No limits at all means that nothing limits the subject; a subject without a quota has the default's.
    """

    limits: tuple[Limit, ...] = ()
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit as it stands: whose it is, which window it is in, and what is used and held, in the ledger's units.

    `inherited` is true where the subject has no quota of its own and the default's limit applies.
    """

    subject: Subject
    limit: Limit
    window: Window | None
    used: int
    held: int
    inherited: bool = False
    time_zone: str = "UTC"
    eases_at_ms: int | None = None
    """For a rolling window that has been used: when the oldest use in it begins to fall out."""

    reserved: int = 0
    """The part of `held` that allowances hold: leases can't run on it."""

    @property
    def left(self) -> int:
        """What a new lease could still hold, in the ledger's units; never below zero."""
        return max(0, self.limit.raw - self.used - self.held)

    @property
    def resets_at_ms(self) -> int | None:
        """When more is left again: at a calendar window's end, or when a rolling one's first use falls out."""
        return self.eases_at_ms if self.window is None or self.window.end_ms is None else self.window.end_ms

    def in_units(self, raw: int, *, up: bool = False) -> int:
        """A ledger amount in the limit's own unit, rounded down, or up where `up`."""
        per_unit = RAW_PER_UNIT[self.limit.what]
        return -(-raw // per_unit) if up else raw // per_unit

    def applies_to(self, flavor: str) -> bool:
        return self.limit.flavor is None or self.limit.flavor == flavor


def raw_of(what: What, amount: Amount) -> int:
    """The part of an amount that a windowed limit counts, in the ledger's units."""
    if what is What.GPU_SECONDS:
        return amount.gpu_time
    if what is What.MONEY:
        return amount.money
    if what is What.TOKENS:
        return amount.tokens
    raise ValueError(f"{what} is not counted in a window")


def check_limit(limit: Limit, flavors: frozenset[str], *, field: str) -> Limit:
    """The limit in canonical form; InvalidRequest names the field that is wrong and why."""
    if not 0 <= limit.limit <= LARGEST_LIMIT:
        raise InvalidRequest(f"A limit is from 0 to {LARGEST_LIMIT}, not {limit.limit}.", field=f"{field}.limit")
    if limit.flavor is not None and limit.flavor not in flavors:
        known = ", ".join(sorted(flavors))
        raise InvalidRequest(f"There is no flavor {limit.flavor!r}. Flavors: {known}.", field=f"{field}.flavor")
    if limit.what not in WINDOWED:
        if limit.window not in (None, "total"):
            raise InvalidRequest(f"A limit on {limit.what} has no window: leave it out.", field=f"{field}.window")
        return Limit(limit.what, limit.limit, None, limit.flavor)
    if limit.window is None:
        raise InvalidRequest(
            f"A limit on {limit.what} needs a window: day, week, month, total, or a duration such as P30D.",
            field=f"{field}.window",
        )
    window = check_window(limit.window, field=f"{field}.window")
    return Limit(limit.what, limit.limit, window, limit.flavor)


def check_quota(quota: Quota, flavors: frozenset[str]) -> Quota:
    """The quota in canonical form; InvalidRequest names what is wrong. At most 50 limits, none of them twice."""
    if len(quota.limits) > MOST_LIMITS:
        raise InvalidRequest(f"A quota has at most {MOST_LIMITS} limits.", field="limits")
    checked = tuple(check_limit(limit, flavors, field=f"limits[{i}]") for i, limit in enumerate(quota.limits))
    seen: set[tuple[What, str | None, str | None]] = set()
    for i, limit in enumerate(checked):
        if limit.key in seen:
            raise InvalidRequest("The same limit stands here twice.", field=f"limits[{i}]")
        seen.add(limit.key)
    return Quota(checked, check_time_zone(quota.time_zone))


def merged(base: Quota, changes: tuple[Limit, ...], removed: tuple[Limit, ...], time_zone: str | None) -> Quota:
    """The quota after a PATCH: limits with the same key replaced, new ones added, `removed` keys taken out."""
    limits = {limit.key: limit for limit in base.limits}
    for limit in removed:
        limits.pop(limit.key, None)
    for limit in changes:
        limits[limit.key] = limit
    return Quota(tuple(limits.values()), time_zone or base.time_zone)
