"""Our sentences in another language, by JupyterLab's own way: a setting, a language pack, our catalogue beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.lab import documents
from tests.browser.lab.conftest import Lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LANGUAGE = "/lab/api/settings/@jupyterlab/translation-extension:plugin"


@pytest.fixture
def in_german(lab: Lab) -> Iterator[Lab]:
    def speak(locale: str) -> None:
        lab.client.put(LANGUAGE, json={"raw": json.dumps({"locale": locale})}).raise_for_status()

    speak("de_DE")
    yield lab
    speak("default")


def test_all_that_is_shown_is_german(in_german: Lab, open_notebook: Callable[..., Page]) -> None:
    in_german.tell(documents.warned("quota", 240))
    page = open_notebook()
    status = page.locator(".sublet-Status-button")
    expect(status).to_have_accessible_name(re.compile("noch .*bisher"))
    banner = page.locator(".sublet-Banner")
    expect(banner).to_contain_text("endet bald.")
    expect(banner.get_by_role("button", name="Alle speichern")).to_be_visible()
    status.click()
    panel = page.get_by_role("region", name="Sublet", exact=True)
    for name in ("Verlängern", "Beenden", "Variante wechseln"):
        expect(panel.get_by_role("button", name=name, exact=True)).to_be_visible()
    expect(panel.get_by_role("heading", name="Was noch übrig ist")).to_be_visible()
    panel.get_by_role("button", name="Beenden", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Diesen Server beenden?")
    dialog.get_by_role("button", name="Abbrechen").click()
    page.evaluate("() => window.jupyterapp.commands.execute('sublet:open-models')")
    models = page.get_by_role("region", name="Modelle", exact=True)
    expect(models.get_by_role("listitem")).to_have_count(3)
    expect(models.get_by_label("Familie")).to_be_visible()
    for name in ("Lesen und annehmen: Llama 3.3 70B", "Das Beispiel für fastText language identification einfügen"):
        expect(models.get_by_role("button", name=name)).to_be_visible()
