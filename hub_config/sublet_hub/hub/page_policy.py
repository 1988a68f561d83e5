"""What the hub's pages may load and do: their Content-Security-Policy.

No script stands in a page, neither in our templates nor in those of JupyterHub, which we wrap for it. `'self'` alone
would still let scripts of users' servers in, which share the hub's origin; so a second policy, which has to allow a
script as well, names the folder of the hub's files (CSP 3, 2.2: of several policies each must be met).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

HEADER = "Content-Security-Policy"

RULES: Mapping[str, str] = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}

BOOTSTRAP = {"img-src": "'self' data:", "font-src": "'self'"}
"""Its stylesheet draws arrows and ticks from data: addresses, and brings a font of symbols."""

USERS_PAGE = "/hub/admin"
USERS_RULES = {**RULES, **BOOTSTRAP, "style-src": "'self' 'unsafe-inline'"}
"""JupyterHub's page of users adds style elements as it goes. Only administrators have that page."""

AUTHORIZE_PAGE = "/hub/api/oauth2/authorize"


def policy(static_path: str, rules: Mapping[str, str] = RULES) -> str:
    """The header's value, where the hub serves its files at this path of any host: the first part says which host."""
    first = "; ".join(f"{name} {sources}" for name, sources in rules.items())
    return f"{first}, script-src *:*{static_path}"


def rules_of(path: str, redirect_uri: str = "") -> Mapping[str, str]:
    """The rules of one page. `redirect_uri`: where the page of consent leads on to; `form-action` counts it."""
    if path.endswith(USERS_PAGE):
        return USERS_RULES
    if path.endswith(AUTHORIZE_PAGE) and (origin := _origin(redirect_uri)):
        return {**RULES, "form-action": f"'self' {origin}"}
    return RULES


def _origin(uri: str) -> str:
    """Scheme, host and port of an address; empty where it has none that can stand in a policy."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return ""
    if parts.scheme not in {"http", "https"} or not re.fullmatch(r"[a-z0-9.-]+(:\d{1,5})?", parts.netloc.lower()):
        return ""
    return f"{parts.scheme}://{parts.netloc.lower()}"


def transform(static_path: str) -> type[OutputTransform]:
    """A step of tornado's on the way of every answer, that gives pages with rules of their own theirs.

    A policy that the hub's own configuration sets in place of ours is left as it is.
    """
    usual = policy(static_path)

    class PolicyByPage(OutputTransform):
        def __init__(self, request: HTTPServerRequest) -> None:
            redirect_uri = request.query_arguments.get("redirect_uri", [b""])[-1].decode("utf-8", "replace")
            self._rules = rules_of(request.path, redirect_uri)

        def transform_first_chunk(
            self,
            status_code: int,
            headers: HTTPHeaders,
            chunk: bytes,
            finishing: bool,  # noqa: ARG002 — tornado's
        ) -> tuple[int, HTTPHeaders, bytes]:
            if self._rules is not RULES and headers.get(HEADER) == usual:
                headers[HEADER] = policy(static_path, self._rules)
            return status_code, headers, chunk

    return PolicyByPage


def tornado_settings(static_path: str) -> dict[str, Any]:
    """What the hub's web server needs to send the policies."""
    return {"headers": {HEADER: policy(static_path)}, "transforms": [transform(static_path)]}
