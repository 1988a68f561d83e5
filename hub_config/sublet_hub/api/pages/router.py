"""The pages: a shell rendered here, filled by ES modules from the same JSON API that everybody else uses."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import sublet_hub
from sublet_hub.api.asking import PageAsker, PageSession
from sublet_hub.api.pages import rendering
from sublet_hub.api.session import PREFIX

HERE = Path(__file__).parent
SHARED_STATIC = Path(sublet_hub.__file__).parent / "web" / "static"
"""Design tokens that the hub's pages use too; plain files, so that api and hub import nothing of each other."""

router = APIRouter(prefix=PREFIX.rstrip("/"), include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/")
async def usage_page(request: Request, session: PageAsker) -> Response:
    """What the person who is signed in holds, has used and has left."""
    return _page(request, "usage.html", session, 200)


@router.get("/admin")
async def admin_page(request: Request, session: PageAsker) -> Response:
    """Live leases, pools, quotas and the audit record. For quota admins; others are told so."""
    if not session.principal.reads_all:
        return _page(request, "forbidden.html", session, 403)
    return _page(request, "admin.html", session, 200)


@router.get("/models")
async def models_page(request: Request, session: PageAsker) -> Response:
    """What models there are, on what terms, and what they cost; licences are accepted here."""
    who = session.principal
    groups = [str(account) for account in who.accounts if account.kind == "group" and who.accepts_for(account)]
    return _page(request, "models.html", session, 200, groups_to_accept_for=groups)


def mount_static(app: Starlette) -> None:
    """Serve the pages' files. They hold no secret and need no session."""
    app.mount(f"{PREFIX}static/shared", RevalidatedFiles(directory=SHARED_STATIC), name="shared-static")
    app.mount(f"{PREFIX}static", RevalidatedFiles(directory=HERE / "static"), name="pages-static")


class RevalidatedFiles(StaticFiles):
    """Static files that a browser asks about every time (mostly hearing 304), so that modules never mix versions."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _page(request: Request, template: str, session: PageSession, status: int, **more: object) -> Response:
    values: dict[str, object] = {
        "user": session.principal.name,
        "contact": request.app.state.contact,
        "csrf_token": session.csrf_token,
        "reads_all": session.principal.reads_all,
        "writes_quotas": session.principal.writes_quotas,
        **more,
    }
    return rendering.page(template, status, values)
