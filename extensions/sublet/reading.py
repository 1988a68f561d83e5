"""The platform's answer as typed values. What each member means is in its published OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a quota and how far it is used, in the unit that `what` names.

    `window` is None for limits that bind at once or per lease; `resets_at` is when more is left again, None if never.
    """

    what: str
    limit: int
    window: str | None
    flavor: str | None
    used: int
    held: int
    left: int
    resets_at: datetime | None


@dataclass(frozen=True, slots=True)
class Account:
    """Who can pay: `user:NAME` or `group:NAME`, with the limits that rule it."""

    name: str
    limits: tuple[Limit, ...]
    time_zone: str

    def limit(self, what: str, window: str | None = None) -> Limit | None:
        """The first limit of that kind (and window, if given); None where there is none."""
        found = (each for each in self.limits if each.what == what and window in {None, each.window})
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that runs. Moments are aware and in UTC; money is in units of `currency`."""

    id: str
    flavor: str
    tier: str
    account: str
    state: str
    started_at: datetime | None
    deadline_at: datetime
    deadline_reason: str
    deadline_limit: str | None
    """Name of the limit that the deadline comes from, such as `gpu_seconds`; None where it comes from none."""
    gpus: Decimal
    gpu_seconds: int
    cost: Decimal
    price_per_hour: Decimal
    """For all its GPUs together."""
    currency: str
    simulated: bool
    server_name: str
    seconds_left: int
    """Until the deadline, counted when this was read; never below zero."""


@dataclass(frozen=True, slots=True)
class Quota:
    """What `sublet.quota()` gives. Shows itself as tables in a notebook and as text elsewhere."""

    user: str
    currency: str
    accounts: tuple[Account, ...]
    leases: tuple[Lease, ...]
    lease: Lease | None
    """The lease that this Python runs in; None where it has just ended."""
    read_at: datetime

    @property
    def account(self) -> Account | None:
        """The account that pays for this lease."""
        paying = self.lease.account if self.lease else f"user:{self.user}"
        return next((each for each in self.accounts if each.name == paying), None)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], lease_id: str, now: datetime) -> Quota:
        """KeyError, TypeError or ValueError where the document isn't what it should be."""
        leases = tuple(_lease(each, now) for each in document["leases"])
        return cls(
            user=_text(document["user"]),
            currency=_text(document["currency"]),
            accounts=tuple(_account(each) for each in document["accounts"]),
            leases=leases,
            lease=next((each for each in leases if each.id == lease_id), None),
            read_at=now,
        )

    def __repr__(self) -> str:
        from sublet.as_text import quota_text

        return quota_text(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from sublet.as_html import quota_html

        return quota_html(self)


def _account(document: Mapping[str, Any]) -> Account:
    limits = tuple(_limit(each) for each in document["limits"])
    return Account(_text(document["subject"]), limits, _text(document["time_zone"]))


def _limit(document: Mapping[str, Any]) -> Limit:
    return Limit(
        what=_text(document["what"]),
        limit=_number(document["limit"]),
        window=_text_or_none(document["window"]),
        flavor=_text_or_none(document["flavor"]),
        used=_number(document["used"]),
        held=_number(document["held"]),
        left=_number(document["left"]),
        resets_at=_moment_or_none(document["resets_at"]),
    )


def _lease(document: Mapping[str, Any], now: datetime) -> Lease:
    gpus = Decimal(_number(document["gpus_milli"])) / 1000
    deadline_at = _moment(document["deadline_at"])
    bound = document["deadline_limit"]
    return Lease(
        id=_text(document["id"]),
        flavor=_text(document["flavor"]),
        tier=_text(document["tier"]),
        account=_text(document["account"]),
        state=_text(document["state"]),
        started_at=_moment_or_none(document["started_at"]),
        deadline_at=deadline_at,
        deadline_reason=_text(document["deadline_reason"]),
        deadline_limit=None if bound is None else _text(bound["what"]),
        gpus=gpus,
        gpu_seconds=_number(document["gpu_seconds"]),
        cost=Decimal(_number(document["cost_microunits"])) / MICROS,
        price_per_hour=gpus * _number(document["price_microunits_per_gpu_hour"]) / MICROS,
        currency=_text(document["currency"]),
        simulated=bool(document["simulated"]),
        server_name=_text(document["server_name"]),
        seconds_left=max(0, int((deadline_at - now).total_seconds())),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _moment(value: object) -> datetime:
    at = datetime.fromisoformat(_text(value))
    if at.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone")
    return at


def _moment_or_none(value: object) -> datetime | None:
    return None if value is None else _moment(value)
