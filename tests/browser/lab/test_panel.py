"""The status item and the panel: what I hold, what it costs, what is left, and what can be done about it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import documents
from tests.browser.lab.conftest import Lab, OpenPage, wait_for

pytestmark = [pytest.mark.browser]

Picture = Callable[[Page, str], None]
DARK = "JupyterLab Dark"


def open_panel(page: Page) -> Locator:
    page.locator(".sublet-Status-button").click()
    panel = page.get_by_role("region", name="Sublet", exact=True)
    expect(panel).to_be_visible()
    return panel


def in_theme(page: Page, theme: str) -> None:
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme)
    light = "false" if theme == DARK else "true"
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", light)


def test_the_status_item_tells_flavor_time_money_and_load(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    item = page.locator(".sublet-Status-button")
    expect(item).to_have_accessible_name(
        re.compile(r"^Sublet: h100-1x, 2 h( 1 min)? left, \$1\.6\d so far, GPU 82%$")
    )
    expect(item).to_have_attribute("data-near", "calm")
    item.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Sublet", exact=True)).to_be_visible()


def test_money_runs_on_between_two_tellings(lab: Lab, open_notebook: OpenPage) -> None:
    # $3600 an hour: a dollar a second.
    lab.tell(documents.state(lease=documents.lease(price_microunits_per_gpu_hour=3_600_000_000)))
    page = open_notebook()
    cost = page.locator(".sublet-Status-cost")

    def dollars() -> float:
        return float(cost.inner_text().removeprefix("$").replace(",", ""))

    first = dollars()
    wait_for(lambda: dollars() >= first + 2, "two dollars more")


def test_the_panel_shows_the_lease_the_gpu_and_the_quota(
    lab: Lab, open_notebook: OpenPage, picture: Picture, app: str
) -> None:
    page = open_notebook()
    panel = open_panel(page)
    expect(panel.get_by_role("heading", name="H100, whole")).to_contain_text("surplus")
    expect(panel).to_contain_text("when GPU time this week of group lab is used up.")
    expect(panel).to_contain_text("$2.40 an hour for 1 GPU, paid by group lab.")
    plot = panel.get_by_role("img", name=re.compile("GPU over the last hour"))
    expect(plot).to_have_attribute("aria-label", re.compile(r"utilisation [1-9]\d% on average, memory [1-9]\d% on"))
    assert (plot.locator("path.sublet-Plot-line").first.get_attribute("d") or "").count("L") > 30
    expect(panel.get_by_role("img", name="GPU time this week: 2.33 GPU-h of 10 GPU-h left")).to_be_visible()
    near = panel.locator(".sublet-Limit", has_text="Money this month")
    expect(near).to_have_attribute("data-near", "warn")
    headings = panel.locator("h4").all_inner_texts()
    assert headings == ["group lab", "ada"], "the account that pays comes first"
    picture(page, "panel")
    in_theme(page, DARK)
    picture(page, "panel-dark")
    lab.tell(documents.warned("limit", 58))
    expect(page.get_by_role("alert")).to_be_visible()
    picture(page, "notice-dark")
    in_theme(page, "JupyterLab Light")


def test_idle_gpus_are_told_of_with_what_happens_then(lab: Lab, open_notebook: OpenPage, picture: Picture) -> None:
    page = open_notebook()
    panel = open_panel(page)
    idle = {"idle_minutes": 25, "gpu": {"gpus": [documents.gpu(0, 6)]}}
    lab.tell(documents.state(**idle, idle_stop={"after_minutes": 30}))
    expect(panel).to_contain_text("Idle for 25 min: stops in 5 min. Run something to keep it.")
    lab.tell(documents.state(**idle))
    expect(panel).to_contain_text("Idle for 25 min. Stop it when you are done: it costs $2.40 an hour.")


def test_extend_and_stop_at(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    panel = open_panel(page)
    panel.get_by_role("button", name="Extend").click()
    lab.wait_asked("keep")
    expect(panel.get_by_role("status")).to_have_text("Extended.")
    panel.get_by_role("button", name="Stop at…").click()
    panel.get_by_role("button", name="Set").click()
    (body,) = lab.wait_asked("stop")
    assert documents.moment(25 * 60) < body["at"] < documents.moment(31 * 60)


def test_stop_asks_saves_and_goes_to_the_hub(lab: Lab, open_notebook: OpenPage, context: object) -> None:
    page = open_notebook()
    page.route("**/hub/**", lambda route: route.fulfill(body="<h1>The hub</h1>", content_type="text/html"))
    panel = open_panel(page)
    panel.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    assert lab.asked("stop") == []
    panel.get_by_role("button", name="Stop", exact=True).click()
    dialog.get_by_role("button", name="Stop").click()
    lab.wait_asked("stop")
    lab.tell(documents.state(lease=None))
    page.wait_for_url("**/hub/home")


def test_switching_the_flavor_leads_to_the_flavors(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    page.route("**/hub/**", lambda route: route.fulfill(body="<h1>The hub</h1>", content_type="text/html"))
    open_panel(page).get_by_role("button", name="Switch flavor").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop and pick").click()
    lab.wait_asked("stop")
    lab.hang_up(refuse=True)
    page.wait_for_url("**/hub/spawn/ada")


def test_outside_of_a_lease_nothing_is_claimed(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    panel = open_panel(page)
    lab.tell(documents.state(lease=None, gpu=None, history=[]))
    expect(panel).to_contain_text("This server holds no lease")
    expect(panel.get_by_role("link", name="Pick a flavor")).to_have_attribute("href", re.compile("/hub/spawn"))
    expect(page.locator(".sublet-Status-button")).to_have_count(0)


def test_the_last_known_stays_when_the_platform_is_away(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    panel = open_panel(page)
    lab.answer("quota", 503, {"detail": "The platform does not answer.", "type": "x", "title": "x", "status": 503})
    lab.tell(documents.state(connected=False, trouble="Connection refused."))
    expect(panel).to_contain_text(re.compile(r"No news from the platform since \d\d:\d\d\..*work is not affected"))
    expect(panel.get_by_role("heading", name="H100, whole")).to_be_visible()
    expect(page.locator(".sublet-Status-button")).to_have_accessible_name(re.compile("no news from the platform"))
    lab.tell(documents.state())
    expect(panel.locator(".sublet-away")).to_have_count(0)


def test_a_lost_stream_is_found_again(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    panel = open_panel(page)
    lab.hang_up(refuse=True)
    expect(panel).to_contain_text(re.compile(r"No answer from your server since \d\d:\d\d\."))
    lab.hang_up(refuse=False)
    expect(panel.locator(".sublet-away")).to_have_count(0)
    lab.tell(documents.warned("quota", 200))
    expect(page.get_by_role("alert")).to_be_visible()
