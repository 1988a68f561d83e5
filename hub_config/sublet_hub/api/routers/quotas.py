"""Quotas, at /hub/api/quotas (for hub tokens) and /services/sublet/api/quotas (where the pages' cookie goes)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from sublet_hub.api import present
from sublet_hub.api.asking import Api, ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.fields import LONGEST_NAME, PRINTABLE
from sublet_hub.api.models.quotas import LimitRequest, QuotaChangeModel, QuotaModel, QuotaPatch, QuotaPut
from sublet_hub.api.routing import (
    WRITES,
    PageSize,
    StrictRoute,
    answer,
    answer_page,
    page_of_list,
    problems,
)
from sublet_hub.api.writing import Produce, Writing, Written
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import DEFAULT, Subject, parse_account
from sublet_hub.domain.errors import NoQuota, NotFound
from sublet_hub.domain.quota import Limit, Quota, What
from sublet_hub.storage import quotas
from sublet_hub.storage.books import Books
from sublet_hub.storage.quotas import QuotaChange, QuotaReading

HUB_PREFIX = "/hub/api/quotas"
OWN_PREFIX = "/services/sublet/api/quotas"

QUOTAS = TypeAdapter(list[QuotaModel])

PathName = Annotated[str, Path(min_length=1, max_length=LONGEST_NAME, pattern=PRINTABLE)]
SubjectOf = Callable[..., Awaitable[Subject]]


async def user_subject(name: PathName) -> Subject:
    return accounts.user(name)


async def group_subject(name: PathName) -> Subject:
    return accounts.group(name)


async def default_subject() -> Subject:
    return DEFAULT


async def list_quotas(
    request: Request,
    who: Asker,
    api: ApiParts,
    limit: PageSize = 50,
    after: Annotated[
        str | None, Query(max_length=300, pattern=PRINTABLE, description="Subject of the last item before.")
    ] = None,
) -> Response:
    """Quotas of all subjects that have one of their own; the default's comes first."""
    who.must_read_all()
    start = None if after is None else DEFAULT if after == "default" else parse_account(after, field="after")
    found = await api.database.run(quotas.list_own, start, limit + 1)
    return answer_page(
        request, QUOTAS, found, limit, cursor=lambda reading: str(reading.subject), present=present.quota
    )


async def read_quota(subject: Subject, who: Principal, api: Api) -> Response:
    """A quota as it stands, for those who may see it."""
    if subject not in who.accounts:
        who.must_read_all()
    try:
        reading = await api.database.look_up(quotas.read, subject)
    except NoQuota:
        await _must_exist(subject, who, api)
        raise
    if not reading.own:  # else it is there, whatever the hub says of the name by now
        await _must_exist(subject, who, api)
    return answer(present.quota(reading))


async def _must_exist(subject: Subject, who: Principal, api: Api) -> None:
    if subject not in who.accounts and not await api.authenticator.exists(subject):
        raise NotFound(f"The hub has no {subject.kind} {subject.name!r}.", field="name")


async def _put(subject: Subject, body: QuotaPut, writing: Writing) -> Response:
    writing.who.must_write_quotas()
    await _must_exist(subject, writing.who, writing.api)
    quota = Quota(tuple(_limit(each, each.limit) for each in body.limits), body.time_zone)

    def put_quota(books: Books) -> Written:
        change = quotas.set_quota(books, subject, quota, actor=writing.who.actor, why=body.why)
        return _changed(change, books)

    return await _told(writing, put_quota)


async def _patch(subject: Subject, body: QuotaPatch, writing: Writing) -> Response:
    writing.who.must_write_quotas()
    await _must_exist(subject, writing.who, writing.api)
    changes = tuple(_limit(each, each.limit) for each in body.limits if each.limit is not None)
    removed = tuple(_limit(each, 0) for each in body.limits if each.limit is None)

    def patch_quota(books: Books) -> Written:
        change = quotas.patch_quota(
            books, subject, changes, removed, body.time_zone, actor=writing.who.actor, why=body.why
        )
        return _changed(change, books)

    return await _told(writing, patch_quota)


async def _delete(subject: Subject, writing: Writing) -> Response:
    writing.who.must_write_quotas()

    def delete_quota(books: Books) -> Written:
        quotas.delete_quota(books, subject, actor=writing.who.actor, why="")
        return Written(204, "")

    return await _told(writing, delete_quota)


async def _told(writing: Writing, change: Produce) -> Response:
    """Carry out a change. It may move the deadlines of many, and they hear of it at once."""
    response = await writing.write(change)
    writing.api.streams.look_soon()
    return response


def _limit(each: LimitRequest, limit: int) -> Limit:
    return Limit(What(each.what), limit, each.window, each.flavor)


def _changed(change: QuotaChange, books: Books) -> Written:
    reading: QuotaReading | None = change.reading
    assert reading is not None  # what was just set is there
    return Written.of(present.quota_change(change, reading, books.clock.now_ms()))


def quota_router(prefix: str, *, in_schema: bool) -> APIRouter:
    """The resource under one of its two addresses; only one stands in the document."""
    router = APIRouter(prefix=prefix, route_class=StrictRoute, include_in_schema=in_schema, tags=["quotas"])
    for path in ("", "/"):
        router.add_api_route(
            path,
            list_quotas,
            response_model=list[QuotaModel],
            responses={**problems(), **page_of_list()},
            include_in_schema=in_schema and not path,
            operation_id="list_quotas",
        )
    _add(router, "/users/{name}", "user", user_subject)
    _add(router, "/groups/{name:path}", "group", group_subject)
    _add(router, "/default", "default", default_subject)
    return router


def _add(router: APIRouter, path: str, kind: str, subject_of: SubjectOf) -> None:
    """The four methods of one kind of subject."""

    async def read(who: Asker, api: ApiParts, subject: Subject = Depends(subject_of)) -> Response:
        return await read_quota(subject, who, api)

    async def put(body: QuotaPut, writing: Writing, subject: Subject = Depends(subject_of)) -> Response:
        return await _put(subject, body, writing)

    async def patch(body: QuotaPatch, writing: Writing, subject: Subject = Depends(subject_of)) -> Response:
        return await _patch(subject, body, writing)

    async def delete(writing: Writing, subject: Subject = Depends(subject_of)) -> Response:
        return await _delete(subject, writing)

    for method, handler, summary in (
        ("GET", read, f"Read the quota of a {kind}: its own, or the default's where that rules it"),
        ("PUT", put, f"Set the quota of a {kind}, whole"),
        ("PATCH", patch, f"Change single limits of the quota of a {kind}"),
        ("DELETE", delete, f"Take away a {kind}'s own quota, so that the default's rules it"),
    ):
        router.add_api_route(
            path,
            cast(Callable[..., Awaitable[Response]], handler),
            methods=[method],
            summary=summary if kind != "default" else summary.replace("a default", "the default"),
            status_code=204 if method == "DELETE" else 200,
            response_model={"GET": QuotaModel, "DELETE": None}.get(method, QuotaChangeModel),
            responses=problems(404, *(() if method == "GET" else (409,) if method == "DELETE" else WRITES)),
            operation_id=f"{method.lower()}_{kind}_quota",
        )
