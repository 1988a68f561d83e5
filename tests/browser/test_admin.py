"""An admin lowers a quota on the page; the user is warned, the server is stopped on time, and both are told why."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_researcher import start
from tests.fixtures.platform import Platform, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.platform, pytest.mark.timeout(400)]

SignIn = Callable[..., Page]


def set_gpu_hours(admin: Page, user: str, hours: str) -> None:
    """Give a user a quota of their own on the admin page, or change it."""
    admin.goto("/services/sublet/admin")
    expect(admin.get_by_role("heading", name="Default quota")).to_be_visible()
    edit = admin.get_by_role("button", name=f"Edit the quota of {user}")
    if edit.count():
        edit.click()
        form = admin.locator("article", has=admin.get_by_role("button", name="Save"))
    else:
        admin.get_by_role("button", name="Add a quota").click()
        form = admin.locator("[data-draft]")
        form.get_by_label("Name").fill(user)
    form.get_by_label("At most").first.fill(hours)
    form.get_by_label("Why (kept in the audit record)").fill("a test")
    form.get_by_role("button", name=re.compile("Set this quota|Save")).click()
    expect(admin.get_by_role("button", name=f"Edit the quota of {user}")).to_be_visible()


def test_lowering_a_quota_warns_and_stops(platform: Platform, sign_in: SignIn, complaints: list[str]) -> None:
    bob, admin = sign_in("bob"), sign_in("admin")
    start(bob, "1 × Simulated GPU")
    wait_until(lambda: platform.leases(user="bob", state="active"), 30, "bob's lease is active")
    bob.goto("/services/sublet/")
    expect(bob.get_by_role("alert")).to_have_count(0)

    set_gpu_hours(admin, "bob", "0")
    banner = bob.get_by_role("alert").filter(has_text="stops soon")
    expect(banner).to_be_visible(timeout=6_000)
    expect(banner).to_contain_text("GPU time")

    wait_until(lambda: platform.leases(user="bob", state="ended"), 30, "bob's lease has ended")
    (lease,) = platform.leases(user="bob", state="ended")
    assert lease["end_reason"] == "quota"
    ended, deadline = (datetime.fromisoformat(lease[name]) for name in ("ended_at", "deadline_at"))
    assert 0 <= (ended - deadline).total_seconds() < 1

    session = platform.sign_in("bob")
    wait_until(lambda: session.server() is None, 10, "the hub has seen that bob's server is gone")
    bob.goto("/hub/spawn")
    expect(bob.get_by_text("gpu-admins@example.org").first).to_be_visible()
    said = bob.locator("main").inner_text()
    assert re.search(r"quota|limit", said)
    assert "Your quota allows no GPU time." in said
    assert "More is left from" not in said, "nothing will be"
    expect(bob.get_by_role("radio", name=re.compile("1 × Simulated GPU.*Guaranteed"))).to_be_disabled()

    set_gpu_hours(admin, "bob", "5")
    bob.goto("/hub/spawn")
    expect(bob.get_by_role("radio", name=re.compile("1 × Simulated GPU.*Guaranteed"))).to_be_enabled()
    assert complaints == []


def test_a_bad_limit_is_refused_at_its_field(sign_in: SignIn) -> None:
    admin = sign_in("admin")
    admin.goto("/services/sublet/admin")
    admin.get_by_role("button", name="Edit the quota of the default").click()
    form = admin.locator("article", has=admin.get_by_role("button", name="Save"))
    form.get_by_label("Days, weeks and months begin in time zone").fill("Mars/Base")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_text(re.compile("time zone .*Mars/Base"))).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_pages_fit(sign_in: SignIn, scheme: str, width: int, tmp_path: Path) -> None:
    admin = sign_in("admin", viewport={"width": width, "height": 900}, color_scheme=scheme)
    for number, path in enumerate(("/hub/spawn", "/hub/home", "/services/sublet/", "/services/sublet/admin")):
        admin.goto(path)
        expect(admin.get_by_role("heading", level=1)).to_be_visible()
        admin.screenshot(path=tmp_path / f"{number}.png", full_page=True)
        assert admin.evaluate("document.documentElement.scrollWidth") <= width, f"{path} scrolls sideways"
