"""The pages as they are served: who gets which, and that nothing in them breaks the Content Security Policy."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from sublet_hub.api import pages
from sublet_hub.api.pages.router import SHARED_STATIC
from sublet_hub.api.session import SESSION_COOKIE
from tests.api.conftest import Running

PAGES = "/services/sublet/"
STATIC = Path(pages.__file__).parent / "static"
MODULES = sorted((STATIC / "js").glob("*.js"))


async def look(platform: Running, path: str, user: str) -> httpx.Response:
    """A page as a browser sees it in which somebody has signed in."""
    cookie = platform.api.sessions.keep(user).value
    return await platform.ask("GET", path, headers={"Cookie": f"{SESSION_COOKIE}={cookie}"})


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def elements(response: httpx.Response) -> _Elements:
    parser = _Elements()
    parser.feed(response.text)
    return parser


@pytest.mark.parametrize("path", ["", "admin"])
async def test_without_a_session_one_is_sent_to_sign_in(platform: Running, path: str) -> None:
    response = await platform.ask("GET", PAGES + path)
    assert response.status_code == 302
    assert response.headers["location"].startswith("/hub/api/oauth2/authorize?")


async def test_the_usage_page_is_for_everybody(platform: Running) -> None:
    response = await look(platform, PAGES, "alice")
    assert response.status_code == 200
    assert "Your usage" in response.text
    assert "/services/sublet/admin" not in response.text


async def test_the_admin_page_is_for_quota_admins(platform: Running) -> None:
    response = await look(platform, f"{PAGES}admin", "boss")
    assert response.status_code == 200
    assert "Live leases" in response.text


async def test_others_are_told_so(platform: Running) -> None:
    response = await look(platform, f"{PAGES}admin", "alice")
    assert response.status_code == 403
    assert "This page is for quota admins" in response.text
    assert "Live leases" not in response.text


@pytest.mark.parametrize(("path", "user"), [("", "alice"), ("admin", "boss"), ("admin", "alice")])
async def test_the_policy_lets_no_script_run_but_ours(platform: Running, path: str, user: str) -> None:
    response = await look(platform, PAGES + path, user)
    policy = dict(part.strip().partition(" ")[::2] for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    nonce = re.fullmatch(r"'nonce-([\w-]{20,})'", policy["script-src"])
    assert nonce is not None
    assert response.headers["cache-control"] == "no-store"
    for tag, attributes in elements(response).found:
        assert tag != "style"
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "script":
            assert attributes["src"]
            assert attributes["nonce"] == nonce[1]


async def test_each_page_has_a_nonce_of_its_own(platform: Running) -> None:
    first, second = [await look(platform, PAGES, "alice") for _ in range(2)]
    assert first.headers["content-security-policy"] != second.headers["content-security-policy"]


async def test_the_pages_csrf_token_lets_its_session_write(platform: Running) -> None:
    lease = platform.lease("alice")
    response = await look(platform, PAGES, "alice")
    (token,) = [
        attributes["content"]
        for tag, attributes in elements(response).found
        if tag == "meta" and attributes.get("name") == "sublet-csrf"
    ]
    cookie = f"{SESSION_COOKIE}={platform.api.sessions.keep('alice').value}"
    path = f"/services/sublet/api/leases/{lease.id}/stop"
    refused = await platform.ask("POST", path, headers={"Cookie": cookie}, json={})
    assert refused.status_code == 403
    done = await platform.ask("POST", path, headers={"Cookie": cookie, "X-CSRF-Token": str(token)}, json={})
    assert done.status_code == 200


async def test_a_name_is_never_markup(platform: Running) -> None:
    name = '<img src=x onerror="alert(1)">'
    platform.hub.users[name] = []
    platform.hub.tokens["odd"] = ("user", name, ["access:services!service=sublet"])
    response = await look(platform, PAGES, "odd")
    assert "<img" not in response.text
    assert name in elements(response).text


async def test_every_file_that_a_page_names_is_there(platform: Running) -> None:
    named: set[str] = set()
    for path, user in (("", "alice"), ("admin", "boss")):
        found = elements(await look(platform, PAGES + path, user)).found
        named |= {
            str(value) for _, attributes in found for key, value in attributes.items() if key in {"src", "href"}
        }
    static = {name for name in named if name.startswith(f"{PAGES}static/")}
    assert len(static) >= 5
    for name in static:
        response = await platform.ask("GET", name)
        assert response.status_code == 200
        # Asked about every time: modules of two versions must never meet.
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["etag"]
        kind = response.headers["content-type"]
        assert kind.startswith({"js": "text/javascript", "css": "text/css", "svg": "image/svg"}[name.rsplit(".")[-1]])


@pytest.mark.parametrize(
    "path", ["../router.py", "..%2frouter.py", "shared/../../../../settings.py", "js/", "no-such"]
)
async def test_no_other_file_is_served(platform: Running, path: str) -> None:
    response = await platform.ask("GET", f"{PAGES}static/{path}")
    assert response.status_code in {404, 405}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_modules_import_what_is_there_and_make_no_markup(module: Path) -> None:
    code = module.read_text(encoding="utf-8")
    for name in re.findall(r'^import .* from "([^"]+)";$', code, re.MULTILINE):
        assert (module.parent / name).is_file(), name
    for never in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert never not in code
    assert len(code.splitlines()) < 320


def test_styles_use_only_colours_of_the_tokens() -> None:
    """Light and dark differ in the tokens alone; a colour written elsewhere would be right in one of them only."""
    rules = (STATIC / "pages.css").read_text(encoding="utf-8")
    shadows_and_veils = re.sub(r"rgb\(0 0 0 / \d+%\)|rgb\(10 14 18 / \d+%\)", "", rules)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb\(|hsl\(", shadows_and_veils)
    tokens = (SHARED_STATIC / "tokens.css").read_text(encoding="utf-8")
    for name in set(re.findall(r"var\((--s-[\w-]+)\)", rules)):
        assert f"{name}:" in tokens, name


def test_dark_is_the_same_by_system_and_by_choice() -> None:
    tokens = (SHARED_STATIC / "tokens.css").read_text(encoding="utf-8")
    by_system, by_choice = [
        re.findall(r"(--s-[\w-]+): ([^;]+);", block)
        for block in (
            tokens.partition("@media")[2].partition("\n}")[0],
            tokens.partition(':root[data-bs-theme="dark"]')[2],
        )
    ]
    assert by_system == by_choice
    assert len(by_system) > 15
