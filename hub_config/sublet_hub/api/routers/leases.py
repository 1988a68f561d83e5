"""Leases: who holds what, asking for one, and stopping one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from sublet_hub.api import present, reads
from sublet_hub.api.asking import Api, ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.fields import (
    LEASE_ID,
    LONGEST_NAME,
    PRINTABLE,
    AccountName,
    GivenMoment,
    StateName,
    ms_of,
)
from sublet_hub.api.models.leases import (
    GrantedLease,
    KeepRequest,
    LeaseDetail,
    LeaseModel,
    LeaseRequestModel,
    StopRequest,
)
from sublet_hub.api.routing import WRITES, PageSize, StrictRoute, answer, answer_page, page_of_list, problems
from sublet_hub.api.writing import Writing, Written
from sublet_hub.domain.accounts import parse_account
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.errors import NotAllowed, PublicError
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason, Lease, LeaseState
from sublet_hub.domain.model_leases import given_back_for
from sublet_hub.storage import accepting, leasing, planned
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import LeaseFilter

LEASES = TypeAdapter(list[LeaseModel])

router = APIRouter(prefix="/services/sublet/api/leases", route_class=StrictRoute, tags=["leases"])


UserName = Annotated[str, Query(min_length=1, max_length=LONGEST_NAME, pattern=PRINTABLE)]
LeaseId = Annotated[str, Path(pattern=LEASE_ID)]


async def lease_filter(
    who: Asker,
    api: ApiParts,
    user: UserName | None = None,
    account: Annotated[AccountName | None, Query()] = None,
    state: Annotated[list[StateName] | None, Query(description="May stand there more than once.")] = None,
    since: Annotated[GivenMoment | None, Query(description="Only leases that had not ended by then.")] = None,
) -> LeaseFilter:
    """Which leases to list, narrowed to those that the asker may see."""
    if not (who.reads_all or who.spawns or _is_of_holder(user, account, who, api)):
        if who.kind != "user" or user not in {None, who.name}:
            who.must_read_all()
        user = who.name
    return LeaseFilter(
        user=user,
        account=None if account is None else parse_account(account),
        states=frozenset(map(LeaseState, state)) if state else None,
        since_ms=None if since is None else ms_of(since),
    )


@router.get(
    "", operation_id="list_leases", response_model=list[LeaseModel], responses={**problems(), **page_of_list()}
)
async def list_leases(
    request: Request,
    api: ApiParts,
    wanted: Annotated[LeaseFilter, Depends(lease_filter)],
    after: Annotated[str | None, Query(pattern=LEASE_ID, description="Id of the last item before.")] = None,
    limit: PageSize = 50,
) -> Response:
    """Leases, newest first: one's own; with `custom:quotas:read` all."""
    found = await api.database.run(reads.list_leases, wanted, after, limit + 1)
    now_ms = api.now_ms
    return answer_page(
        request,
        LEASES,
        found,
        limit,
        cursor=lambda lease: lease.id,
        present=lambda lease: present.lease(lease, now_ms),
    )


@router.post(
    "",
    operation_id="request_lease",
    status_code=201,
    response_model=GrantedLease,
    responses=problems(404, *WRITES),
)
async def request_lease(body: LeaseRequestModel, writing: Writing) -> Response:
    """Ask for a lease on a user's behalf; for spawners. An open lease of the same server is ended first. The gateway
    may ask for those of models' servers, for the user and account that the settings name."""
    who, metrics = writing.who, writing.api.metrics
    wanted = LeaseRequest(
        user=body.user,
        account=parse_account(body.account),
        flavor=body.flavor,
        tier=Tier(body.tier),
        kind=body.kind,
        server_name=body.server_name,
        groups=body.groups,
    )
    holder = writing.api.model_holder
    if not (who.leases_for_models and holder is not None and holder.may_ask(wanted)):
        who.must_spawn()

    def grant_lease(books: Books) -> Written:
        granted = leasing.grant(books, wanted, actor=who.actor)
        models = accepting.readable_in(books, granted)
        return Written.of(present.granted_lease(granted, models, books.clock.now_ms()), 201)

    try:
        response = await writing.write(
            grant_lease, around=lambda books: leasing.refusals_audited(books, wanted, actor=who.actor)
        )
    except PublicError as refused:
        metrics.decided(refused.type_name)
        raise
    metrics.decided(None)
    return response


@router.get("/{id}", operation_id="read_lease", response_model=LeaseDetail, responses=problems(404))
async def read_lease(id: LeaseId, who: Asker, api: ApiParts) -> Response:  # noqa: A002 — the path's name
    """One lease; its owner and spawners see its devices too."""
    lease = await visible_lease(id, who, api)
    devices = who.is_user(lease.user) or who.spawns
    return answer(present.lease_detail(lease, api.now_ms, devices=devices))


