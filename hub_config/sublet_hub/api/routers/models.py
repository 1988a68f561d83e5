"""Models: what there is, on what terms; and accepting a licence."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from sublet_hub.api import presenting_models as present
from sublet_hub.api import reads
from sublet_hub.api.asking import Api, ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.allowances import ModelName
from sublet_hub.api.models.fields import LONGEST_NAME, PRINTABLE
from sublet_hub.api.models.model_catalogue import AcceptanceModel, AcceptanceRequest, ModelDetail, ModelSummary
from sublet_hub.api.routing import (
    WRITES,
    PageSize,
    StrictRoute,
    Whole,
    answer,
    answer_list,
    answer_page,
    page_of_list,
)
from sublet_hub.api.routing import problems as problem_responses
from sublet_hub.api.writing import Writing, Written
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject, parse_account
from sublet_hub.domain.errors import Conflict, NotAllowed, NotFound
from sublet_hub.domain.models import Model
from sublet_hub.storage import accepting
from sublet_hub.storage.books import Books

MODELS = TypeAdapter(list[ModelSummary])
ACCEPTANCES = TypeAdapter(list[AcceptanceModel])

router = APIRouter(prefix="/services/sublet/api", route_class=StrictRoute, tags=["models"])

PathModel = Annotated[ModelName, Path()]


@router.get("/models", operation_id="list_models", response_model=list[ModelSummary], responses=problem_responses())
async def list_models(who: Asker, api: ApiParts) -> Response:
    """All models of the catalogue, and whether the asker has accepted their licences. The list is whole."""
    books = api.database.books
    accepted = await api.database.run(accepting.accepted_by, who.accounts)
    counting = await _counting(who, api)
    return answer_list(
        MODELS,
        (
            present.model(each, books.catalog, accepted, counting, on_disk=api.shelf.is_on_disk(each))
            for each in books.models.models.values()
        ),
    )


@router.get("/models/{name}", operation_id="read_model", response_model=ModelDetail, responses=problem_responses(404))
async def read_model(name: PathModel, who: Asker, api: ApiParts) -> Response:
    """One model, with the text of its licence where that is known."""
    model = api.database.books.models.model(name)
    accepted = await api.database.run(accepting.accepted_by, who.accounts)
    detail = present.model_detail(
        model,
        api.database.books.catalog,
        accepted,
        await _counting(who, api),
        on_disk=api.shelf.is_on_disk(model),
        text=api.shelf.licence_texts.get(model.licence.name),
    )
    return answer(detail)


async def _counting(who: Principal, api: Api) -> tuple[Subject, ...]:
    """The accounts whose acceptances count for the asker: in a server those of its lease, else all of theirs."""
    if who.server is None:
        return who.accounts
    lease = await api.database.look_up(reads.running_lease, who.name, who.server)
    own = accounts.user(who.name)
    return (own,) if lease is None else (own, lease.account)


@router.post(
    "/models/{name}/acceptance",
    operation_id="accept_licence",
    response_model=AcceptanceModel,
    responses=problem_responses(404, *WRITES),
)
async def accept_licence(name: PathModel, body: AcceptanceRequest, writing: Writing) -> Response:
    """Accept the licence of a model, for oneself or, as its admin, for a group. All models under that licence may
    then be called at once, and read by servers that start from then on. Accepting it again changes nothing."""
    who, api = writing.who, writing.api
    if who.kind != "user":
        raise NotAllowed("A service accepts no licence: a person does.")
    account = accounts.user(who.name) if body.account is None else parse_account(body.account)
    if not who.accepts_for(account):
        raise NotAllowed(f"Only an admin of {account} accepts licences for it.", field="account")
    model = api.database.books.models.model(name)
    _check_is_present_licence(model, body)
    if account not in who.accounts and not await api.authenticator.exists(account):
        raise NotFound(f"The hub has no {account.kind} {account.name!r}.", field="account")
    why = "" if who.server is None else "by a program in a server of theirs"

    def accept(books: Books) -> Written:
        accepted = accepting.accept(books, account, body.licence, body.version, actor=who.actor, why=why)
        return Written.of(present.acceptance(accepted))

    return await writing.write(accept)


def _check_is_present_licence(model: Model, body: AcceptanceRequest) -> None:
    licence = model.licence
    if not licence.gated:
        raise Conflict(f"{model.name} is under {licence.title}, which needs no acceptance.")
    if (body.licence, body.version) != (licence.name, licence.version):
        raise Conflict(f"{model.name} is under {licence.name} of version {licence.version} now. Read that one first.")


@router.get(
    "/acceptances",
    operation_id="list_acceptances",
    response_model=list[AcceptanceModel],
    responses={**problem_responses(), **page_of_list()},
)
async def list_acceptances(
    request: Request,
    who: Asker,
    api: ApiParts,
    licence: Annotated[str | None, Query(min_length=1, max_length=LONGEST_NAME, pattern=PRINTABLE)] = None,
    after: Annotated[Whole, Query(ge=0, lt=2**53, description="Number of the last item before.")] = 0,
    limit: PageSize = 50,
) -> Response:
    """Who accepted which licence, oldest first; with `custom:quotas:read`."""
    who.must_read_all()
    found = await api.database.run(accepting.listed, licence, after, limit + 1)
    return answer_page(
        request, ACCEPTANCES, found, limit, cursor=lambda each: str(each.number), present=present.acceptance
    )
