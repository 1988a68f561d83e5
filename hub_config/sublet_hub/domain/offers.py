"""What a user could lease right now, flavor by flavor, and why not where they can't."""

from __future__ import annotations

from dataclasses import dataclass

from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.errors import PublicError
from sublet_hub.domain.flavors import Flavor, Pool, Tier


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to have a flavor: which account pays, in which tier.

    `lasts_ms` is how long one lease could run on what the account's quota has left (None: no limit bounds it),
    `hold_ms` what would be held first. `problem` says why it can't be had now; then the other two are None. `fits` is
    how many such leases could be had at once (None: nothing bounds it), `fits_problem` why not one more.
    """

    account: Subject
    tier: Tier
    lasts_ms: int | None
    hold_ms: int | None
    problem: PublicError | None
    fits: int | None = 0
    fits_problem: PublicError | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A flavor with all its choices. `free` is how many more leases of it fit now; None without a GPU."""

    flavor: Flavor
    pool: Pool
    free: int | None
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class PoolUse:
    """How much of a pool is leased: parts, and the number of open leases."""

    pool: Pool
    leased_parts: int
    leases: int


@dataclass(frozen=True, slots=True)
class PlatformState:
    """Whether leases can be granted at all: what is offered, and when the meter last noted that it is alive (None:
    never)."""

    flavors: int
    meter_beat_at_ms: int | None
    meter_current: bool


@dataclass(frozen=True, slots=True)
class DayUse:
    """What an account used on one day; `date` is ISO 8601 in the time zone that was asked for."""

    date: str
    gpu_time: int
    money: int
