"""Signing in with a browser, and what keeps others from using its session."""

from __future__ import annotations

from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sublet_hub.api.session import SESSION_COOKIE, safe_path
from tests.api.conftest import API, QUOTAS, Running, problem

PAGE = "/services/sublet/"
HTML = {"Accept": "text/html"}


def cookies_of(response: httpx.Response) -> SimpleCookie:
    jar = SimpleCookie()
    for header in response.headers.get_list("set-cookie"):
        jar.load(header)
    return jar


async def begin(platform: Running, path: str = PAGE) -> tuple[str, str]:
    """Open a page; gives the state and the PKCE challenge of the sign-in that it leads to."""
    response = await platform.ask("GET", path, headers=HTML)
    assert response.status_code == 302
    url = urlsplit(response.headers["location"])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.netloc == ""
    assert url.path == "/hub/api/oauth2/authorize"
    assert query["client_id"] == "service-sublet"
    assert query["redirect_uri"] == "/services/sublet/oauth_callback"
    assert query["code_challenge_method"] == "S256"
    return query["state"], query["code_challenge"]


def verifier_of(platform: Running, state: str) -> str:
    pending = platform.api.sessions.pending(state, dict(platform.http.cookies))
    assert pending is not None
    return pending.verifier


async def sign_in(platform: Running, user: str = "alice", path: str = PAGE) -> httpx.Response:
    state, _ = await begin(platform, path)
    platform.hub.codes["c0de"] = (user, verifier_of(platform, state))
    return await platform.ask("GET", f"/services/sublet/oauth_callback?code=c0de&state={state}", headers=HTML)


def csrf(platform: Running, user: str = "alice") -> dict[str, str]:
    return {"X-CSRF-Token": platform.api.sessions.csrf_token(user)}


async def test_a_sign_in_leads_back_to_the_page_with_a_session(platform: Running) -> None:
    done = await sign_in(platform, path=f"{PAGE}admin?tab=quotas")
    assert (done.status_code, done.headers["location"]) == (302, f"{PAGE}admin?tab=quotas")
    session = cookies_of(done)[SESSION_COOKIE]
    assert (session["path"], session["samesite"], session["httponly"], session["max-age"]) == (PAGE, "Lax", True, "")
    assert "alice" not in session.value
    assert (await platform.ask("GET", PAGE, headers=HTML)).status_code == 200
    assert (await platform.ask("GET", f"{API}/quota")).json()["user"] == "alice"


@pytest.mark.parametrize(
    ("proto", "secure"), [("https", True), ("https,http", True), ("http", ""), ("http,https", "")]
)
async def test_behind_tls_cookies_are_secure(platform: Running, proto: str, secure: bool | str) -> None:
    response = await platform.ask("GET", PAGE, headers={**HTML, "X-Forwarded-Proto": proto})
    assert [cookie["secure"] for cookie in cookies_of(response).values()] == [secure]


async def test_a_code_works_only_in_the_browser_that_began_and_only_once(platform: Running) -> None:
    state, _ = await begin(platform)
    platform.hub.codes["c0de"] = ("alice", verifier_of(platform, state))
    mine = dict(platform.http.cookies)
    callback = f"/services/sublet/oauth_callback?code=c0de&state={state}"
    platform.http.cookies.clear()
    problem(await platform.ask("GET", callback), 403, "not-allowed")
    platform.http.cookies.update(mine)
    problem(await platform.ask("GET", callback.replace(state, "another")), 403, "not-allowed")
    assert (await platform.ask("GET", callback)).status_code == 302
    platform.http.cookies.clear()
    platform.http.cookies.update(mine)
    problem(await platform.ask("GET", callback), 403, "not-allowed")


async def test_two_tabs_can_sign_in_side_by_side(platform: Running) -> None:
    (first, one), (second, other) = await begin(platform), await begin(platform, f"{PAGE}admin")
    assert one != other
    for state, code in ((second, "b"), (first, "a")):
        platform.hub.codes[code] = ("boss", verifier_of(platform, state))
        done = await platform.ask("GET", f"/services/sublet/oauth_callback?code={code}&state={state}")
        assert done.status_code == 302


@pytest.mark.parametrize("query", ["", "?error=access_denied&error_description=No", "?code=x", "?state=x&code=y"])
async def test_a_callback_that_is_not_ours_is_refused(platform: Running, query: str) -> None:
    await begin(platform)
    problem(await platform.ask("GET", f"/services/sublet/oauth_callback{query}"), 403, "not-allowed")


