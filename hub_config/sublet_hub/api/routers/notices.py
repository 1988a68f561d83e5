"""Notices: warnings before a stop."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter
from starlette.responses import Response

from sublet_hub.api import present, reads
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.models.fields import LEASE_ID
from sublet_hub.api.models.records import NoticeModel
from sublet_hub.api.routing import PageSize, StrictRoute, Truth, answer_list, problems

NOTICES = TypeAdapter(list[NoticeModel])

router = APIRouter(prefix="/services/sublet/api/notices", route_class=StrictRoute, tags=["notices"])


@router.get("", operation_id="list_notices", response_model=list[NoticeModel], responses=problems())
async def list_notices(
    who: Asker,
    api: ApiParts,
    current: Annotated[Truth, Query(description="Only those not withdrawn, of leases that are still open.")] = False,
    lease: Annotated[str | None, Query(pattern=LEASE_ID, description="Of that lease only.")] = None,
    limit: PageSize = 50,
) -> Response:
    """The newest notices: one's own; with `custom:quotas:read` all."""
    if who.kind != "user":
        who.must_read_all()
    user = None if who.reads_all else who.name
    found = await api.database.run(reads.list_notices, user, lease, current_only=current, limit=limit)
    return answer_list(NOTICES, map(present.notice, found))