@router.post("/{id}/stop", operation_id="stop_lease", response_model=LeaseModel, responses=problems(404, *WRITES))
async def stop_lease(id: LeaseId, writing: Writing, body: StopRequest | None = None) -> Response:  # noqa: A002
    """Stop a lease: its owner at once or `at` a moment (planned 30 times an hour at most), a quota admin with notice
    unless `immediately`, a spawner for a `reason`, the gateway that of a model's server. At once means that the
    server is asked to end now, and may save until the answer's `deadline_at`."""
    who, body = writing.who, body or StopRequest()
    lease = await visible_lease(id, who, writing.api)
    if body.at is not None:
        return await _plan_stop(lease, body, ms_of(body.at), writing)
    reason = _stop_reason(lease, who, body, writing.api)
    gives_back = _serves_by(lease, who, writing.api)  # who does needs no warning of it
    if reason is EndReason.IDLE and not gives_back:
        return await _plan_idle_end(lease, body.why, writing)
    with_notice = reason is EndReason.ADMIN and not (body.immediately or gives_back)

    def order_end(books: Books) -> Written:
        if with_notice:
            stopped = leasing.order_end(books, id, at_ms=None, reason=reason, actor=who.actor, why=body.why)
        else:
            stopped = leasing.stop_at_once(
                books, id, reason=reason, actor=who.actor, why=body.why, quietly=gives_back
            )
        return Written.of(present.lease(stopped, books.clock.now_ms()))

    return await writing.write(order_end)


async def _plan_idle_end(lease: Lease, why: str, writing: Writing) -> Response:
    if lease.kind != "worker":
        raise NotAllowed("Whether a server is idle is for the meter to say.", field="reason")

    def plan_idle_end(books: Books) -> Written:
        planned_lease = planned.plan_idle_end(books, lease.id, actor=writing.who.actor, why=why)
        return Written.of(present.lease(planned_lease, books.clock.now_ms()))

    return await writing.write(plan_idle_end)


async def _plan_stop(lease: Lease, body: StopRequest, at_ms: int, writing: Writing) -> Response:
    who = writing.who
    if not who.is_user(lease.user) or body.reason is not None:
        raise NotAllowed("Only the lease's own user may have it stop later.", field="at")

    def plan_stop(books: Books) -> Written:
        planned_lease = planned.plan_stop(books, lease.id, at_ms, actor=who.actor, why=body.why)
        return Written.of(present.lease(planned_lease, books.clock.now_ms()))

    return await writing.write(plan_stop)


@router.post("/{id}/keep", operation_id="keep_lease", response_model=LeaseModel, responses=problems(404, *WRITES))
async def keep_lease(id: LeaseId, writing: Writing, body: KeepRequest | None = None) -> Response:  # noqa: A002
    """Take back one's own planned stop, or that of an idle lease, and count idleness from now on. Refused with
    `deadline-stands` where the deadline is a quota's, a limit's, the owner's or an admin's. A spawner takes back the
    idle end of a Dask worker."""
    who, why = writing.who, "" if body is None else body.why
    lease = await visible_lease(id, who, writing.api)
    by_spawner = who.spawns and lease.kind == "worker"
    if not (who.is_user(lease.user) or by_spawner):
        raise NotAllowed("Only the lease's own user may keep it.")

    def keep(books: Books) -> Written:
        take_back = planned.unplan_idle_end if by_spawner else planned.keep
        kept = take_back(books, id, actor=who.actor, why=why)
        return Written.of(present.lease(kept, books.clock.now_ms()))

    return await writing.write(keep)


async def visible_lease(lease_id: str, who: Principal, api: Api) -> Lease:
    """The lease; to those whom it doesn't concern there is none."""
    lease = await api.database.look_up(reads.find_lease, lease_id)
    if not (who.is_user(lease.user) or who.reads_all or who.spawns or _serves_by(lease, who, api)):
        raise reads.no_such_lease(lease_id)
    return lease


def _is_of_holder(user: str | None, account: str | None, who: Principal, api: Api) -> bool:
    """Whether the gateway asks for the leases of whom its own are of."""
    holder = api.model_holder
    return who.leases_for_models and holder is not None and (user, account) == (holder.user, str(holder.account))


def _serves_by(lease: Lease, who: Principal, api: Api) -> bool:
    """Whether it is the lease of a model's server, and the gateway asks."""
    return who.leases_for_models and api.model_holder is not None and api.model_holder.has(lease)


def _stop_reason(lease: Lease, who: Principal, body: StopRequest, api: Api) -> EndReason:
    if _serves_by(lease, who, api):
        notice_ms = api.database.books.policy.margins.notice_ms
        return EndReason(body.reason) if body.reason else given_back_for(lease, api.now_ms, notice_ms)
    if who.spawns:
        return EndReason(body.reason or "user")
    if body.reason is not None:
        raise NotAllowed("Only spawners give a reason.", field="reason")
    if who.is_user(lease.user):
        return EndReason.USER
    who.must_write_quotas()
    return EndReason.ADMIN
