"""The API's answers as the commands read them; see the published OpenAPI document for what each member means."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from sublet_hub.cli.exits import Unreachable


class _Reading(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Limit(_Reading):
    what: str
    limit: int
    window: str | None
    flavor: str | None
    used: int
    held: int
    left: int
    resets_at: datetime | None


class BindingLimit(_Reading):
    subject: str
    what: str
    limit: int
    window: str | None
    flavor: str | None
    resets_at: datetime | None


class Lease(_Reading):
    id: str
    user: str
    account: str
    flavor: str
    tier: str
    kind: str
    state: str
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deadline_at: datetime
    deadline_reason: str
    deadline_limit: BindingLimit | None
    gpus_milli: int
    gpu_seconds: int
    cost_microunits: int
    currency: str
    end_reason: str | None
    simulated: bool
    pool: str


class Quota(_Reading):
    subject: str
    own: bool
    limits: tuple[Limit, ...]
    time_zone: str
    leases: tuple[Lease, ...] = ()


class Day(_Reading):
    date: date
    gpu_seconds: int
    cost_microunits: int


class Usage(_Reading):
    account: str
    currency: str
    time_zone: str
    days: tuple[Day, ...]
    gpu_seconds: int
    cost_microunits: int


class ModelDay(_Reading):
    date: date
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost_microunits: int


class ModelUse(_Reading):
    days: tuple[ModelDay, ...]


class AuditLine(_Reading):
    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    lease_id: str | None
    before: Any
    after: Any
    reason: str


T = TypeVar("T")


def read(kind: type[T], document: object) -> T:
    """The document as typed values; Unreachable where it isn't what the API promises."""
    try:
        return TypeAdapter(kind).validate_python(document, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise Unreachable(
            f"The platform's answer is not understood ({place}: {first['msg']}).",
            hint="It may be newer or older than this command; run the `sublet` that belongs to it.",
        ) from None


def read_members(document: object) -> dict[str, Any]:
    """The document, which must be an object."""
    return read(dict[str, Any], document)
