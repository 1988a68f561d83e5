"""The published document: what FastAPI derives from the routes, with problems, security and stable wording."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from sublet_hub.api.models.problem import Problem

TITLE = "Sublet"
VERSION = "1"
"""Of the API, not of the program: it changes when something breaks for clients."""

DESCRIPTION = """\
Leases, quotas, usage and notices of a Sublet platform.

Show a hub token as `Authorization: Bearer TOKEN` (or `token TOKEN`). It needs `access:services!service=sublet`, or
one of `custom:quotas:read` (see everybody's), `custom:quotas:write` (set quotas, stop leases),
`custom:leases:write` (ask for leases on behalf of users; for spawners), `custom:models:serve` and
`custom:models:lease` (both for the gateway).

Amounts are integers in the unit that their name ends with. Times are RFC 3339, UTC. Errors are problem documents
(RFC 9457) with a stable `type`. Lists are paged by the `Link` header. Unknown fields and query parameters are
refused. The quota resource is also at `/services/sublet/api/quotas`.
"""
OPEN_OPERATIONS = frozenset({"read_health", "read_metrics", "read_openapi"})
TAGS = (
    ("quotas", "Limits of users, groups and of all others. Changes take effect on running leases at once."),
    ("leases", "Who holds what."),
    ("flavors", "What can be leased."),
    ("pools", "Where the GPUs are."),
    ("models", "Models, and the licences they are under."),
    ("calls", "Calls of models, as the gateway has them booked."),
    ("usage", "What was used, and what is left."),
    ("notices", "Warnings before a stop."),
    ("audit", "Who did what, when and why."),
    ("platform", "The platform as a whole, and the api itself."),
)


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the app."""
    made = get_openapi(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in TAGS],
    )
    components = made["components"]
    components["schemas"] |= _problem_schemas()
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"] = dict(sorted(components["schemas"].items()))
    components["securitySchemes"] = {
        "hubToken": {"type": "http", "scheme": "bearer", "description": "A token of the hub."}
    }
    for operations in made["paths"].values():
        for operation in operations.values():
            operation["security"] = [] if operation["operationId"] in OPEN_OPERATIONS else [{"hubToken": []}]
    return made


def _problem_schemas() -> dict[str, Any]:
    _, schema = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def install(app: FastAPI) -> None:
    """Make the app publish this document, made once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this as the way
