"""What servers tell of themselves. It is shown, and may end an idle lease sooner; nothing is metered by it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter
from starlette.responses import Response

from sublet_hub.api import present, reads
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.models.activity import ActivityModel, ActivityReport
from sublet_hub.api.models.fields import GivenMoment, ms_of
from sublet_hub.api.routers.leases import LeaseId
from sublet_hub.api.routing import WRITES, StrictRoute, answer_list, problems
from sublet_hub.api.writing import NO_CONTENT, Writing, Written
from sublet_hub.domain.errors import NotAllowed
from sublet_hub.storage import activity
from sublet_hub.storage.books import Books

RECORDS = TypeAdapter(list[ActivityModel])
SHOWN_MS = 3_600_000
"""How far back is shown where nobody says since when."""

router = APIRouter(prefix="/services/sublet/api/leases/{id}/activity", route_class=StrictRoute, tags=["activity"])


@router.post(
    "",
    operation_id="report_activity",
    status_code=NO_CONTENT,
    response_class=Response,
    responses=problems(404, *WRITES),
)
async def report_activity(id: LeaseId, body: ActivityReport, writing: Writing) -> Response:  # noqa: A002
    """Tell how one's own lease was used, a record for each minute. Records must be of the lease's own time."""
    who = writing.who
    lease = await writing.api.database.look_up(reads.find_lease, id)
    if not who.is_user(lease.user):
        if who.reads_all:
            raise NotAllowed("Only the lease's own user tells how it is used.")
        raise reads.no_such_lease(id)
    records = [record.to_domain() for record in body.records]

    def report(books: Books) -> Written:
        activity.report(books, id, records)
        return Written(NO_CONTENT, "")

    return await writing.write(report)


@router.get("", operation_id="list_activity", response_model=list[ActivityModel], responses=problems(404))
async def list_activity(
    id: LeaseId,  # noqa: A002
    who: Asker,
    api: ApiParts,
    since: Annotated[
        GivenMoment | None, Query(description="Only records of later than that. The last hour's where left out.")
    ] = None,
) -> Response:
    """How a lease was used, by its server's own word, oldest minute first, a thousand at most: one's own; with
    `custom:quotas:read` any."""
    lease = await api.database.look_up(reads.find_lease, id)
    if not (who.is_user(lease.user) or who.reads_all):
        raise reads.no_such_lease(id)
    after_ms = api.now_ms - SHOWN_MS if since is None else ms_of(since)
    found = await api.database.run(activity.recent, id, after_ms)
    return answer_list(RECORDS, map(present.activity, found))
