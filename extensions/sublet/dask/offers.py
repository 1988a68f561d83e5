"""What can be leased now, flavor by flavor, as the platform tells it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sublet import fields
from sublet.asking import TIMEOUT_SECONDS, Surroundings, get, understood


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to have a flavor. `problem` says why not, and `problem_type` is its stable name; None where it can be
    had."""

    account: str
    tier: str
    problem: str | None
    problem_type: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """A flavor. `free`: how many more leases of it its pool has room for; None without a GPU."""

    flavor: str
    gpus_milli: int
    cpus: int
    memory_bytes: int
    free: int | None
    simulated: bool
    currency: str
    prices_per_hour: Mapping[str, Decimal]
    """By tier, for one lease, in units of `currency`."""
    choices: tuple[Choice, ...]

    @property
    def gpus(self) -> Decimal:
        """Of one lease; a part of one where it is a slice."""
        return Decimal(self.gpus_milli) / 1000


def offers(timeout: float = TIMEOUT_SECONDS) -> tuple[Offer, ...]:
    """All flavors, with each way to have them. Raises as all that asks the platform."""
    document = get(Surroundings.of(os.environ), "/flavors", timeout)
    with understood():
        return tuple(map(_offer, document))


def _offer(document: Mapping[str, Any]) -> Offer:
    return Offer(
        flavor=fields.text(document["flavor"]),
        gpus_milli=fields.number(document["gpus_milli"]),
        cpus=fields.number(document["cpus"]),
        memory_bytes=fields.number(document["memory_bytes"]),
        free=None if document["free"] is None else fields.number(document["free"]),
        simulated=bool(document["simulated"]),
        currency=fields.text(document["currency"]),
        prices_per_hour={
            fields.text(each["tier"]): fields.units(each["price_microunits_per_hour"]) for each in document["tiers"]
        },
        choices=tuple(map(_choice, document["choices"])),
    )


def _choice(document: Mapping[str, Any]) -> Choice:
    problem = document["problem"] or {"detail": None, "type": None}
    kind = fields.text_or_none(problem["type"])
    return Choice(
        account=fields.text(document["account"]),
        tier=fields.text(document["tier"]),
        problem=fields.text_or_none(problem["detail"]),
        problem_type=None if kind is None else kind.rpartition("/")[2],
    )
