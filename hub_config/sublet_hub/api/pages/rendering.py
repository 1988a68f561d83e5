"""Renders the pages' templates, and says what a page may load (CSP 3)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from sublet_hub.api.session import PREFIX

TEMPLATES = Path(__file__).parent / "templates"

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def page(template: str, status: int, values: Mapping[str, object]) -> HTMLResponse:
    """A page whose scripts, and no others, may run."""
    nonce = secrets.token_urlsafe(16)
    html = _ENVIRONMENT.get_template(template).render({"prefix": PREFIX, "nonce": nonce, **values})
    headers = {"Content-Security-Policy": policy(nonce), "Cross-Origin-Opener-Policy": "same-origin"}
    return HTMLResponse(html, status, headers)


def policy(nonce: str) -> str:
    """Scripts by nonce, not by 'self': user servers share this origin."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
