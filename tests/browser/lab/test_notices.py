"""A notice in front of the user's eyes, and everything saved before the end."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import documents
from tests.browser.lab.conftest import Lab, OpenPage, wait_for

pytestmark = [pytest.mark.browser]

Picture = Callable[[Page, str], None]
DOCUMENT = ".jp-NotebookPanel"
EDITOR = ":is(.jp-NotebookPanel .jp-CodeCell, .jp-FileEditor) .cm-content"


def edit(page: Page, text: str) -> None:
    editor = page.locator(EDITOR).first
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.insert_text(f"\n{text}")
    expect(editor).to_contain_text(text)


def seconds_shown(page: Page) -> int:
    text = page.get_by_role("timer").inner_text()
    minutes, seconds = text.split(":")
    return int(minutes) * 60 + int(seconds)


def test_a_notice_counts_down_says_why_and_moves_nothing(lab: Lab, open_notebook: OpenPage, picture: Picture) -> None:
    page = open_notebook()
    before = page.locator(DOCUMENT).first.bounding_box()

    lab.tell(documents.warned("reclaim", 299))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("h100-1x stops soon.")
    expect(alert).to_contain_text("The owner of the GPUs takes them back.")
    expect(alert.get_by_role("button", name="Move to another flavor")).to_be_visible()
    expect(alert.get_by_role("button", name="Extend")).to_have_count(0)
    first = seconds_shown(page)
    assert 200 < first < 300
    wait_for(lambda: seconds_shown(page) < first, "the countdown to go on")
    assert page.locator(DOCUMENT).first.bounding_box() == before
    expect(page.locator(".sublet-Status-button")).to_have_attribute("data-near", "warn")
    picture(page, "notice")


def test_dismissing_holds_for_that_notice_alone(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    lab.tell(documents.warned("idle", 299))
    page.get_by_role("alert").get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)

    page.reload()
    expect(page.locator(".sublet-Status-button")).to_have_attribute("data-near", "warn")
    expect(page.get_by_role("alert")).to_have_count(0)

    last = documents.notice("idle", 59, id="notice-idle-2", lead_seconds=60)
    lab.tell(documents.state(lease=documents.lease(59, deadline_reason="idle"), notices=[last]))
    expect(page.get_by_role("alert")).to_contain_text("It has been idle.")
    expect(page.locator(".sublet-Status-button")).to_have_attribute("data-near", "urgent")


def test_a_notice_goes_when_it_is_withdrawn(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    lab.tell(documents.warned("admin", 299))
    expect(page.get_by_role("alert")).to_be_visible()
    lab.tell(documents.state())
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".sublet-Status-button")).to_have_attribute("data-near", "calm")


def test_the_keyboard_reaches_a_notice(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    page.locator(EDITOR).first.click()
    lab.tell(documents.warned("idle", 299))
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator(EDITOR).first).to_be_focused()
    page.keyboard.press("Alt+Shift+N")
    expect(page.get_by_role("alert").get_by_role("button", name="Save all")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("alert").get_by_role("button", name="Extend")).to_be_focused()
    page.keyboard.press("Enter")
    lab.wait_asked("keep")
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_what_cannot_be_extended_says_which_limit_it_is(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    sentence = "It ends with GPU time this week of group lab. Ask your admins for more."
    refusal = {"type": "https://sublet.dev/problems/not-yours", "title": "No", "status": 409, "detail": sentence}
    lab.answer("keep", 409, {**refusal, "instance": "/"})
    lab.tell(documents.warned("idle", 299))
    page.get_by_role("alert").get_by_role("button", name="Extend").click()
    expect(page.get_by_role("alert").get_by_role("status")).to_have_text(sentence)


def test_save_all_saves_what_was_edited(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    edit(page, "kept = 'by the button'")
    lab.tell(documents.warned("quota", 299))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("GPU time this week of group lab is used up by then.")
    alert.get_by_role("button", name="Save all").click()
    expect(alert.get_by_role("status")).to_have_text("Saved 1 document.")
    assert "kept = 'by the button'" in lab.saved_source()


def test_the_server_has_all_tabs_save_over_one_stream(lab: Lab, open_notebook: OpenPage) -> None:
    page, other = open_notebook(), open_notebook("notes.md")
    wait_for(lambda: lab.streams == 1, "one stream for both tabs")
    edit(page, "kept = 'in the first tab'")
    edit(other, "kept in the second tab")
    lab.tell(documents.warned("limit", 60))
    expect(page.get_by_role("alert")).to_be_visible()
    expect(other.get_by_role("alert")).to_be_visible()

    lab.ask_to_save(20)
    assert lab.wait_asked("saved") == [{"id": "save-1", "saved": 2, "failed": 0}]
    assert "kept = 'in the first tab'" in lab.saved_source()
    assert "kept in the second tab" in (lab.home / "notes.md").read_text(encoding="utf-8")
    expect(other.get_by_role("alert").get_by_role("status")).to_have_text("Saved 1 document.")


def test_the_next_tab_goes_on_when_the_first_is_closed(lab: Lab, open_notebook: OpenPage) -> None:
    page, other = open_notebook(), open_notebook("notes.md")
    wait_for(lambda: lab.streams == 1, "one stream for both tabs")
    page.close()
    edit(other, "kept alone")
    lab.tell(documents.warned("limit", 60))
    expect(other.get_by_role("alert")).to_be_visible()
    lab.ask_to_save(20)
    assert lab.wait_asked("saved") == [{"id": "save-1", "saved": 1, "failed": 0}]
    assert "kept alone" in (lab.home / "notes.md").read_text(encoding="utf-8")


def test_a_save_that_fails_is_reported_as_such(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    edit(page, "lost = True")
    page.route(
        "**/api/contents/**", lambda route: route.abort() if route.request.method == "PUT" else route.fallback()
    )
    lab.ask_to_save(20)
    assert lab.wait_asked("saved") == [{"id": "save-1", "saved": 0, "failed": 1}]


def test_how_the_last_server_ended_is_told_once(lab: Lab, open_notebook: OpenPage) -> None:
    ended = documents.lease(id="lease-0", state="ended", end_reason="reclaim", ended_at=documents.moment(-600))
    told: documents.Document = {
        "lease": ended,
        "sentence": "Your last server ended at 14:05 because the owner of the GPUs took them back.",
    }
    lab.tell(documents.state(previous=told))
    page = open_notebook()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(told["sentence"])
    alert.get_by_role("button", name="Dismiss").click()
    lab.wait_asked("dismiss")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_why_no_kernel_is_started_is_said_where_one_looks(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    lab.tell(documents.state(accepting=False, refusal="This lease ends at 14:05: its GPU time is used up."))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No new kernels and terminals. This lease ends at 14:05")
    alert.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_narrow_window_shows_all_of_a_notice(lab: Lab, open_notebook: OpenPage, picture: Picture) -> None:
    page = open_notebook()
    page.set_viewport_size({"width": 420, "height": 760})
    lab.tell(documents.warned("quota", 55))
    alert = page.get_by_role("alert")
    expect(alert.get_by_role("button", name="Request more")).to_be_in_viewport(ratio=1)
    expect(alert.get_by_role("timer")).to_have_text(re.compile(r"0:\d\d"))
    box = alert.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 420
    picture(page, "narrow")
