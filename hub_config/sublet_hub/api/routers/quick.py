"""The one request that programs poll, a user's quota, past the framework's machinery for parameters.

It answers exactly as the documented route behind it, in about half of its time; a test holds the two together.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sublet_hub.api.asking import api_of, asker
from sublet_hub.api.models.fields import LONGEST_NAME, PRINTABLE
from sublet_hub.api.routers.quotas import HUB_PREFIX, read_quota
from sublet_hub.api.routing import check_query
from sublet_hub.domain import accounts
from sublet_hub.domain.errors import InvalidRequest

_PRINTABLE = re.compile(PRINTABLE)


async def read_user_quota(request: Request) -> Response:
    scope = request.scope
    scope["route"] = ROUTE  # for the metrics
    if scope["query_string"]:
        check_query(scope["query_string"], {})
    who = await asker(request)
    name = request.path_params["name"]
    if len(name) > LONGEST_NAME or not _PRINTABLE.match(name):
        raise InvalidRequest(f"A name has up to {LONGEST_NAME} characters, and no control characters.", field="name")
    return await read_quota(accounts.user(name), who, api_of(request))


ROUTE = Route(f"{HUB_PREFIX}/users/{{name}}", read_user_quota, methods=["GET"])
assert ROUTE.methods is not None
ROUTE.methods.discard("HEAD")
