"""For the gateway alone: who calls, holding what calls may use, and booking what they used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from sublet_hub.api import presenting_models as present
from sublet_hub.api import reads
from sublet_hub.api.asking import Api, ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.allowances import (
    AllowanceModel,
    AllowancePost,
    AllowanceRequestModel,
    CallerModel,
    CallerRequest,
)
from sublet_hub.api.models.fields import LEASE_ID
from sublet_hub.api.routing import WRITES, StrictRoute, answer, problems
from sublet_hub.api.writing import Writing, Written
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import parse_account
from sublet_hub.domain.allowances import AllowanceRequest, CallCounts, Post, Renewal
from sublet_hub.domain.amounts import MS_PER_SECOND, Amount, Micros
from sublet_hub.domain.errors import CallerUnknown, NotAllowed, NotSignedIn, PublicError
from sublet_hub.domain.lease import Lease
from sublet_hub.storage import accepting, allowing
from sublet_hub.storage.allowing import Allowed
from sublet_hub.storage.books import Books

VALID_SECONDS = 30
"""How long the gateway may believe who a caller is."""

AllowanceId = Annotated[str, Path(pattern=LEASE_ID)]

router = APIRouter(prefix="/services/sublet/api", route_class=StrictRoute, tags=["calls"])


@router.post(
    "/model-callers", operation_id="identify_caller", response_model=CallerModel, responses=problems(413, 415)
)
async def identify_caller(body: CallerRequest, who: Asker, api: ApiParts) -> Response:
    """Whose a token is, which account pays for its calls, and which models it may call; for the gateway. 401 with
    `caller-unknown` for a token that the hub doesn't know, or that is of a server whose lease is over."""
    who.must_serve_models()
    try:
        found = await _caller(body.token, api)
    except CallerUnknown:
        api.metrics.caller_identified("refused")
        raise
    api.metrics.caller_identified("known")
    return answer(found)


async def _caller(token: str, api: Api) -> CallerModel:
    try:
        caller = await api.authenticator.principal(token)
    except (NotSignedIn, NotAllowed) as refused:
        raise CallerUnknown(refused.message) from None
    if caller.kind != "user":
        raise CallerUnknown("A service has no account that could pay for calls.")
    lease = await _lease_of(caller, api)
    own = accounts.user(caller.name)
    account = own if lease is None else lease.account
    accepted = await api.database.look_up(accepting.accepted_by, (own, account))
    catalogue = api.database.books.models
    return present.caller(
        caller.name, account, None if lease is None else lease.id, catalogue, accepted, VALID_SECONDS
    )


async def _lease_of(caller: Principal, api: Api) -> Lease | None:
    """The lease of the server whose token it is; None for a user's own token."""
    if caller.server is None:
        return None
    lease = await api.database.look_up(reads.running_lease, caller.name, caller.server)
    if lease is None:
        raise CallerUnknown("The lease of the server with this token is over.")
    return lease


@router.post(
    "/allowances",
    operation_id="request_allowance",
    status_code=201,
    response_model=AllowanceModel,
    responses=problems(429, *WRITES),
)
async def request_allowance(body: AllowanceRequestModel, writing: Writing) -> Response:
    """Hold tokens and money for calls that a user is going to make on an account; for the gateway. 429 with
    `quota-exceeded` where a limit leaves less than is needed at least."""
    writing.who.must_serve_models()
    wanted = AllowanceRequest(
        user=body.user,
        account=parse_account(body.account),
        asked=_amount(body.tokens, body.money_microunits),
        least=_amount(body.tokens_min, body.money_min_microunits),
        lasts_ms=body.seconds * MS_PER_SECOND,
    )

    def allow(books: Books) -> Written:
        return Written.of(present.allowance(allowing.allow(books, wanted)), 201)

    try:
        response = await writing.write(allow)
    except PublicError as refused:
        writing.api.metrics.allowance_decided(refused.type_name)
        raise
    writing.api.metrics.allowance_decided(None)
    return response


@router.post(
    "/allowances/{id}/posts",
    operation_id="post_use",
    response_model=AllowanceModel,
    responses=problems(404, *WRITES),
)
async def post_use(id: AllowanceId, body: AllowancePost, writing: Writing) -> Response:  # noqa: A002
    """Book what calls used, then renew or release what is held; for the gateway. Posts are numbered, so that each is
    booked once however often it is sent. They are booked whatever the quotas say, up to a day after the allowance's
    end."""
    writing.who.must_serve_models()
    uses = tuple(CallCounts(use.model, use.calls, use.input_tokens, use.output_tokens) for use in body.uses)
    renewal = None
    if body.renew is not None:
        wanted = _amount(body.renew.tokens, body.renew.money_microunits)
        renewal = Renewal(wanted, body.renew.seconds * MS_PER_SECOND)
    posted = Post(body.number, uses, renewal, body.release)

    done: list[Allowed] = []

    def post_calls(books: Books) -> Written:
        done.append(allowing.post(books, id, posted))
        return Written.of(present.allowance(done[-1]))

    response = await writing.write(post_calls)
    for each in done:
        _count(each, writing.api)
    return response


def _amount(tokens: int, money: int) -> Amount:
    return Amount(money=Micros(money), tokens=tokens)


def _count(done: Allowed, api: Api) -> None:
    known = api.database.books.models.models
    for use, amount in done.booked:
        model = use.model if use.model in known else "unknown"
        api.metrics.calls_posted(model, use.calls, use.input_tokens, use.output_tokens, amount.money)
