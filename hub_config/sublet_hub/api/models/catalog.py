"""Flavors on offer, pools, and the platform as a whole, as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sublet_hub.api.models.fields import Answer, Moment, TierName
from sublet_hub.api.models.problem import BoundLimit


class RefusalModel(Answer):
    """Why a choice can't be had now."""

    type: str
    title: str
    detail: str
    retry_at: Moment | None
    limit: BoundLimit | None
    subject: str | None


class ChoiceModel(Answer):
    """A flavor on one account in one tier."""

    account: str
    tier: TierName
    available: bool
    lasts_seconds: Annotated[
        int | None, Field(description="How long the account's quota lasts on it; null: no quota bounds it.")
    ]
    held_seconds: int
    problem: RefusalModel | None
    fits: Annotated[
        int | None, Field(description="How many such leases could be had at once now; null: nothing bounds it.")
    ]
    fits_problem: Annotated[RefusalModel | None, Field(description="Why not one more than that.")]


class TierPrice(Answer):
    tier: TierName
    price_microunits_per_gpu_hour: int
    price_microunits_per_hour: int


class OfferModel(Answer):
    """A flavor, what it costs, how many are free, and on which accounts it can be had."""

    flavor: str
    title: str
    gpu_model: str
    gpus_milli: int
    gpus: int
    cpus: int
    memory_bytes: int
    gpu_memory_bytes: int
    pool: str
    simulated: bool
    currency: str
    free: Annotated[int | None, Field(description="How many more leases fit now; null for a flavor without a GPU.")]
    tiers: list[TierPrice]
    choices: list[ChoiceModel]


class IdlePolicyModel(Answer):
    """When a lease is ended for being idle: after so many minutes with no kernel busy and every GPU below both."""

    after_minutes: int
    utilisation_percent: int
    memory_percent: int
    tiers: list[TierName]


class PoolModel(Answer):
    """A pool's use."""

    name: str
    gpu_model: str
    capacity_gpus_milli: int
    leased_gpus_milli: int
    free_gpus_milli: int
    simulated: bool
    leases: int
    idle: Annotated[IdlePolicyModel | None, Field(description="Null: nothing of it is ended for being idle.")]


class PlatformModel(Answer):
    """Whether leases can be granted at all."""

    version: str
    flavors: Annotated[int, Field(description="How many flavors are offered.")]
    meter_beat_at: Annotated[
        Moment | None, Field(description="When the meter last noted that it is alive; null: never.")
    ]
    meter_current: Annotated[bool, Field(description="Whether that is recent enough; if not, no lease is granted.")]