async def test_the_hub_refusing_or_away_ends_the_sign_in_with_a_word(platform: Running) -> None:
    state, _ = await begin(platform)
    callback = f"/services/sublet/oauth_callback?code=none&state={state}"
    problem(await platform.ask("GET", callback), 403, "not-allowed")
    platform.hub.unreachable = True
    refused = await platform.ask("GET", callback, headers=HTML)
    assert refused.status_code == 503
    assert refused.headers["content-type"].startswith("text/html")
    assert "The hub does not answer" in refused.text


async def test_who_has_no_access_gets_no_session(platform: Running) -> None:
    done = await sign_in(platform, "bare")
    assert done.status_code == 403
    assert SESSION_COOKIE not in platform.http.cookies


@pytest.mark.parametrize("cookie", ["", "junk", "gAAAAABn", "é"])
async def test_a_cookie_that_is_not_ours_is_no_session(platform: Running, cookie: str) -> None:
    headers = [(b"cookie", f"{SESSION_COOKIE}={cookie}".encode())]
    problem(await platform.http.get(f"{API}/quota", headers=headers), 401, "not-signed-in")
    assert (await platform.http.get(PAGE, headers=headers)).status_code == 302


async def test_a_session_ends_with_its_token(platform: Running) -> None:
    await sign_in(platform)
    del platform.hub.tokens["alice"]
    platform.seconds[0] += 10
    problem(await platform.ask("GET", f"{API}/quota"), 401, "not-signed-in")
    assert (await platform.ask("GET", PAGE, headers=HTML)).status_code == 302


async def test_signing_out_at_the_hub_ends_the_session_at_once(platform: Running) -> None:
    platform.http.cookies.set("jupyterhub-session-id", "one", path="/")
    await sign_in(platform)
    assert (await platform.ask("GET", f"{API}/quota")).status_code == 200
    del platform.hub.tokens["alice"]  # the hub drops its session's tokens, and its cookie
    platform.http.cookies.delete("jupyterhub-session-id")
    problem(await platform.ask("GET", f"{API}/quota"), 401, "not-signed-in")


async def test_signing_out_here_ends_the_session_and_goes_to_the_hub(platform: Running) -> None:
    await sign_in(platform)
    left = await platform.ask("GET", f"{PAGE}sign_out", headers=HTML)
    assert left.headers["location"] == "/hub/logout"
    assert SESSION_COOKIE not in platform.http.cookies


async def test_a_write_by_session_needs_its_csrf_token(platform: Running) -> None:
    await sign_in(platform, "boss")
    path = f"{API}/quotas/users/alice"
    body: dict[str, object] = {"limits": []}
    problem(await platform.http.put(path, json=body), 403, "not-allowed")
    for sent in ("", "é", csrf(platform, "alice")["X-CSRF-Token"]):
        headers = [(b"x-csrf-token", sent.encode())]
        problem(await platform.http.put(path, json=body, headers=headers), 403, "not-allowed")
    navigated = {"Sec-Fetch-Mode": "navigate", "Origin": "https://evil.example"}
    problem(await platform.ask("PUT", path, headers=navigated, json=body), 403, "not-allowed")
    written = await platform.ask("PUT", path, headers=csrf(platform, "boss"), json=body)
    assert written.status_code == 200, written.text


async def test_a_token_that_is_shown_counts_instead_of_the_session(platform: Running) -> None:
    await sign_in(platform, "boss")
    problem(await platform.ask("PUT", f"{API}/quotas/default", "alice", json={"limits": []}), 403, "not-allowed")
    problem(await platform.ask("GET", f"{API}/quota", "nonsense"), 401, "not-signed-in")
    written = await platform.ask("PUT", f"{QUOTAS}/default", "admin", json={"limits": []})
    assert written.status_code == 200


@pytest.mark.parametrize("mode", ["cors", "no-cors", "same-origin"])
async def test_scripts_of_other_pages_on_this_origin_read_nothing(platform: Running, mode: str) -> None:
    await sign_in(platform)
    fetched = {"Sec-Fetch-Mode": mode}
    problem(await platform.ask("GET", PAGE, headers=fetched), 403, "not-allowed")
    problem(await platform.ask("GET", f"{API}/quota", headers=fetched), 403, "not-allowed")
    ours = await platform.ask("GET", f"{API}/quota", headers={**fetched, **csrf(platform)})
    assert ours.status_code == 200


@pytest.mark.parametrize(
    "path",
    ["https://evil.example/", "//evil.example/", "/hub/home", "/services/sublet/\\evil", "/services/sublet/\n", ""],
)
def test_a_sign_in_never_leads_off(path: str) -> None:
    assert safe_path(path) == PAGE
