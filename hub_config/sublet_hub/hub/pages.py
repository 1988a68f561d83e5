"""How the hub serves our pages: our templates, our files beside JupyterHub's, and the headers of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyterhub.handlers.static import CacheControlStaticFilesHandler

from sublet_hub.hub import page_policy

HERE = Path(__file__).parent
TEMPLATES = HERE / "templates"
LOGO = HERE / "static" / "logo.svg"

STATIC_PREFIX = "sublet/"
STATIC_FOLDERS = (HERE / "static", HERE.parent / "web" / "static")
"""Where `/hub/static/sublet/…` is looked for. The second holds what the api's pages share."""

HEADERS = {"Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff"}


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


def tornado_settings(base_url: str = "/") -> dict[str, Any]:
    """What the hub's web server needs to serve our pages, below this path of the site."""
    policies = page_policy.tornado_settings(f"{base_url.rstrip('/')}/hub/static/")
    return {**policies, "headers": {**policies["headers"], **HEADERS}, "static_handler_class": StaticFiles}
