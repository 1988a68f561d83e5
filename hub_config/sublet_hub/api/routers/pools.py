"""Pools and their use."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import TypeAdapter
from starlette.responses import Response

from sublet_hub.api import present
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.models.catalog import PoolModel
from sublet_hub.api.routing import StrictRoute, answer_list, problems
from sublet_hub.storage import reporting

POOLS = TypeAdapter(list[PoolModel])

router = APIRouter(prefix="/services/sublet/api/pools", route_class=StrictRoute, tags=["pools"])


@router.get("", operation_id="list_pools", response_model=list[PoolModel], responses=problems())
async def list_pools(_who: Asker, api: ApiParts) -> Response:
    """All pools, and how much of each is leased now."""
    uses = await api.database.run(reporting.pools)
    return answer_list(POOLS, map(present.pool, uses))
