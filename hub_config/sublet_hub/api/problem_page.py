"""A problem as a page, where a person's browser asked for one and not for data."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

from sublet_hub.api.session import PREFIX
from sublet_hub.domain.errors import PublicError

_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><meta name="viewport" content="width=device-width"></head>
<body>
<main>
<h1>{title}</h1>
<p>{detail}</p>
<p><a href="{prefix}">Your usage</a> · <a href="/hub/home">Your servers</a></p>
</main>
</body>
</html>
"""


def is_for_people(path: str, accept: str) -> bool:
    """Whether a page was asked for: one of ours, by something that reads HTML."""
    is_data = path.startswith((f"{PREFIX}api/", f"{PREFIX}static/", "/hub/api/"))
    return not is_data and "text/html" in accept


def problem_page(error: PublicError) -> HTMLResponse:
    """Plain on purpose: it is shown when something is wrong."""
    html = _PAGE.format(title=escape(error.title), detail=escape(error.message), prefix=PREFIX)
    return HTMLResponse(html, error.status)
