"""What the api answers to the hub, as typed values. Parsed once, in `lease_client`.

Members that are not named here are passed over, so that an api that is newer than the hub still works.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

ACCOUNT_OF_USER = "user:"
ACCOUNT_OF_GROUP = "group:"

_Name = str
_ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,94}[a-z0-9])?$")]
"""A folder of that name is shown to the server: nothing that could lead elsewhere is taken for a name."""

_Moment = AwareDatetime


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Limit(_Message):
    """A limit that binds: enough to tell a user which one it is."""

    what: str
    limit: int
    window: str | None = None
    flavor: str | None = None
    subject: str | None = None
    resets_at: _Moment | None = None


def _limit_or_none(value: object) -> object:
    """Only an object is a limit that we can explain; for anything else the problem's own sentence stands."""
    return value if isinstance(value, dict | Limit) else None


class Problem(_Message):
    """Why something was refused (RFC 9457). `detail` is a sentence for people."""

    type: str
    title: str
    detail: str
    status: int = 0
    retry_at: _Moment | None = None
    subject: str | None = None
    limit: Annotated[Limit | None, BeforeValidator(_limit_or_none)] = None

    @property
    def name(self) -> str:
        """The stable last part of the type, such as `quota-exceeded`."""
        return self.type.rstrip("/").rpartition("/")[2]


class Price(_Message):
    """What a flavor costs in one tier, in micro-units of the currency: per GPU-hour, and for all its GPUs."""

    tier: _Name
    price_microunits_per_gpu_hour: int
    price_microunits_per_hour: int


class Prospect(_Message):
    """Whether a user could have a flavor now, in one tier and on one account, and for how long.

    `lasts_seconds` None: no quota bounds it. `fits` is how many such leases could be had at once (None: nothing
    bounds it), `fits_problem` why not one more.
    """

    account: _Name
    tier: _Name
    available: bool
    lasts_seconds: int | None
    held_seconds: int
    problem: Problem | None = None
    fits: int | None = None
    fits_problem: Problem | None = None


class Offer(_Message):
    """A flavor as it is offered to one user. `gpus` counts devices; `free` is None where GPUs don't limit it."""

    flavor: _Name
    title: str
    gpu_model: str
    gpus_milli: int
    gpus: int
    cpus: int
    memory_bytes: int
    gpu_memory_bytes: int
    simulated: bool
    currency: str
    free: int | None
    tiers: tuple[Price, ...]
    choices: tuple[Prospect, ...]

    def price(self, tier: str) -> Price | None:
        return next((price for price in self.tiers if price.tier == tier), None)

    def prospect(self, tier: str, account: str) -> Prospect | None:
        return next((one for one in self.choices if (one.tier, one.account) == (tier, account)), None)


class Lease(_Message):
    """A lease, as far as the hub shows it."""

    id: str
    user: _Name
    account: _Name
    flavor: _Name
    tier: _Name
    state: str
    started_at: _Moment | None
    ended_at: _Moment | None
    deadline_at: _Moment
    end_reason: str | None
    simulated: bool
    currency: str
    server_name: str = ""
    deadline_reason: str | None = None
    deadline_limit: Limit | None = None
    price_microunits_per_gpu_hour: int = 0
    gpus_milli: int = 0

    @property
    def is_open(self) -> bool:
        return self.state in {"granted", "active", "ending"}

    @property
    def over_at(self) -> datetime:
        """When it ended; for one that hasn't, when it will."""
        return self.ended_at or self.deadline_at


class Grant(Lease):
    """A lease that was just granted: its devices, the seconds of use that are held on the quota, and the gated models
    that its server may read."""

    devices: tuple[str, ...]
    held_seconds: int
    models: tuple[_ModelName, ...] = ()
