"""Whether a lease may be granted now, and how much is held for it. Reads balances only, never history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.amounts import MS_PER_SECOND, GpuParts, Micros
from sublet_hub.domain.deadlines import binding, rate, scale
from sublet_hub.domain.errors import PublicError, QuotaExceeded
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import LeaseKind
from sublet_hub.domain.quota import WINDOWED, LimitState, What

UNITS = {
    What.GPU_SECONDS: "GPU-seconds",
    What.MONEY: "micro-units of money",
    What.TOKENS: "model tokens",
    What.GPUS: "GPUs at once",
    What.LEASES: "leases at once",
    What.LEASE_SECONDS: "seconds per lease",
}


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """What a user asks for, by names; `parts` and the price come from the catalog, never from the user.

    `groups` are the user's JupyterHub groups as the hub knows them, any of which may pay.
    """

    user: str
    account: Subject
    flavor: str
    tier: Tier
    kind: LeaseKind = "notebook"
    server_name: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """How fast a lease would draw on quotas: its share of GPUs and its price in micro-units per GPU-hour."""

    flavor: str
    parts: GpuParts
    price_micros_per_gpu_hour: Micros


@dataclass(frozen=True, slots=True)
class Slice:
    """A first slice of time that fits all limits, in milliseconds."""

    hold_ms: int


def first_slice(draw: Draw, states: Sequence[LimitState], slice_ms: int, minimum_ms: int) -> Slice:
    """How long the first hold is: the usual slice, or what the tightest limit leaves.

    `states` are all limits on the user and on the account. QuotaExceeded names the binding limit where less than
    `minimum_ms` is left, or where a limit that binds at once is reached.
    """
    shortest, tightest = slice_ms, None
    for state in states:
        if not state.applies_to(draw.flavor):
            continue
        lasts = lasts_ms(draw, state)
        if lasts is not None and lasts < shortest:
            shortest, tightest = lasts, state
    if tightest is not None and shortest < minimum_ms:
        raise refusal(tightest)
    return Slice(shortest)


def lasts_ms(draw: Draw, state: LimitState) -> int | None:
    """How long one lease could run on what a limit has left, in milliseconds; None: the limit doesn't bound it.

    Windowed limits count what is used and held; those that bind at once give 0 when one more doesn't fit.
    """
    what = state.limit.what
    if what in WINDOWED:
        per_ms = rate(what, draw.parts, draw.price_micros_per_gpu_hour)
        return state.left * scale(what) // per_ms if per_ms else None
    if what is What.LEASE_SECONDS:
        return state.limit.raw
    needed = draw.parts if what is What.GPUS else 1
    return 0 if needed > state.left else None


def how_many(
    draw: Draw, states: Sequence[LimitState], slice_ms: int, minimum_ms: int
) -> tuple[int | None, LimitState | None]:
    """How many such leases would be granted one after the other, and the limit that refuses the next one.

    None and None where no limit ever would. Each holds the usual slice first, the last one what is left of it.
    """
    fewest, tightest = None, None
    for state in states:
        if not state.applies_to(draw.flavor):
            continue
        number = _how_many(draw, state, slice_ms, minimum_ms)
        if number is not None and (fewest is None or number < fewest):
            fewest, tightest = number, state
    return fewest, tightest


def _how_many(draw: Draw, state: LimitState, slice_ms: int, minimum_ms: int) -> int | None:
    what = state.limit.what
    if what is What.GPUS:
        return state.left // draw.parts if draw.parts else None
    if what is What.LEASES:
        return state.left
    lasts = lasts_ms(draw, state)
    if what is What.LEASE_SECONDS:
        return None if lasts is None or lasts >= minimum_ms else 0
    if lasts is None:
        return None
    return 0 if lasts < minimum_ms else (lasts - minimum_ms) // slice_ms + 1


def refusal(state: LimitState) -> PublicError:
    """The refusal that names the binding limit, whose it is, and when it resets."""
    limit = state.limit
    window = f" per {limit.window}" if limit.window in ("day", "week", "month") else ""
    rolling = f" in any {limit.window}" if limit.window and not window and limit.window != "total" else ""
    on_flavor = f" of flavor {limit.flavor}" if limit.flavor else ""
    whose = "the default quota" if state.inherited else f"the quota of {state.subject}"
    message = f"The limit of {limit.limit} {UNITS[limit.what]}{window}{rolling}{on_flavor} in {whose} is reached."
    if limit.what is What.LEASE_SECONDS:
        message = f"A lease may last {limit.raw // MS_PER_SECOND} seconds by {whose}: too short to start one."
    bound = binding(state)
    return QuotaExceeded(
        message,
        retry_at_ms=state.resets_at_ms,
        subject=bound.subject,
        limit={"what": bound.what, "limit": bound.limit, "window": bound.window, "flavor": bound.flavor},
    )
