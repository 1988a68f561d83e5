"""Types of fields that several models share: names, texts, whole numbers, moments."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from sublet_hub.domain.amounts import LARGEST_LIMIT

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""Anything but control characters; JupyterHub's own rule for names of users and groups is no stricter."""

LONGEST_NAME = 255

LEASE_ID = r"^[0-9a-f]{32}$"

Name = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_NAME, pattern=PRINTABLE)]
"""A user's, group's, flavor's or server's name."""

ServerName = Annotated[StrictStr, Field(max_length=LONGEST_NAME, pattern=PRINTABLE)]
"""A named server's name; empty for the user's default one."""

AccountName = Annotated[StrictStr, Field(max_length=LONGEST_NAME + 6, pattern=r"^(user|group):[^\x00-\x1f\x7f]+$")]
"""Who pays: `user:NAME` or `group:NAME`."""

Text = Annotated[StrictStr, Field(max_length=500, pattern=PRINTABLE)]
"""A sentence for the audit record."""

Count = Annotated[StrictInt, Field(ge=0, le=LARGEST_LIMIT)]
"""A limit: a whole number, never a float, a bool or a string."""

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time", "examples": ["2026-01-31T12:00:00.000Z"]})]
"""RFC 3339, UTC, milliseconds."""


def _dated(value: object) -> object:
    """RFC 3339 only: a bare number would be taken for seconds since the epoch."""
    if not isinstance(value, str) or "T" not in value.upper():
        raise ValueError("it should be a moment such as 2026-01-31T12:00:00Z")
    return value


GivenMoment = Annotated[AwareDatetime, BeforeValidator(_dated)]
"""A moment that is sent to us: any RFC 3339 time, with its offset."""

TierName = Literal["guaranteed", "surplus"]
KindName = Literal["notebook", "worker"]
StateName = Literal["granted", "active", "ending", "ended", "void"]
WhatName = Literal["gpu_seconds", "money_microunits", "model_tokens", "gpus", "leases", "lease_seconds"]


class Request(BaseModel):
    """Base of bodies that come in: closed, so that a misspelt field is refused and not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """Base of bodies that go out."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@lru_cache(maxsize=4096)
def moment(at_ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339. The ends of windows come again and again."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def ms_of(given: datetime) -> int:
    """Milliseconds since the epoch."""
    return int(given.timestamp() * 1000)


def moment_or_none(at_ms: int | None) -> str | None:
    return None if at_ms is None else moment(at_ms)
