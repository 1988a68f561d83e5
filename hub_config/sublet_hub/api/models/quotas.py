"""Quotas as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StrictBool, StrictInt, StrictStr

from sublet_hub.api.models.fields import Answer, Count, Moment, Name, Request, Text, WhatName
from sublet_hub.api.models.leases import LeaseModel
from sublet_hub.domain.quota import MOST_LIMITS

WindowName = Annotated[
    StrictStr,
    Field(
        max_length=64,
        description="day, week, month, total, or an ISO 8601 duration (rolling); only for what is used up.",
        examples=["week", "P30D"],
    ),
]
ZoneName = Annotated[StrictStr, Field(min_length=1, max_length=64, description="IANA time zone.", examples=["UTC"])]
AsRead = Annotated[StrictInt | None, Field(description="As it was read; ignored in a write.")]


class LimitRequest(Request):
    """A limit as it is written. What a reading adds is accepted and ignored, so that a reading can be sent back."""

    what: WhatName
    limit: Count
    window: WindowName | None = None
    flavor: Name | None = None
    used: AsRead = None
    held: AsRead = None
    left: AsRead = None
    resets_at: StrictStr | None = None


class LimitChange(LimitRequest):
    """A limit in a PATCH: replaces the one with the same `what`, `window` and `flavor`; null removes that one."""

    limit: Count | None  # type: ignore[assignment]  # a PATCH may also take a limit away


class QuotaPut(Request):
    """A whole quota."""

    limits: Annotated[tuple[LimitRequest, ...], Field(max_length=MOST_LIMITS)]
    time_zone: ZoneName = "UTC"
    why: Text = ""
    subject: StrictStr | None = None
    own: StrictBool | None = None
    leases: tuple[object, ...] | None = None


class QuotaPatch(Request):
    """Changes of single limits. A subject without a quota of its own starts from a copy of the default's."""

    limits: Annotated[tuple[LimitChange, ...], Field(max_length=MOST_LIMITS)] = ()
    time_zone: ZoneName | None = None
    why: Text = ""
    subject: StrictStr | None = None
    own: StrictBool | None = None
    leases: tuple[object, ...] | None = None


class LimitModel(Answer):
    """A limit and how far it is used, in the unit that `what` names."""

    what: WhatName
    limit: int
    window: str | None
    flavor: str | None
    used: int
    held: int
    left: int
    resets_at: Moment | None


class QuotaModel(Answer):
    """A subject's quota as it stands. `own` is false where the default's applies."""

    subject: str
    own: bool
    limits: list[LimitModel]
    time_zone: str


class QuotaChangeModel(QuotaModel):
    """The answer to a write: also the leases whose deadline moved."""

    leases: list[LeaseModel]


class OwnQuotaModel(Answer):
    """What a user has left on each account that may pay for them, and what they hold now."""

    user: str
    accounts: list[QuotaModel]
    leases: list[LeaseModel]
    currency: str
