"""Leases as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from sublet_hub.api.models.fields import (
    AccountName,
    Answer,
    GivenMoment,
    KindName,
    Moment,
    Name,
    Request,
    ServerName,
    StateName,
    Text,
    TierName,
)


class LeaseRequestModel(Request):
    """What a spawner asks for on a user's behalf: names only, nothing numeric."""

    user: Name
    account: AccountName
    flavor: Name
    tier: TierName
    kind: KindName = "notebook"
    server_name: ServerName = ""
    groups: Annotated[
        tuple[Name, ...], Field(max_length=1000, description="The user's groups as the hub knows them.")
    ] = ()


class StopRequest(Request):
    """How a lease is to end. `reason` is for spawners (`idle`: of Dask workers, with notice); `immediately` skips an
    admin's notice; `at` is its owner's."""

    why: Text = ""
    immediately: StrictBool = False
    reason: Literal["user", "shutdown", "idle"] | None = None
    at: Annotated[
        GivenMoment | None,
        Field(description="Stop then, and not now; no later than the lease's deadline. Keeping it takes that back."),
    ] = None


class KeepRequest(Request):
    """That a lease is still needed."""

    why: Text = ""


class DeadlineLimit(Answer):
    """The limit that a deadline comes from."""

    subject: str
    what: str
    limit: int
    window: str | None
    flavor: str | None
    resets_at: Moment | None


class LeaseModel(Answer):
    """A lease. GPU-seconds and cost of an open one are up to now."""

    id: str
    user: str
    account: str
    flavor: str
    tier: TierName
    kind: KindName
    state: StateName
    requested_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    deadline_at: Moment
    gpus_milli: int
    gpu_seconds: int
    cost_microunits: int
    currency: str
    end_reason: str | None
    simulated: bool
    server_name: str
    pool: str
    deadline_reason: str
    deadline_limit: DeadlineLimit | None
    price_microunits_per_gpu_hour: int


class LeaseDetail(LeaseModel):
    """One lease, as its owner and spawners see it."""

    devices: Annotated[
        list[str] | None, Field(description="UUIDs of its devices; for its owner and spawners only.")
    ] = None


class GrantedLease(LeaseModel):
    """A lease that was just granted."""

    devices: list[str]
    held_seconds: int
    models: Annotated[
        list[str], Field(description="Gated models whose licence is accepted for it: what its server may read.")
    ]
