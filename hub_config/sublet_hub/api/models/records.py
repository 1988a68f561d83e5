"""Usage, notices and audit records as JSON."""

from __future__ import annotations

from pydantic import JsonValue

from sublet_hub.api.models.fields import Answer, Moment


class DayModel(Answer):
    date: str
    gpu_seconds: int
    cost_microunits: int


class UsageModel(Answer):
    """An account's use by day, in the time zone of its quota, oldest day first."""

    account: str
    currency: str
    time_zone: str
    days: list[DayModel]
    gpu_seconds: int
    cost_microunits: int


class NoticeModel(Answer):
    """A warning before a stop."""

    id: str
    lease_id: str
    user: str
    reason: str
    message: str
    deadline_at: Moment
    written_at: Moment
    withdrawn_at: Moment | None
    lead_seconds: int


class AuditModel(Answer):
    """Who did what to whom, before, after and why."""

    number: int
    at: Moment
    actor: str
    action: str
    subject: str
    lease_id: str | None
    before: JsonValue
    after: JsonValue
    reason: str
