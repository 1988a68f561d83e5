"""The pages in a browser, on the real api: what they show, that they follow what happens, that they can be worked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Route, expect

from sublet_hub.cli import units
from sublet_hub.domain import accounts
from sublet_hub.domain.lease import EndReason
from sublet_hub.storage import leasing
from tests.fixtures.api_pages import Open, opening
from tests.fixtures.api_platform import ApiPlatform, api_platform
from tests.fixtures.books import limit
from tests.fixtures.browser import chromium

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

HOUR_MS = 3_600_000


@pytest.fixture
def platform() -> Iterator[ApiPlatform]:
    with api_platform() as made:
        limit(made.books, gpu_seconds=(36000, "week"), gpus=4, leases=8, lease_seconds=7200)
        yield made


@pytest.fixture
def open_page(chromium: Browser, platform: ApiPlatform) -> Iterator[Open]:
    with opening(chromium) as opened:
        yield partial(opened, platform)


def test_somebody_new_is_told_what_to_do(open_page: Open) -> None:
    page = open_page("alice")
    expect(page.get_by_text("No lease is running.")).to_be_visible()
    expect(page.get_by_text("You have had no lease yet.")).to_be_visible()
    expect(page.get_by_role("link", name="Start a lease")).to_have_attribute("href", "/hub/spawn")
    expect(page.get_by_text("Nothing was used in the last 30 days.")).to_be_visible()


def test_a_running_lease_ticks(platform: ApiPlatform, open_page: Open) -> None:
    platform.lease("alice", accounts.group("lab"), server_name="train", ago_ms=HOUR_MS)
    page = open_page("alice")
    card = page.get_by_role("article", name="Lease of gpu-1x")
    expect(card).to_contain_text("simulated")
    expect(card).to_contain_text("paid by group lab")
    expect(card).to_contain_text("$2.00 per hour")
    expect(card).to_contain_text("the longest that a lease may last")
    expect(card.get_by_role("link", name="Open")).to_have_attribute("href", "/user/alice/train/")
    cost = card.locator(".big").nth(2)
    before = cost.inner_text()
    assert re.fullmatch(r"\$2\.00\d\d", before)
    expect(cost).not_to_have_text(before)


def test_a_models_server_is_shown_as_one(platform: ApiPlatform, open_page: Open) -> None:
    lease = platform.lease("root", kind="worker", server_name="model:tiny-llama-3fa2")
    page = open_page("root")
    card = page.get_by_role("article", name="Lease of gpu-1x")
    expect(card).to_contain_text("serves tiny-llama-3fa2")
    expect(card.get_by_role("link", name="Open")).to_have_count(0)
    card.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text("It serves calls of a model")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    leasing.order_end(platform.books, lease.id, at_ms=None, reason=EndReason.ADMIN, actor="test", why="")
    expect(page.get_by_role("alert")).to_contain_text("New calls go to another server")
    expect(page.get_by_role("table", name=re.compile("Your leases"))).to_contain_text("serves tiny-llama-3fa2")
    rows = open_page("root", "admin").get_by_role("table", name=re.compile("Live leases")).locator("tbody tr")
    expect(rows).to_contain_text("serves tiny-llama-3fa2")


def test_one_stops_ones_own_lease_after_being_asked(platform: ApiPlatform, open_page: Open) -> None:
    lease = platform.lease("alice")
    page = open_page("alice")
    page.get_by_role("button", name="Stop", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Open documents are saved")
    dialog.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Stop now").click()
    expect(page.get_by_role("article", name="Lease of gpu-1x")).to_contain_text("ending")
    platform.end(lease, 1000)
    expect(page.get_by_text("No lease is running.")).to_be_visible()


def test_a_lowered_quota_shows_within_five_seconds_and_goes_again(platform: ApiPlatform, open_page: Open) -> None:
    platform.lease("alice", ago_ms=60_000)
    page = open_page("alice")
    expect(page.get_by_role("article", name="Lease of gpu-1x")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    limit(platform.books, gpu_seconds=(30, "week"))
    banner = page.get_by_role("alert")
    expect(banner).to_be_visible(timeout=5_000)
    expect(banner).to_contain_text("gpu-1x stops soon")
    expect(banner).to_contain_text("GPU time this week of alice is used up by then")
    expect(banner).to_contain_text("To get more, ask the administrator of this platform")
    expect(banner.get_by_role("timer")).to_have_text(re.compile(r"^[45]:\d\d$"))
    limit(platform.books, gpu_seconds=(36000, "week"))
    expect(page.get_by_role("alert")).to_have_count(0, timeout=5_000)


def test_an_admin_sees_on_the_usage_page_only_their_own(platform: ApiPlatform, open_page: Open) -> None:
    platform.lease("alice", ago_ms=60_000)
    limit(platform.books, gpu_seconds=(30, "week"))
    page = open_page("root")
    expect(page.get_by_text("No lease is running.")).to_be_visible()
    expect(page.get_by_text("You have had no lease yet.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_history_in_pages(platform: ApiPlatform, open_page: Open) -> None:
    for hours in range(1, 13):
        platform.end(platform.lease("alice", ago_ms=hours * HOUR_MS), 60_000, EndReason.QUOTA)
    page = open_page("alice")
    rows = page.get_by_role("table", name="Your leases, newest first").locator("tbody tr")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("quota used up")
    page.get_by_role("button", name="Older").click()
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Newer").click()
    expect(rows).to_have_count(10)


def test_the_chart_by_keyboard_and_as_a_table(platform: ApiPlatform, open_page: Open) -> None:
    platform.end(platform.lease("alice", ago_ms=26 * HOUR_MS), HOUR_MS)
    page = open_page("alice")
    days = page.locator(".chart .day")
    expect(days).to_have_count(30)
    days.last.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".chart .day:focus")).to_have_attribute("aria-label", re.compile(r"\d+ GPU|1 GPU-h"))
    expect(page.locator(".tip")).to_be_visible()
    assert page.locator('.chart .day[tabindex="0"]').count() == 1
    page.get_by_text("As a table").click()
    table = page.get_by_role("table", name=re.compile("Use of user:alice by day"))
    expect(table.locator("tbody tr")).not_to_have_count(0)
    page.get_by_role("combobox", name="Account").select_option("group:lab")
    expect(page.get_by_text("Nothing was used in the last 30 days.")).to_be_visible()


def test_times_are_in_the_browsers_zone_with_utc_in_the_title(platform: ApiPlatform, open_page: Open) -> None:
    platform.lease("alice", ago_ms=HOUR_MS)
    page = open_page("alice", timezone_id="Asia/Kathmandu")
    time = page.locator("article.lease time").first
    shown = re.findall(r"\d\d:\d\d", time.inner_text())[0]
    utc = re.findall(r"\d\d:\d\d", str(time.get_attribute("title")))[0]
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (shown, utc)]
    assert (minutes[0] - minutes[1]) % (24 * 60) == 5 * 60 + 45
    assert str(time.get_attribute("title")).endswith(" UTC")


def test_an_api_that_is_away_and_comes_back(open_page: Open) -> None:
    page = open_page("alice")
    expect(page.get_by_text("No lease is running.")).to_be_visible()
    pattern = "**/services/sublet/api/**"
    page.route(pattern, lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("This could not be read.").first).to_be_visible()
    page.unroute(pattern)
    page.get_by_role("button", name="Try again").first.click()
    expect(page.get_by_text("No lease is running.")).to_be_visible()


def test_what_is_shown_stays_while_the_api_is_away(open_page: Open) -> None:
    page = open_page("root", "admin")
    expect(page.get_by_role("heading", name="Default quota")).to_be_visible()

    def unavailable(route: Route) -> None:
        body = '{"type": "https://sublet.dev/problems/unavailable", "detail": "The database does not answer."}'
        route.fulfill(status=503, content_type="application/problem+json", body=body)

    page.route("**/services/sublet/api/**", unavailable)
    expect(page.locator("#trouble")).to_contain_text("The database does not answer.", timeout=15_000)
    expect(page.get_by_role("heading", name="Default quota")).to_be_visible()
    page.unroute_all()
    expect(page.locator("#trouble")).to_be_empty(timeout=30_000)


def test_an_admin_edits_the_default_quota_in_place(platform: ApiPlatform, open_page: Open) -> None:
    lease = platform.lease("alice", ago_ms=60_000)
    page = open_page("root", "admin")
    page.get_by_role("button", name="Edit the quota of the default").click()
    rows = page.locator(".edit-row")
    expect(rows).to_have_count(4)
    expect(rows.first.get_by_label("At most")).to_have_value("10")
    rows.first.get_by_label("At most").fill("0.01")
    rows.nth(1).get_by_role("button", name="Remove this limit").click()
    page.get_by_role("button", name="+ Add a limit").click()
    rows.last.get_by_label("What").select_option("money_microunits")
    rows.last.get_by_label("At most").fill("12.50")
    rows.last.get_by_label("Window").select_option("rolling")
    rows.last.get_by_label("Days").fill("7")
    page.get_by_label("Why").fill("fairness")
    page.get_by_role("button", name="Save").click()
    card = page.get_by_role("article", name=re.compile("^Default quota"))
    expect(card).to_contain_text("One running lease's deadline moved:alice on gpu-1x")
    expect(card).to_contain_text("Money in the last 7 days")
    expect(page.get_by_role("table", name="Audit records")).to_contain_text("fairness")
    with platform.books.store.transaction(write=False) as tx:
        quota = tx.quota(accounts.DEFAULT)
    assert quota is not None
    assert {(each.what.value, each.limit, each.window) for each in quota.limits} == {
        ("gpu_seconds", 36, "week"), ("leases", 8, None), ("lease_seconds", 7200, None),
        ("money_microunits", 12_500_000, "P7D"),
    }  # fmt: skip
    assert lease.id


def test_what_is_wrong_is_said_at_its_field(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page("root", "admin")
    page.get_by_role("button", name="Edit the quota of the default").click()
    amount = page.locator(".edit-row").nth(1).get_by_label("At most")
    for text, said in (
        ("", "Write an amount"),
        ("two", "Write a number"),
        ("1.5", "fewer decimals"),
        ("1e9", "number"),
    ):
        amount.fill(text)
        page.get_by_role("button", name="Save").click()
        expect(amount).to_have_attribute("aria-invalid", "true")
        expect(amount).to_be_focused()
        expect(page.locator(f"#{amount.get_attribute('aria-describedby')}")).to_contain_text(said)
    amount.fill("2")
    page.get_by_role("button", name="+ Add a limit").click()
    added = page.locator(".edit-row").last
    added.get_by_label("At most").fill("7")  # a second limit on GPU time per week: only the api refuses that
    page.get_by_role("button", name="Save").click()
    expect(added).to_contain_text("The same limit stands here twice.")
    added.get_by_role("button", name="Remove this limit").click()
    zone = page.get_by_label("Days, weeks and months begin in time zone")
    zone.fill("Mars/Olympus")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(f"#{zone.get_attribute('aria-describedby')}")).to_contain_text("Mars/Olympus")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".edit-row")).to_have_count(0)


def test_a_quota_for_one_user_and_its_end(open_page: Open) -> None:
    page = open_page("root", "admin")
    page.get_by_role("button", name="Add a quota").click()
    name = page.get_by_label("Name")
    save = page.get_by_role("button", name="Set this quota")
    save.click()
    expect(page.get_by_text("Write a name.")).to_be_visible()
    name.fill("nobody")
    save.click()
    expect(page.get_by_text("The hub has no user 'nobody'.")).to_be_visible()
    expect(name).to_be_focused()
    name.fill("bob")
    save.click()
    card = page.get_by_role("article", name=re.compile("^bob"))
    expect(card).to_contain_text("10 GPU-h left")
    page.get_by_role("button", name="Delete the quota of bob").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)


def test_an_admin_stops_a_lease(platform: ApiPlatform, open_page: Open) -> None:
    lease = platform.lease("bob", ago_ms=60_000)
    platform.lease("alice", ago_ms=60_000)
    page = open_page("root", "admin")
    rows = page.get_by_role("table", name=re.compile("Live leases")).locator("tbody tr")
    expect(rows).to_have_count(2)
    page.get_by_label("Find").first.fill("bob")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Stop the lease of bob").click()
    page.get_by_label("Why").fill("maintenance")
    page.get_by_role("button", name="Stop lease").click()
    expect(rows.first).to_contain_text("ended by an admin")
    expect(page.get_by_role("table", name="Audit records")).to_contain_text("maintenance")
    page.get_by_role("button", name="Stop the lease of bob").click()
    page.get_by_label("Immediately").check()
    page.get_by_role("button", name="Stop lease").click()
    expect(rows.first).to_contain_text("ending")
    with platform.books.store.transaction(write=False) as tx:
        stopped = tx.lease(lease.id)
    assert stopped is not None
    assert stopped.state == "ending"


def test_without_a_default_quota_the_admin_is_warned(platform: ApiPlatform, open_page: Open) -> None:
    from sublet_hub.storage import quotas

    quotas.delete_quota(platform.books, accounts.DEFAULT, actor="user:root", why="")
    page = open_page("root", "admin")
    expect(page.get_by_text("There is no default quota")).to_be_visible()
    page.get_by_role("button", name="Set a default quota").click()
    page.get_by_role("button", name="+ Add a limit").click()
    page.locator(".edit-row").get_by_label("At most").fill("10")
    page.get_by_role("button", name="Set this quota").click()
    expect(page.get_by_text("There is no default quota")).to_have_count(0)
    expect(page.get_by_role("article", name=re.compile("^Default quota"))).to_contain_text("10 GPU-h")


def test_the_admin_page_is_not_for_others(open_page: Open) -> None:
    page = open_page("alice", "admin")
    expect(page.get_by_role("heading", name="This page is for quota admins")).to_be_visible()


@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize(("user", "path"), [("alice", ""), ("root", "admin")])
def test_nothing_scrolls_sideways(platform: ApiPlatform, open_page: Open, user: str, path: str, width: int) -> None:
    platform.lease("alice", accounts.group("lab"), server_name="a-server-with-quite-a-long-name", ago_ms=HOUR_MS)
    limit(platform.books, accounts.group("lab"), gpu_seconds=(30, "P30D"))
    page = open_page(user, path, viewport={"width": width, "height": 800})
    expect(page.locator("[aria-busy]")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name(platform: ApiPlatform, open_page: Open) -> None:
    platform.lease("alice", ago_ms=60_000)
    page = open_page("root", "admin")
    page.get_by_role("button", name="Edit the quota of the default").click()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select")].filter((it) => {
             const label = it.labels?.length || it.getAttribute("aria-label") || it.textContent.trim();
             return it.offsetParent !== null && !label;
           }).map((it) => it.outerHTML)"""
    )
    assert unnamed == []


