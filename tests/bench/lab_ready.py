"""How long JupyterLab takes in a real browser until it can be worked in, with our extensions and without.

A third server, without them as the second, tells how far two medians of the same thing lie apart here.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.bench.figures import Limit, Result, median, percentile
from tests.bench.lab_servers import LabServer, lab_server, platform_of
from tests.fixtures.browser import CHROMIUM_NAMES, FLAGS

AT_MOST = 1.03
LOADS, QUICK_LOADS = 30, 3
WARM_UP = 2
WITH, WITHOUT, AGAIN = "with the extensions", "without", "without, once more"
PATIENCE_MS = 120_000

READY = """() => new Promise(resolve => {
    const look = () => {
        const lab = window.jupyterapp;
        if (!lab) return void setTimeout(look, 2);
        lab.restored.then(() => {
            const card = () => {
                const found = document.querySelector('.jp-LauncherCard');
                if (!found || !found.getBoundingClientRect().height) return void setTimeout(card, 2);
                resolve(performance.now());
            };
            card();
        });
    };
    look();
})"""
"""Milliseconds from the navigation until JupyterLab says that it is restored and its launcher can be clicked."""

OURS_IS_THERE = "() => !!document.querySelector('.sublet-Status')"


def run(*, quick: bool) -> Result:
    loads = QUICK_LOADS if quick else LOADS
    with (
        platform_of(1) as (_, leases),
        lab_server(leases[0]) as ours,
        lab_server(None) as plain,
        lab_server(None) as again,
        sync_playwright() as playwright,
    ):
        path = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        servers = {WITH: ours, WITHOUT: plain, AGAIN: again}
        first, later = _measure(browser, servers, loads)
        browser.close()
    noise = max(abs(median(of[AGAIN]) / median(of[WITHOUT]) - 1) for of in (first, later))
    return Result(
        title="JupyterLab in the browser, with our extensions",
        limits=(
            _limit("ratio of medians, on a first visit", first),
            _limit("ratio of medians, on a later visit", later),
        ),
        columns=("JupyterLab", "first visit: median in s", "p10 in s", "p90 in s",
                 "later visit: median in s", "p10 in s", "p90 in s"),
        rows=tuple((name, *_cells(first[name]), *_cells(later[name])) for name in servers),
        samples=f"{loads} visits of each kind, in turns",
        notes=(
            "Seconds from the navigation until JupyterLab says that it is restored and its launcher can be clicked.",
            "On a first visit the browser has nothing of it yet. The last row is the same as the second:",
            f"so far two medians of one thing lie apart here, {noise:.1%} at most.",
        ),
    )  # fmt: skip


def _measure(
    browser: Browser, servers: Mapping[str, LabServer], loads: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of first visits and of later ones, by server; who begins changes from round to round."""
    first: dict[str, list[float]] = {name: [] for name in servers}
    later: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(WARM_UP + loads):
        names = list(servers)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            context = browser.new_context()
            fresh = _visit(context, servers[name], ours=name == WITH)
            known = _visit(context, servers[name], ours=name == WITH)
            context.close()
            if number >= WARM_UP:
                first[name].append(fresh)
                later[name].append(known)
    return first, later


def _visit(context: BrowserContext, server: LabServer, *, ours: bool) -> float:
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{server.url}/lab?reset", wait_until="commit")
    milliseconds: float = page.evaluate(READY)
    if ours:
        page.wait_for_function(OURS_IS_THERE)
    else:
        assert not page.evaluate(OURS_IS_THERE)
    page.close()
    return milliseconds / 1000


def _limit(what: str, seconds: Mapping[str, list[float]]) -> Limit:
    return Limit(what, median(seconds[WITH]) / median(seconds[WITHOUT]), AT_MOST)


def _cells(seconds: list[float]) -> tuple[str, ...]:
    return (f"{median(seconds):.3f}", f"{percentile(seconds, 10):.3f}", f"{percentile(seconds, 90):.3f}")
