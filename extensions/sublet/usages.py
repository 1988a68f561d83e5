"""What was used this month, as `sublet.usage()` gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sublet import fields
from sublet.showing import Shown


@dataclass(frozen=True, slots=True)
class Day:
    """What an account was charged on one day of its time zone."""

    date: date
    gpu_seconds: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """What an account (`user:NAME` or `group:NAME`) was charged since the first of the month, today included."""

    name: str
    time_zone: str
    """Where its days begin and end."""
    days: tuple[Day, ...]
    """All of the month so far, oldest first."""
    gpu_seconds: int
    cost: Decimal


@dataclass(frozen=True, slots=True, repr=False)
class Usage(Shown):
    """What `sublet.usage()` gives. Shows itself as tables in a notebook and as text elsewhere."""

    currency: str
    accounts: tuple[AccountUsage, ...]
    """The account that pays for this lease first."""
    read_at: datetime
    document: Sequence[Mapping[str, Any]] = field(compare=False)
    """What the platform answered, for each account."""

    def account(self, name: str) -> AccountUsage | None:
        """What was used of the account of that name; None where it is none that may pay for you."""
        return next((each for each in self.accounts if each.name == name), None)

    @classmethod
    def from_json(cls, documents: Sequence[Mapping[str, Any]], currency: str, now: datetime) -> Usage:
        """KeyError, TypeError or ValueError where a document isn't what it should be."""
        return cls(currency, tuple(_account(each) for each in documents), now, documents)


def _account(document: Mapping[str, Any]) -> AccountUsage:
    return AccountUsage(
        name=fields.text(document["account"]),
        time_zone=fields.text(document["time_zone"]),
        days=tuple(_day(each) for each in document["days"]),
        gpu_seconds=fields.number(document["gpu_seconds"]),
        cost=fields.units(document["cost_microunits"]),
    )


def _day(document: Mapping[str, Any]) -> Day:
    return Day(
        date=fields.day(document["date"]),
        gpu_seconds=fields.number(document["gpu_seconds"]),
        cost=fields.units(document["cost_microunits"]),
    )
