"""The problem document (RFC 9457): how every refusal and every failure looks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sublet_hub.api.models.fields import Answer, Moment

PROBLEM_TYPE = "application/problem+json"
PROBLEM_BASE = "https://sublet.dev/problems/"


class BoundLimit(Answer):
    """Which limit of a quota refused."""

    what: str
    limit: int
    window: str | None
    flavor: str | None


class FieldFault(Answer):
    """One of several fields that are wrong."""

    field: str
    detail: str


class Problem(Answer):
    """Why a request was refused or failed. `type` is stable, `detail` is a sentence for people."""

    type: Annotated[str, Field(examples=[PROBLEM_BASE + "quota-exceeded"])]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Field(description="Path of the request.")]
    field: Annotated[str | None, Field(description="The field that is wrong, such as `limits[0].limit`.")] = None
    errors: Annotated[list[FieldFault] | None, Field(description="All fields that are wrong, if more than one.")] = (
        None
    )
    limit: BoundLimit | None = None
    subject: Annotated[str | None, Field(description="Whose quota the limit stands in.")] = None
    retry_at: Annotated[Moment | None, Field(description="When it is worth trying again.")] = None