def test_amounts_read_the_same_as_on_the_command_line(chromium: Browser, platform: ApiPlatform) -> None:
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(f"{platform.url}/services/sublet/health")
    seconds = [0, 1, 59, 60, 61, 3599, 3600, 4500, 4800, 36000, 86400, 273_600, 10_000_000]
    micros = [0, 1, 9_999, 10_000, 3_200_000, 1_234_567_890_000]
    shown = page.evaluate(
        """async ([seconds, micros]) => {
             const it = await import("/services/sublet/static/js/format.js");
             return [seconds.map(it.duration), seconds.map(it.gpuTime), micros.map((each) => it.money(each, "USD"))];
           }""",
        [seconds, micros],
    )
    context.close()
    assert shown == [
        [units.duration(each) for each in seconds],
        [units.gpu_hours(each) for each in seconds],
        [units.money(each, "USD") for each in micros],
    ]


def test_a_stop_that_was_ordered_by_an_admin_says_so(platform: ApiPlatform, open_page: Open) -> None:
    lease = platform.lease("alice", ago_ms=60_000)
    leasing.order_end(platform.books, lease.id, at_ms=None, reason=EndReason.ADMIN, actor="user:root", why="")
    page = open_page("alice")
    expect(page.get_by_role("alert")).to_contain_text("An admin has ended it.")
