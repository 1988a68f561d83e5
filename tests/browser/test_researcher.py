"""What a researcher does: sign in, choose a flavor, run a cell, see usage, stop."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.lab import in_lab, run_cell
from tests.fixtures.platform import Platform, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.platform, pytest.mark.timeout(400)]

SignIn = Callable[..., Page]

SAVES_EVERY = """async () => {
  const headers = { "X-XSRFToken": document.cookie.match(/_xsrf=([^;]+)/)[1] };
  const path = "/user/alice/lab/api/settings/@jupyterlab/docmanager-extension:plugin";
  const answer = await fetch(path, { headers });
  return (await answer.json()).schema.properties.autosaveInterval.default;
}"""

CELL = """
import os, torch, sublet
print("devices", os.environ["CUDA_VISIBLE_DEVICES"], "torch", torch.__version__, torch.cuda.device_count())
print(sublet.quota())
"""


def start(page: Page, flavor: str) -> None:
    """Pick a flavor on the flavors page and wait for JupyterLab."""
    page.goto("/hub/spawn")
    page.get_by_role("radio", name=re.compile(f"{flavor}.*Guaranteed")).check()
    page.get_by_role("button", name=re.compile("^Start")).click()
    in_lab(page, 150)


def test_from_sign_in_to_usage(platform: Platform, sign_in: SignIn, complaints: list[str]) -> None:
    page = sign_in("alice")
    page.goto("/hub/spawn")
    expect(page.get_by_role("heading", name="Choose what to run on")).to_be_visible()
    expect(page.get_by_text("Simulated", exact=True).first).to_be_visible()
    expect(page.get_by_text("4 free now")).to_be_visible()
    expect(page.get_by_text("per hour").first).to_be_visible()
    too_big = page.get_by_role("radio", name=re.compile("4 × Simulated GPU.*Guaranteed"))
    expect(too_big).to_be_disabled()
    expect(page.get_by_text("limit of 2 GPUs at once")).to_be_visible()

    start(page, "1 × Simulated GPU")
    printed = run_cell(page, CELL, "Leases at once")
    assert "devices SIM-" in printed
    assert "torch 2.13.0" in printed
    assert "GPU" in printed

    assert page.evaluate(SAVES_EVERY) == 10, "JupyterLab saves as seldom as it does by default"

    page.goto("/services/sublet/")
    expect(page.get_by_role("heading", name="Your usage")).to_be_visible()
    expect(page.get_by_text("1 × Simulated GPU").first).to_be_visible()
    expect(page.get_by_text(re.compile("simulated", re.IGNORECASE)).first).to_be_visible()
    (lease,) = platform.leases(user="alice", state="active")
    assert lease["simulated"] is True

    page.get_by_role("button", name=re.compile("^Stop")).first.click()
    page.get_by_role("dialog").get_by_role("button", name=re.compile("Stop|End")).click()
    wait_until(lambda: platform.leases(user="alice", state="ended"), 30, "alice's lease has ended")
    (ended,) = platform.leases(user="alice", state="ended")
    assert ended["end_reason"] == "user"
    assert complaints == []


def test_the_flavors_page_by_keyboard_and_on_a_phone(sign_in: SignIn, complaints: list[str]) -> None:
    page = sign_in("pia", viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.goto("/hub/spawn")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page scrolls sideways"
    first = page.get_by_role("radio", name=re.compile("1 × Simulated GPU.*Guaranteed"))
    first.focus()
    page.keyboard.press("Space")
    expect(first).to_be_checked()
    page.goto("/services/sublet/")
    expect(page.get_by_text(re.compile("no lease", re.IGNORECASE)).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page scrolls sideways"
    assert complaints == []


def test_nobody_sees_what_is_anothers(platform: Platform, sign_in: SignIn) -> None:
    mallory = sign_in("mallory")
    answer = mallory.goto("/services/sublet/admin")
    assert answer is not None
    assert answer.status == 403
    expect(mallory.get_by_role("heading", name="Pools")).to_have_count(0)
    for path in ("leases?user=alice", "usage?account=user:alice", "audit?subject=user:alice"):
        answer = mallory.goto(f"/services/sublet/api/{path}")
        assert answer is not None
        body = json.loads(answer.text())
        assert answer.status in (403, 404) or body == [], path
    answer = mallory.goto("/hub/api/quotas/users/alice")
    assert answer is not None
    assert answer.status in (401, 403, 404)
    assert platform.leases(user="mallory") == []
