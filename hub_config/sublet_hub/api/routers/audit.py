"""Audit records: who did what, when and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from sublet_hub.api import present, reads
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.fields import LEASE_ID, PRINTABLE
from sublet_hub.api.models.records import AuditModel
from sublet_hub.api.routing import PageSize, StrictRoute, Whole, answer_page, page_of_list, problems
from sublet_hub.domain import accounts
from sublet_hub.storage.store import AuditFilter

RECORDS = TypeAdapter(list[AuditModel])

router = APIRouter(prefix="/services/sublet/api/audit", route_class=StrictRoute, tags=["audit"])

Word = Annotated[str, Query(min_length=1, max_length=300, pattern=PRINTABLE)]


@router.get(
    "", operation_id="list_audit", response_model=list[AuditModel], responses={**problems(), **page_of_list()}
)
async def list_audit(
    request: Request,
    who: Asker,
    api: ApiParts,
    subject: Word | None = None,
    lease: Annotated[str | None, Query(pattern=LEASE_ID)] = None,
    action: Word | None = None,
    after: Annotated[Whole, Query(ge=0, lt=2**53, description="Number of the last item before.")] = 0,
    limit: PageSize = 50,
) -> Response:
    """Records, newest first: those that concern oneself; with `custom:quotas:read` all."""
    wanted = AuditFilter(subjects=_subjects(who, subject), lease_id=lease, action=action)
    found = await api.database.run(reads.list_audit, wanted, after, limit + 1)
    return answer_page(
        request, RECORDS, found, limit, cursor=lambda record: str(record.number), present=present.audit_record
    )


def _subjects(who: Principal, subject: str | None) -> frozenset[str] | None:
    if who.reads_all:
        return None if subject is None else frozenset({subject})
    own = str(accounts.user(who.name))
    if who.kind != "user" or subject not in {None, own}:
        who.must_read_all()
    return frozenset({own})
