"""The same against the real server extension, on a real platform."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.lab import in_lab
from tests.fixtures.platform import Platform

pytestmark = [pytest.mark.browser, pytest.mark.platform, pytest.mark.timeout(400)]


def test_a_lease_is_shown_and_stopped_from_the_panel(platform: Platform, sign_in: Callable[..., Page]) -> None:
    page = sign_in("rhea")
    page.goto("/hub/spawn")
    page.get_by_role("radio", name=re.compile("1 × Simulated GPU.*Guaranteed")).check()
    page.get_by_role("button", name=re.compile("^Start")).click()
    in_lab(page, 150)

    item = page.locator(".sublet-Status-button")
    expect(item).to_have_accessible_name(re.compile(r"left, .* so far"), timeout=60_000)
    item.click()
    panel = page.get_by_role("region", name="Sublet", exact=True)
    expect(panel.get_by_text("simulated", exact=True)).to_be_visible()
    expect(panel.get_by_role("img", name=re.compile("GPU time.*left"))).to_be_visible()
    expect(panel.get_by_role("link", name="Your usage and history")).to_have_attribute(
        "href", re.compile("/services/sublet/$")
    )

    tree = page.context.new_page()
    tree.goto(page.url.partition("/lab")[0] + "/tree")
    item = tree.locator(".sublet-Status-button")
    expect(item).to_have_accessible_name(re.compile(r"left, .* so far"), timeout=60_000)
    tree.close()

    page.locator('.jp-LauncherCard[data-category="Other"]', has_text="Text File").click()
    editor = page.locator(".jp-FileEditor .cm-content")
    editor.click()
    page.keyboard.insert_text("kept to the end")
    panel.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.wait_for_url("**/hub/home", timeout=90_000)
    (document,) = platform.data.rglob("untitled.txt")
    assert document.read_text(encoding="utf-8") == "kept to the end"
