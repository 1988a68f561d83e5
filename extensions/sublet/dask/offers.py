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
class Problem:
    """Why there is no lease: its stable name and a sentence."""

    type: str
    detail: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to have a flavor."""

    account: str
    tier: str
    problem: Problem | None
    """Why not even one can be had now; None where one can."""
    fits: int | None
    """How many leases can be had at once; None where nothing limits that."""
    fits_problem: Problem | None
    """Why not one more than that."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A flavor, as one lease has it."""

    flavor: str
    pool: str
    gpus_milli: int
    cpus: int
    memory_bytes: int
    simulated: bool
    currency: str
    prices_per_hour: Mapping[str, Decimal]
    """By tier, for one lease, in units of `currency`."""
    choices: tuple[Choice, ...]

    def choice(self, tier: str, account: str) -> Choice | None:
        return next((each for each in self.choices if (each.tier, each.account) == (tier, account)), None)

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
        pool=fields.text(document["pool"]),
        gpus_milli=fields.number(document["gpus_milli"]),
        cpus=fields.number(document["cpus"]),
        memory_bytes=fields.number(document["memory_bytes"]),
        simulated=bool(document["simulated"]),
        currency=fields.text(document["currency"]),
        prices_per_hour={
            fields.text(each["tier"]): fields.units(each["price_microunits_per_hour"]) for each in document["tiers"]
        },
        choices=tuple(map(_choice, document["choices"])),
    )


def _choice(document: Mapping[str, Any]) -> Choice:
    return Choice(
        account=fields.text(document["account"]),
        tier=fields.text(document["tier"]),
        problem=_problem(document["problem"]),
        # An api that is older than Dask clusters doesn't tell these.
        fits=None if document.get("fits") is None else fields.number(document["fits"]),
        fits_problem=_problem(document.get("fits_problem")),
    )


def _problem(document: Mapping[str, Any] | None) -> Problem | None:
    if document is None:
        return None
    return Problem(fields.text(document["type"]).rpartition("/")[2], fields.text(document["detail"]))
