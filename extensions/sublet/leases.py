"""A lease as `sublet.lease()` gives it. What each member means is in the platform's OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sublet import fields
from sublet.showing import Shown

OVER = ("ended", "void")


@dataclass(frozen=True, slots=True, repr=False)
class Lease(Shown):
    """A lease. Moments are aware and in UTC; money is in units of `currency`.

    Shows itself as a table in a notebook and as text elsewhere.
    """

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
    ended_at: datetime | None
    end_reason: str | None
    gpus: Decimal
    gpu_seconds: int
    cost: Decimal
    price_per_hour: Decimal
    """For all its GPUs together."""
    currency: str
    simulated: bool
    server_name: str
    seconds_left: int
    """Until the deadline, counted when this was read; never below zero, and zero once it has ended."""
    read_at: datetime
    document: Mapping[str, Any] = field(compare=False)
    """What the platform answered."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any], now: datetime) -> Lease:
        """KeyError, TypeError or ValueError where the document isn't what it should be."""
        gpus = Decimal(fields.number(document["gpus_milli"])) / 1000
        deadline_at = fields.moment(document["deadline_at"])
        bound = document["deadline_limit"]
        state = fields.text(document["state"])
        return cls(
            id=fields.text(document["id"]),
            flavor=fields.text(document["flavor"]),
            tier=fields.text(document["tier"]),
            account=fields.text(document["account"]),
            state=state,
            started_at=fields.moment_or_none(document["started_at"]),
            deadline_at=deadline_at,
            deadline_reason=fields.text(document["deadline_reason"]),
            deadline_limit=None if bound is None else fields.text(bound["what"]),
            ended_at=fields.moment_or_none(document["ended_at"]),
            end_reason=fields.text_or_none(document["end_reason"]),
            gpus=gpus,
            gpu_seconds=fields.number(document["gpu_seconds"]),
            cost=fields.units(document["cost_microunits"]),
            price_per_hour=gpus * fields.units(document["price_microunits_per_gpu_hour"]),
            currency=fields.text(document["currency"]),
            simulated=bool(document["simulated"]),
            server_name=fields.text(document["server_name"]),
            seconds_left=0 if state in OVER else max(0, int((deadline_at - now).total_seconds())),
            read_at=now,
            document=document,
        )
