"""A quota as `sublet.quota()` gives it. What each member means is in the platform's OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sublet import fields
from sublet.leases import Lease
from sublet.showing import Shown


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


@dataclass(frozen=True, slots=True, repr=False)
class Quota(Shown):
    """What `sublet.quota()` gives. Shows itself as tables in a notebook and as text elsewhere."""

    user: str
    currency: str
    accounts: tuple[Account, ...]
    leases: tuple[Lease, ...]
    lease: Lease | None
    """The lease that this Python runs in; None where it has just ended."""
    read_at: datetime
    document: Mapping[str, Any] = field(compare=False)
    """What the platform answered."""

    @property
    def account(self) -> Account | None:
        """The account that pays for this lease."""
        paying = self.lease.account if self.lease else f"user:{self.user}"
        return next((each for each in self.accounts if each.name == paying), None)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], lease_id: str, now: datetime) -> Quota:
        """KeyError, TypeError or ValueError where the document isn't what it should be."""
        leases = tuple(Lease.from_json(each, now) for each in document["leases"])
        return cls(
            user=fields.text(document["user"]),
            currency=fields.text(document["currency"]),
            accounts=tuple(_account(each) for each in document["accounts"]),
            leases=leases,
            lease=next((each for each in leases if each.id == lease_id), None),
            read_at=now,
            document=document,
        )


def _account(document: Mapping[str, Any]) -> Account:
    limits = tuple(_limit(each) for each in document["limits"])
    return Account(fields.text(document["subject"]), limits, fields.text(document["time_zone"]))


def _limit(document: Mapping[str, Any]) -> Limit:
    return Limit(
        what=fields.text(document["what"]),
        limit=fields.number(document["limit"]),
        window=fields.text_or_none(document["window"]),
        flavor=fields.text_or_none(document["flavor"]),
        used=fields.number(document["used"]),
        held=fields.number(document["held"]),
        left=fields.number(document["left"]),
        resets_at=fields.moment_or_none(document["resets_at"]),
    )
