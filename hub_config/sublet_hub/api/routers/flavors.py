"""Flavors on offer: what a user could lease now, on which account, for how long, and why not."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter
from starlette.responses import Response

from sublet_hub.api import present
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.auth import Principal
from sublet_hub.api.models.catalog import OfferModel
from sublet_hub.api.models.fields import Name
from sublet_hub.api.routing import StrictRoute, answer_list, problems
from sublet_hub.domain.errors import InvalidRequest, NotAllowed
from sublet_hub.storage import reporting

OFFERS = TypeAdapter(list[OfferModel])

router = APIRouter(prefix="/services/sublet/api/flavors", route_class=StrictRoute, tags=["flavors"])


@router.get("", operation_id="list_flavors", response_model=list[OfferModel], responses=problems())
async def list_flavors(
    who: Asker,
    api: ApiParts,
    user: Annotated[Name | None, Query(description="For whom; spawners only.")] = None,
    group: Annotated[
        list[Name] | None, Query(max_length=1000, description="That user's groups; spawners only.")
    ] = None,
) -> Response:
    """All flavors, with each way to have them now or the reason why not: for oneself, or for a spawner's user."""
    name, groups = _for_whom(who, user, tuple(group or ()))
    offers = await api.database.run(reporting.offers, name, groups)
    return answer_list(OFFERS, (present.offer(each, api.currency) for each in offers))


def _for_whom(who: Principal, user: str | None, groups: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if who.spawns:
        if user is None:
            raise InvalidRequest("Say for whom.", field="user")
        return user, groups
    if groups or (user is not None and not who.is_user(user)):
        who.must_spawn()
    if who.kind != "user":
        raise NotAllowed("A service leases nothing for itself.")
    return who.name, who.groups
