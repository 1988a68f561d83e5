"""What all routes of the API share: strict bodies and queries, answers, paging, documentation of problems."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl, urlencode

from fastapi import Query, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, TypeAdapter
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from sublet_hub.api.models.problem import PROBLEM_TYPE
from sublet_hub.api.problems import BodyTooLarge, UnsupportedMediaType
from sublet_hub.domain.errors import InvalidRequest

LARGEST_BODY = 64 * 1024
"""Bytes. A quota with all 50 limits has 10 KB."""

MOST_PARAMETERS = 1000
JSON_TYPE = "application/json"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
M = TypeVar("M", bound=BaseModel)


def _whole(value: object) -> object:
    """Digits only: Python would take ` +1_0 ` for a number as well."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise ValueError("it should be a whole number")
    return value


def _truth(value: object) -> object:
    if isinstance(value, str) and value not in {"true", "false"}:
        raise ValueError("it should be true or false")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Truth = Annotated[bool, BeforeValidator(_truth)]
PageSize = Annotated[Whole, Query(ge=1, le=200, description="The most items to give.")]


class StrictRequest(Request):
    """A request whose body is bounded and is read as strict JSON (no lone surrogates, no bottomless nesting)."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            chunks: list[bytes] = []
            size = 0
            async for chunk in self.stream():
                size += len(chunk)
                if size > LARGEST_BODY:
                    raise BodyTooLarge(f"A body has at most {LARGEST_BODY} bytes.")
                chunks.append(chunk)
            self._body = b"".join(chunks)
        return self._body

    async def json(self) -> Any:
        try:
            return from_json(await self.body())
        except ValueError as error:
            raise json.JSONDecodeError(str(error), "", 0) from None


class StrictRoute(APIRoute):
    """A route that refuses query parameters it doesn't know, bodies that are too large, and any but JSON."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        repeatable = {
            each.alias: _is_list(each.field_info.annotation)
            for each in get_flat_params(self.dependant)
            if isinstance(each.field_info, params.Query)
        }
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if request.scope["query_string"]:
                check_query(request.scope["query_string"], repeatable)
            request = StrictRequest(request.scope, request.receive)
            if takes_body and await request.body():
                check_media_type(request.headers.get("content-type", ""))
            return await handler(request)

        return strict


def _is_list(annotation: object) -> bool:
    return any(get_origin(each) is list for each in (annotation, *get_args(annotation)))


def check_query(query: bytes, repeatable: Mapping[str, bool]) -> None:
    """InvalidRequest for a parameter that isn't known, or that stands there twice and may not."""
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise InvalidRequest("There are too many query parameters.", field="query") from None
    seen: set[str] = set()
    for name, _ in pairs:
        if name not in repeatable:
            known = ", ".join(sorted(repeatable)) or "none"
            raise InvalidRequest(
                f"There is no such query parameter. Known here: {known}.", field=name[:100] or "query"
            )
        if name in seen and not repeatable[name]:
            raise InvalidRequest("This query parameter stands there twice.", field=name)
        seen.add(name)


def check_media_type(content_type: str) -> None:
    if content_type.partition(";")[0].strip().lower() != JSON_TYPE:
        raise UnsupportedMediaType(f"Send the body as JSON, with `Content-Type: {JSON_TYPE}`.")


def answer(model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(model.__pydantic_serializer__.to_json(model), status, headers, media_type=JSON_TYPE)


def answer_list(
    items: TypeAdapter[list[M]], models: Iterable[M], headers: Mapping[str, str] | None = None
) -> Response:
    return Response(items.dump_json(list(models)), headers=headers, media_type=JSON_TYPE)


def answer_page(
    request: Request,
    items: TypeAdapter[list[M]],
    found: Sequence[Any],
    limit: int,
    *,
    cursor: Callable[[Any], str],
    present: Callable[[Any], M],
) -> Response:
    """One page of a list, with a link to the next. `found` has one item more than the page where there is one."""
    page = found[:limit]
    headers = {}
    if len(found) > limit:
        pairs = [(name, value) for name, value in request.query_params.multi_items() if name != "after"]
        query = urlencode([*pairs, ("after", cursor(page[-1]))])
        headers["Link"] = f'<{request.scope["path"]}?{query}>; rel="next"'
    return answer_list(items, map(present, page), headers)


Responses = dict[int | str, dict[str, Any]]

_TEXTS = {
    401: "No token, or one that the hub does not know.",
    403: "The token lacks the scope, or a rule refuses.",
    404: "There is no such thing.",
    409: "It contradicts the present state.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A field is missing, unknown or wrong; `field` says which.",
    429: "A quota refuses (`limit` says which), or it was done too often; `retry_at` says when to try again.",
    500: "Something went wrong on our side.",
    503: "Something that the answer depends on does not answer.",
}
EVERY = (401, 403, 422, 500, 503)
WRITES = (409, 413, 415, 429)


def problems(*more: int, every: Sequence[int] = EVERY) -> Responses:
    """Documentation of the problems that a route may answer with."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _TEXTS[status], "content": content} for status in sorted({*every, *more})}


def page_of_list() -> Responses:
    """Documentation of the answer that is one page of a list."""
    description = 'Where the next page is, as `<...>; rel="next"` (RFC 8288); absent on the last one.'
    return {200: {"headers": {"Link": {"description": description, "schema": {"type": "string"}}}}}
