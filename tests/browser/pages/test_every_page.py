"""Every page of hub and api, in the states that people meet it in: its policy, its markup, its fit, its keyboard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages.visits import OTHER_ORIGIN, STATES, State, Visit
from tests.fixtures.platform import Platform

pytestmark = [pytest.mark.browser, pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(300)]

AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")
WIDTHS = (1280, 768, 360, 320)
"""320 is 1280 at a zoom of 400 % (WCAG 2.2, 1.4.10)."""
HEIGHT = 800
MOST_STOPS = 150
MARKUP_OF_OURS = re.compile(
    r"<script(?![^>]*\ssrc=)(?![^>]*application/json)|<style|\sstyle=|\son[a-z]+=|javascript:"
)

FOCUS = Path(__file__).with_name("focus.js").read_text(encoding="utf-8")


def look(page: Page, *, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")


def faults(page: Page, *, is_ours: bool = True) -> list[str]:
    """What is wrong with the page as it is, wide and narrow, light and dark."""
    found = []
    for scheme in ("light", "dark"):
        for width in WIDTHS:
            look(page, width=width, scheme=scheme)
            where = f"{scheme}, {width} wide: "
            if page.evaluate("document.documentElement.scrollWidth") > width:
                found.append(where + "scrolls sideways")
            if is_ours:
                found += [where + each for each in page.evaluate(AUDIT)]
    return found


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_a_page_in_a_state_it_is_met_in(visit: Visit, state: State) -> None:
    answer, markup = state.reach(visit)

    headers = answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"script-src[^;]*(unsafe|data:|https?:)", policy)
    assert ("unsafe" in policy) == state.is_jupyterhubs
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert "text/html" in headers["content-type"]
    assert not MARKUP_OF_OURS.search(markup)

    assert faults(visit.page, is_ours=not state.is_jupyterhubs) == []


def by_keyboard(page: Page) -> list[dict[str, Any]]:
    """Where Tab stops, from the page's begin to its end."""
    stops: list[dict[str, Any]] = []
    while len(stops) < MOST_STOPS:
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop is None or stop["again"]:
            break
        stops.append(stop)
    return stops


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("state", [each for each in STATES if not each.is_jupyterhubs], ids=lambda state: state.name)
def test_the_keyboard_reaches_all_and_shows_where_it_is(visit: Visit, state: State, width: int) -> None:
    state.reach(visit)
    look(visit.page, width=width, scheme="light")
    stops = by_keyboard(visit.page)
    assert [stop["what"] for stop in stops if not stop["isMarked"]] == []
    assert [stop["what"] for stop in stops if stop["isCovered"]] == []
    assert 1 <= len(stops) < MOST_STOPS


@pytest.mark.parametrize("name", ["home with servers", "flavors, with groups", "usage with leases", "admin, editing"])
def test_the_focus_shows_in_a_systems_own_colours(visit: Visit, name: str) -> None:
    next(state for state in STATES if state.name == name).reach(visit)
    visit.page.emulate_media(forced_colors="active")
    assert [stop["what"] for stop in by_keyboard(visit.page) if not stop["isMarked"]] == []


def test_no_script_of_a_users_server_runs_in_a_page_of_the_hub(visit: Visit) -> None:
    visit.sign_in("runner")
    for path, is_let_in in (("/user/runner/files/evil.js", False), ("/hub/static/sublet/times.js", True)):
        heard = visit.page.evaluate(
            """(src) => new Promise((done) => {
                 document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
                 const script = document.createElement("script");
                 document.head.append(Object.assign(script, { src, onload: () => done("loaded") }));
               })""",
            path,
        )
        assert heard == ("loaded" if is_let_in else "script-src-elem")
    assert [each for each in visit.complaints if "evil.js" not in each] == []
    assert len(visit.complaints) >= 1
    visit.complaints.clear()


def test_consent_sends_on_to_an_application_of_another_origin(visit: Visit) -> None:
    state = next(each for each in STATES if each.name == "consent")
    state.reach(visit)
    visit.page.route(f"{OTHER_ORIGIN}/**", lambda route: route.fulfill(body="signed in", content_type="text/plain"))
    visit.page.get_by_role("button", name="Allow it").click()
    visit.page.wait_for_url(f"{OTHER_ORIGIN}/callback?*")
    expect(visit.page.get_by_text("signed in")).to_be_visible()


def test_an_invitation_to_a_server(platform: Platform, visit: Visit) -> None:
    made = platform.sign_in("admin").client.post("/hub/api/share-codes/runner/", json={}).raise_for_status()
    visit.sign_in("ada")
    answer = visit.open(made.json()["accept_url"])
    assert not MARKUP_OF_OURS.search(answer.text())
    expect(visit.page.get_by_role("heading", name="runner lets you use a server")).to_be_visible()
    assert faults(visit.page) == []


def test_a_token_is_made_used_and_revoked(platform: Platform, visit: Visit) -> None:
    visit.sign_in("tess")
    visit.open("/hub/token")
    page = visit.page
    page.get_by_label("What it is for").fill("Nightly evaluation")
    page.get_by_label("Expires in").select_option("1 Hour")
    page.get_by_text("Let it do less than you may").click()
    page.get_by_label("Scopes, with spaces between").fill("read:users:name!user=tess")
    page.get_by_role("button", name="Make a token").click()
    token = page.get_by_label("Your new token")
    expect(token).to_be_focused()
    row = page.get_by_role("table", name=re.compile("Your tokens")).locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("Nightly evaluation")
    expect(row).to_contain_text("1 permission")

    def asked() -> int:
        with httpx.Client(base_url=platform.url, headers={"Authorization": f"token {token.input_value()}"}) as client:
            return client.get("/hub/api/user").status_code

    assert asked() == 200
    page.get_by_role("button", name="Revoke Nightly evaluation").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    expect(page.get_by_label("What it is for")).to_be_focused()
    assert asked() == 403

    page.get_by_label("Scopes, with spaces between").fill("no-such-scope")
    page.get_by_role("button", name="Make a token").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("button", name="Make a token")).to_be_enabled()


def test_home_asks_before_it_stops_and_follows_what_starts(platform: Platform, visit: Visit) -> None:
    platform.sign_in("late-lou").start_server("", flavor="cpu").raise_for_status()
    visit.sign_in("late-lou")
    page = visit.page
    server = page.get_by_role("article", name="My server")
    expect(server).to_contain_text("Starting")
    (platform.data / "homes" / "late-lou" / "go").touch()
    expect(server).to_contain_text("Running", timeout=30_000)
    stop = server.get_by_role("button", name="Stop My server")
    stop.click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(stop).to_be_focused()
    assert platform.leases(user="late-lou", state="active")
    stop.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop now").click()
    expect(server).to_contain_text("Not running", timeout=30_000)


def test_usage_on_paper_has_the_figures_and_no_buttons(visit: Visit) -> None:
    visit.sign_in("runner")
    visit.open("/services/sublet/")
    expect(visit.page.get_by_role("button", name="Stop").first).to_be_visible()
    visit.page.emulate_media(media="print")
    expect(visit.page.get_by_role("button")).to_have_count(0)
    expect(visit.page.get_by_role("link", name=re.compile("Open|Start"))).to_have_count(0)
    expect(visit.page.get_by_role("table", name="Your leases, newest first")).to_be_visible()
    expect(visit.page.get_by_text("GPU time this week").first).to_be_visible()
