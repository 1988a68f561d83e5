"""How the hub serves our pages: our templates, our files beside JupyterHub's, and what pages may load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyterhub.handlers.static import CacheControlStaticFilesHandler

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
LOGO = HERE / "static" / "logo.svg"

STATIC_PREFIX = "sublet/"
STATIC_FOLDERS = (HERE / "static", HERE.parent / "web" / "static")
"""Where `/hub/static/sublet/…` is looked for. The second holds what the api's pages share."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; font-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "  # JupyterHub's page of users adds styles as it goes
    "img-src 'self' data:; "  # Bootstrap's stylesheet draws its arrows and ticks from data: addresses
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No script within a page: neither our templates nor those of JupyterHub, which we wrap for it, have any."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class StaticFiles(CacheControlStaticFilesHandler):
    """JupyterHub's static files, and under `sublet/` ours.

    The hub has no setting for more folders of static files, and pages must have their style while the api is away.
    """

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        if path.startswith(STATIC_PREFIX):
            name = path.removeprefix(STATIC_PREFIX)
            for folder in STATIC_FOLDERS:
                if (folder / name).is_file():
                    return super().get_absolute_path(str(folder), name)  # type: ignore[no-any-return]
        return super().get_absolute_path(root, path)  # type: ignore[no-any-return]

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        own = next((folder for folder in STATIC_FOLDERS if Path(absolute_path).is_relative_to(folder)), None)
        checked = super().validate_absolute_path(str(own or root), absolute_path)
        return None if checked is None else str(checked)


def tornado_settings() -> dict[str, Any]:
    """What the hub's web server needs to serve our pages."""
    return {"headers": HEADERS, "static_handler_class": StaticFiles}
