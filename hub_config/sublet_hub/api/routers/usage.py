"""What one has left and what was used, for people who look at their own; quotas by subject are in `quotas`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from sublet_hub.api import present, reads
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.models.fields import AccountName
from sublet_hub.api.models.quotas import OwnQuotaModel
from sublet_hub.api.models.records import UsageModel
from sublet_hub.api.routing import StrictRoute, Whole, answer, problems
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import parse_account
from sublet_hub.domain.errors import InvalidRequest, NotAllowed

LONGEST_DAYS = 366

router = APIRouter(prefix="/services/sublet/api", route_class=StrictRoute, tags=["usage"])


@router.get("/quota", operation_id="read_own_quota", response_model=OwnQuotaModel, responses=problems())
async def read_own_quota(who: Asker, api: ApiParts) -> Response:
    """What the asker has left on each account that may pay for them, and their open leases."""
    if who.kind != "user":
        raise NotAllowed("A service has no quota of its own.")
    readings = await api.database.run(reads.account_quotas, who.accounts)
    leases = await api.database.run(reads.open_leases, who.name)
    now_ms = api.now_ms
    return answer(
        OwnQuotaModel(
            user=who.name,
            accounts=[present.quota(reading) for reading in readings],
            leases=[present.lease(lease, now_ms) for lease in leases],
            currency=api.currency,
        )
    )


@router.get("/usage", operation_id="read_usage", response_model=UsageModel, responses=problems())
async def read_usage(
    who: Asker,
    api: ApiParts,
    account: Annotated[AccountName | None, Query(description="The asker's own where it is left out.")] = None,
    days: Annotated[Whole, Query(ge=1, le=LONGEST_DAYS, description="How many days back, today included.")] = 30,
) -> Response:
    """What an account was charged by day: one's own accounts; with `custom:quotas:read` any."""
    if account is None and who.kind != "user":
        raise InvalidRequest("Say which account: a service has none of its own.", field="account")
    of = accounts.user(who.name) if account is None else parse_account(account)
    if of not in who.accounts:
        who.must_read_all()
    time_zone, used = await api.database.run(reads.daily_use, of, days)
    return answer(present.usage(of, api.currency, time_zone, used))
