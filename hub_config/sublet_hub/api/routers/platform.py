"""What concerns the platform as a whole: is it well, its metrics, the api's document."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sublet_hub.api import present
from sublet_hub.api.asking import ApiParts, Asker
from sublet_hub.api.metrics import CONTENT_TYPE
from sublet_hub.api.models.catalog import PlatformModel
from sublet_hub.api.models.fields import Answer
from sublet_hub.api.routing import StrictRoute, answer, problems
from sublet_hub.domain.errors import NotAllowed
from sublet_hub.storage import reporting

OPENAPI_PATH = "/services/sublet/api/openapi.json"

OPEN = (422, 500)

router = APIRouter(route_class=StrictRoute, tags=["platform"])


class HealthModel(Answer):
    """The api answers."""

    status: str


@router.get(
    "/services/sublet/health",
    operation_id="read_health",
    response_model=HealthModel,
    responses=problems(every=OPEN),
)
async def read_health() -> Response:
    """Whether the api answers at all; it looks at nothing else."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/services/sublet/metrics",
    operation_id="read_metrics",
    response_class=Response,
    responses={
        **problems(403, 503, every=OPEN),
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def read_metrics(request: Request, api: ApiParts) -> Response:
    """Metrics for Prometheus. At the api's own port only: not to be had through the proxy."""
    if "x-forwarded-for" in request.headers:
        raise NotAllowed("Metrics are to be had at the api's own port only.")
    return Response(await api.database.run(lambda _: api.metrics.text()), media_type=CONTENT_TYPE)


@router.get(
    "/services/sublet/api/platform",
    operation_id="read_platform",
    response_model=PlatformModel,
    responses=problems(),
)
async def read_platform(who: Asker, api: ApiParts) -> Response:
    """Whether leases can be granted at all: flavors are offered, the database answers, the meter is alive."""
    who.must_read_all()
    return answer(present.platform(await api.database.run(reporting.platform)))


@router.get(
    OPENAPI_PATH,
    operation_id="read_openapi",
    response_model=dict[str, object],
    responses=problems(every=OPEN),
)
async def read_openapi(request: Request) -> Response:
    """This document."""
    return JSONResponse(request.app.openapi())
