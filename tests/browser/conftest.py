"""A real platform with real JupyterLab, and a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.fixtures.platform import ROOT, Platform

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
NOTEBOOK = ROOT / ".venv-notebook" / "bin" / "jupyterhub-singleuser"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

SignIn = Callable[[str], Page]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = next((found for name in CHROMIUM_NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    if not NOTEBOOK.exists():
        pytest.skip("no .venv-notebook: run `make setup`")
    folder: Path = tmp_path_factory.mktemp("browser")
    for each in (folder, folder.parent):
        each.chmod(0o755)
    settings = {
        "SUBLET_NOTICE_SECONDS": "8,3",
        "SUBLET_METER_TICK_SECONDS": "0.5",
        "SUBLET_TOKEN_CACHE_SECONDS": "2",
        "SUBLET_CONTACT": "gpu-admins@example.org",
        "SUBLET_SPAWN_TIMEOUT_SECONDS": "120",
    }
    made = Platform(folder, settings, tiny=False).start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def contexts(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    opened: list[BrowserContext] = []

    def open_context(**options: object) -> BrowserContext:
        context = chromium.new_context(**options)  # type: ignore[arg-type]  # Playwright's own options
        context.set_default_timeout(60_000)
        opened.append(context)
        return context

    yield open_context
    for context in opened:
        context.close()


@pytest.fixture
def complaints() -> list[str]:
    """What pages of ours complained about in the console; a test that ends well leaves it empty."""
    return []


@pytest.fixture
def sign_in(platform: Platform, contexts: Callable[..., BrowserContext], complaints: list[str]) -> SignIn:
    """A page signed in as somebody, in a browser context of their own."""

    def note(message: ConsoleMessage) -> None:
        if message.type == "error" and "/lab" not in message.page.url if message.page else False:
            complaints.append(f"{message.page.url if message.page else ''}: {message.text}")

    def signed_in(user: str, **options: object) -> Page:
        credentials = platform.credentials()
        password = credentials["admin_password" if user == credentials["admin_user"] else "user_password"]
        page = contexts(base_url=platform.url, **options).new_page()
        page.on("console", note)
        page.goto("/hub/login")
        page.get_by_label("Username").fill(user)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/hub/**")
        return page

    return signed_in
