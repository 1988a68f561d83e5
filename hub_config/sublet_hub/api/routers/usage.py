"""What one has left and what was used, for people who look at their own; quotas by subject are in `quotas`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from sublet_hub.api import present, presenting_models, reads
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.fields import AccountName, GivenMoment, ms_of
from sublet_hub.api.models.model_catalogue import ModelUseModel
from sublet_hub.api.models.quotas import OwnQuotaModel
from sublet_hub.api.models.records import UsageModel
from sublet_hub.api.routing import StrictRoute, Whole, answer, problems
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject, parse_account
from sublet_hub.domain.errors import InvalidRequest, NotAllowed

LONGEST_DAYS = 366
SHOWN_DAYS = 30
DAY_MS = 24 * 3_600_000

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
    of = _account_of(who, account)
    time_zone, used = await api.database.run(reads.daily_use, of, days)
    return answer(present.usage(of, api.currency, time_zone, used))


@router.get("/model-use", operation_id="read_model_use", response_model=ModelUseModel, responses=problems())
async def read_model_use(
    who: Asker,
    api: ApiParts,
    account: Annotated[AccountName | None, Query(description="The asker's own where it is left out.")] = None,
    since: Annotated[
        GivenMoment | None, Query(description="From that day on, a year back at most; 30 days where left out.")
    ] = None,
) -> Response:
    """What an account used of each model by day: one's own accounts; with `custom:quotas:read` any."""
    of = _account_of(who, account)
    now_ms = api.now_ms
    since_ms = now_ms - SHOWN_DAYS * DAY_MS if since is None else ms_of(since)
    since_ms = min(max(since_ms, now_ms - (LONGEST_DAYS - 1) * DAY_MS), now_ms)
    time_zone, used = await api.database.run(reads.model_use, of, since_ms)
    return answer(presenting_models.model_use(of, api.currency, time_zone, since_ms, used))


def _account_of(who: Principal, account: str | None) -> Subject:
    """The account that is named, if the asker may see its use."""
    if account is None and who.kind != "user":
        raise InvalidRequest("Say which account: a service has none of its own.", field="account")
    of = accounts.user(who.name) if account is None else parse_account(account)
    if of not in who.accounts:
        who.must_read_all()
    return of
