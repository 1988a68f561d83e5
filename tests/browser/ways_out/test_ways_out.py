"""Every way out saves: each is gone through to its end, with edits in a real browser that are not saved."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import pytest
from playwright.sync_api import expect

from tests.browser.ways_out.work import Work
from tests.fixtures.browser import Contexts
from tests.fixtures.platform import Platform

pytestmark = [pytest.mark.browser, pytest.mark.platform, pytest.mark.slow, pytest.mark.timeout(600)]


def lower(what: str, limit: int, window: str | None = None) -> Callable[[Work], None]:
    """An admin lowers a quota of the user's."""

    def lowered(work: Work) -> None:
        set_quota(work, [{"what": what, "limit": limit, "window": window}])

    return lowered


def set_quota(work: Work, limits: list[dict[str, object]]) -> None:
    with work.platform.admin() as admin:
        body = {"limits": [{"flavor": None, **limit} for limit in limits]}
        admin.put(f"/hub/api/quotas/users/{work.user}", json=body).raise_for_status()


def admin_stops(**how: bool) -> Callable[[Work], None]:
    def stop(work: Work) -> None:
        with work.platform.admin() as admin:
            path = f"/services/sublet/api/leases/{work.lease['id']}/stop"
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
        if "jupyterhub-singleuser" in " ".join(process.info["cmdline"] or ())
        and (process.info["environ"] or {}).get("JUPYTERHUB_USER") == work.user
        and "sublet_hub.cluster.supervisor" not in " ".join(process.info["cmdline"] or ())
    )
    server.send_signal(signal.SIGTERM)


@dataclass(frozen=True)
class Way:
    """How a lease ends: what happens, the reason that is written, the banner's words before (where there is a
    notice), and what is told after the next start (nothing of what the user did)."""

    happens: Callable[[Work], None]
    reason: str
    banner: str | None = None
    told: str | None = None


WAYS = {
    "quota": Way(lower("gpu_seconds", 1, "day"), "quota", "GPU time today .* is used up", "a quota was used up"),
    "limit": Way(
        lower("lease_seconds", 10),
        "limit",
        "It reaches the longest time that a lease may last",
        "it reached the longest time that a lease may last",
    ),
    "admin": Way(admin_stops(), "admin", "An admin has ended it", "an administrator stopped it"),
    "admin-at-once": Way(
        admin_stops(immediately=True), "admin", "An admin has ended it", "an administrator stopped it"
    ),
    "panel": Way(in_the_panel, "user"),
    "usage-page": Way(on_a_page("/services/sublet/"), "user"),
    "hub": Way(on_a_page("/hub/home"), "user"),
    "sigterm": Way(send_sigterm, "exited", None, "its process was told to end, by a signal from outside"),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_was_not_saved_is_there_again(name: str, platform: Platform, contexts: Contexts) -> None:
    way = WAYS[name]
    work = Work(platform, contexts(base_url=platform.url), f"user-{name}")
    way.happens(work)
    check_the_end(work, way)


def check_the_end(work: Work, way: Way) -> None:
    ended = work.wait_ended()
    assert ended["end_reason"] == way.reason
    work.check_saved()
    assert any(each["ending"] for each in work.checkpoints()), "the kernel has heard of the end"
    assert (work.home / "checkpointed").exists(), "the function ran to its end"
    if way.banner:
        assert re.search(way.banner, work.alerts()), work.alerts()
    give_quota_back(work)
    page = work.start_again()
    if way.told:
        expect(page.get_by_role("alert")).to_contain_text(f"because {way.told}.", timeout=60_000)
    end(work)


def give_quota_back(work: Work) -> None:
    with work.platform.admin() as admin:
        admin.delete(f"/hub/api/quotas/users/{work.user}")


def end(work: Work) -> None:
    work.session.stop_server()
