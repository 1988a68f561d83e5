"""Every way out saves: each is gone through to its end, with edits in a real browser that are not saved.

Two users: one whose servers end one after the other, each way once, and one who does nothing meanwhile.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.ways_out.work import Work
from tests.fixtures.platform import Platform

pytestmark = [pytest.mark.browser, pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(600)]

IDLE_SECONDS = 300
"""A whole quiet minute of the clock, the minute of notice, and what a busy machine takes."""

LATE_SECONDS = 2
"""After the deadline, on a machine that has much else to do. That it is one is for tests/bench/end_of_lease.py."""


@pytest.fixture(scope="module", autouse=True)
def idler(platform: Platform, chromium: Browser) -> Iterator[Work]:
    """Somebody who edits something at the beginning and leaves it so, with the page open."""
    with chromium.new_context(base_url=platform.url) as context:
        work = Work(platform, context, "ida")
        work.begin("left alone")
        yield work


@pytest.fixture(scope="module")
def work(platform: Platform, chromium: Browser, idler: Work) -> Iterator[Work]:
    with chromium.new_context(base_url=platform.url) as context:
        yield Work(platform, context, "noa")


# -------------------------------------------------------------------- what happens


def lower(what: str, limit: int, window: str | None = None) -> Callable[[Work], None]:
    """An admin lowers a quota of the user's."""

    def lowered(work: Work) -> None:
        with work.platform.admin() as admin:
            body = {"limits": [{"what": what, "limit": limit, "window": window, "flavor": None}]}
            admin.put(f"/hub/api/quotas/users/{work.user}", json=body).raise_for_status()

    return lowered


def admin_stops(**how: bool) -> Callable[[Work], None]:
    def stop(work: Work) -> None:
        with work.platform.admin() as admin:
            path = f"/services/sublet/api/leases/{work.lease_id}/stop"
            admin.post(path, json={"why": "a test", **how}).raise_for_status()

    return stop


def in_the_panel(work: Work) -> None:
    work.page.locator(".sublet-Status-button").click()
    panel = work.page.get_by_role("region", name="Sublet", exact=True)
    panel.get_by_role("button", name="Stop", exact=True).click()
    work.page.get_by_role("dialog").get_by_role("button", name="Stop").click()


def on_a_page(path: str) -> Callable[[Work], None]:
    """The user presses Stop on a page of the platform, in another tab."""

    def stop(work: Work) -> None:
        page = work.page.context.new_page()
        page.goto(path)
        page.get_by_role("button", name=re.compile("^Stop")).first.click()
        page.get_by_role("dialog").get_by_role("button", name="Stop now").click()

    return stop


def send_sigterm(work: Work) -> None:
    """From outside, to the server's own process: its supervising parent knows nothing of it."""
    (server,) = (
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if "jupyterhub-singleuser" in (line := " ".join(process.info["cmdline"] or ()))
        and "sublet_hub.cluster.supervisor" not in line
        and (process.info["environ"] or {}).get("SUBLET_LEASE_ID") == work.lease_id
    )
    server.send_signal(signal.SIGTERM)


# -------------------------------------------------------------------- what is to come of it


@dataclass(frozen=True)
class Way:
    """How a lease ends: what happens, the reason that is written, the banner's words before (where there is a
    notice), and what is told after the next start (nothing of what the user did)."""

    happens: Callable[[Work], None]
    reason: str
    banner: str | None = None
    told: str | None = None


LIMIT = Way(
    lower("lease_seconds", 10),
    "limit",
    "It reaches the longest time that a lease may last",
    "because it reached the longest time that a lease may last.",
)
PAGE = Way(on_a_page("/services/sublet/"), "user")
ADMIN = Way(admin_stops(), "admin", "An admin has ended it", "because an administrator stopped it.")
WAYS = {
    "quota": Way(
        lower("gpu_seconds", 1, "day"), "quota", "GPU time today .* is used up", "because a quota was used up."
    ),
    "limit": LIMIT,
    "admin": ADMIN,
    "admin, at once": Way(admin_stops(immediately=True), "admin", ADMIN.banner, ADMIN.told),
    "user, in the panel": Way(in_the_panel, "user"),
    "user, on the usage page": PAGE,
    "user, at the hub": Way(on_a_page("/hub/home"), "user"),
    "signal": Way(send_sigterm, "exited", None, "its process was told to end, by a signal from outside."),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_was_not_saved_is_there_again(name: str, work: Work) -> None:
    way = WAYS[name]
    work.begin(f"edited before the end by {name}")
    way.happens(work)
    ended = work.wait_ended()
    check_end(work, ended, way)
    assert work.has_checkpoint, "the kernel's function ran to its end"
    go_on(work, way.told)


@pytest.mark.parametrize("way", [LIMIT, PAGE], ids=["limit", "user, on the usage page"])
def test_a_function_that_takes_too_long_is_cut_off_and_told_of(way: Way, work: Work) -> None:
    work.begin(f"edited while a function takes too long, {way.reason}", callback_seconds=3600)
    way.happens(work)
    check_end(work, work.wait_ended(), way)
    assert not work.has_checkpoint
    go_on(work, "A function that was to run before the end (sublet.on_notice) failed, or was cut off unfinished.")


def test_an_idle_lease_ends_with_all_that_was_not_saved(idler: Work) -> None:
    ended = idler.wait_ended(IDLE_SECONDS)
    check_end(idler, ended, Way(send_sigterm, "idle", "It has been idle"))
    assert idler.has_checkpoint, "the kernel's function ran to its end"
    go_on(idler, "because nothing had run in it for a while.")
    idler.stop()


def test_the_platforms_own_end_saves_as_well(platform: Platform, work: Work) -> None:
    """Last of all: everything is stopped by Ctrl-C, and started again."""
    work.begin("edited before the platform stops")
    assert platform.stop() == 0
    platform.start()
    check_end(work, work.wait_ended(), Way(send_sigterm, "shutdown"))
    assert work.has_checkpoint, "the kernel's function ran to its end"
    go_on(work, "because the platform was shut down.")
    work.stop()


def check_end(work: Work, ended: dict[str, Any], way: Way) -> None:
    """It ended for the right reason and on time, its user was warned and its kernel told, and all edits are saved."""
    assert ended["end_reason"] == way.reason
    late = datetime.fromisoformat(ended["ended_at"]) - datetime.fromisoformat(ended["deadline_at"])
    assert late.total_seconds() < LATE_SECONDS
    work.check_saved()
    assert any(each["ending"] for each in work.heard()), "the kernel has heard of the end"
    if way.banner:
        assert re.search(way.banner, work.alerts()), work.alerts()


def go_on(work: Work, told: str | None) -> None:
    """With the user's own quota gone, start again, and read what is told."""
    work.give_quota_back()
    work.start_again()
    if told:
        expect(work.page.get_by_role("alert")).to_contain_text(told, timeout=60_000)
