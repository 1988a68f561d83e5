"""The models tab: what there is and fits, an example in a notebook, a licence; then the same on a real platform."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.browser.lab import documents
from tests.browser.lab.conftest import Lab, OpenPage, wait_for
from tests.browser.lab.test_panel import DARK, Picture, in_theme
from tests.fixtures.lab import in_lab
from tests.fixtures.platform import Platform

pytestmark = [pytest.mark.browser]

FASTTEXT, LLAMA, SAM = "fastText language identification", "Llama 3.3 70B Instruct", "SAM 2.1 Hiera Large"


def open_models(page: Page) -> Locator:
    page.evaluate("() => window.jupyterapp.commands.execute('sublet:open-models')")
    tab = page.get_by_role("region", name="Models", exact=True)
    expect(tab).to_be_visible()
    return tab


def model(tab: Locator, title: str) -> Locator:
    return tab.get_by_role("listitem", name=title, exact=True)


def test_a_model_is_found_with_its_terms_and_what_it_fits(
    lab: Lab, open_notebook: OpenPage, picture: Picture
) -> None:
    page = open_notebook()
    tab = open_models(page)
    rows, find = tab.get_by_role("listitem"), tab.get_by_label("Find")
    expect(rows).to_have_count(3)
    expect(find).to_be_focused()
    small, large, huge = (model(tab, title) for title in (FASTTEXT, LLAMA, SAM))
    expect(small).to_contain_text("calls are free")
    expect(small).to_contain_text("5 MiB to load it")
    expect(small.locator(".sublet-tag")).to_have_text(["on this server", "served"])
    expect(small.locator(".sublet-tip")).to_have_count(0)
    expect(large).to_contain_text("70.6B parameters, bfloat16, 141 GiB on disk")
    expect(large).to_contain_text("$0.60 in, $0.80 out, per million tokens")
    expect(large).to_contain_text("not accepted")
    expect(large.locator(".sublet-tip")).to_contain_text(
        "It fits: Two H100. It can be called from here all the same."
    )
    expect(huge.locator(".sublet-tip")).to_contain_text("No flavor here has so much memory.")
    picture(page, "models")
    in_theme(page, DARK)
    picture(page, "models-dark")
    page.set_viewport_size({"width": 640, "height": 800})
    picture(page, "models-narrow")
    page.set_viewport_size({"width": 1280, "height": 800})
    in_theme(page, "JupyterLab Light")
    large.get_by_role("button", name="Switch flavor").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Move to another flavor?")
    dialog.get_by_role("button", name="Cancel").click()

    find.focus()
    page.keyboard.type("picture film")
    expect(rows).to_have_count(1)
    expect(tab.get_by_text("1 of 3 models")).to_be_visible()
    page.keyboard.type(" of nothing like that")
    expect(tab.get_by_text("No model is like that.")).to_be_visible()
    tab.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(3)
    tab.get_by_label("Family").select_option("SAM")
    expect(rows).to_have_count(1)
    tab.get_by_label("Family").select_option("")
    tab.get_by_label("Show").select_option("what I can use now")
    expect(rows).to_have_count(1)
    expect(small).to_be_visible()


def test_an_example_is_inserted_below_and_run(lab: Lab, open_notebook: OpenPage) -> None:
    page = open_notebook()
    tab = open_models(page)
    cells = page.locator(".jp-NotebookPanel .jp-CodeCell")
    expect(cells).to_have_count(1)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').first.wait_for(timeout=60_000)
    tab.get_by_label("Find").press("ArrowDown")
    expect(model(tab, FASTTEXT)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(model(tab, LLAMA)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(cells).to_have_count(2)
    expect(cells.nth(0)).to_contain_text("train(model, optimizer, step)")
    expect(cells.nth(1)).to_contain_text('print(len(words), "words")')
    expect(cells.nth(1)).to_be_focused()
    page.keyboard.press("Shift+Enter")
    expect(cells.nth(1).locator(".jp-OutputArea-output")).to_have_text("4 words", timeout=60_000)


def states_of_new_kernels(lab: Lab) -> list[str]:
    sessions = lab.client.get("/api/sessions").json()
    return [each["kernel"]["execution_state"] for each in sessions if each["path"].startswith("Untitled")]


def test_without_a_notebook_the_example_opens_one(
    lab: Lab, open_notebook: OpenPage, context: BrowserContext, app: str
) -> None:
    page = open_notebook("notes.md")
    tab = open_models(page)
    model(tab, FASTTEXT).get_by_role("button", name="Copy").click()
    expect(model(tab, FASTTEXT)).to_contain_text("Copied.")
    context.grant_permissions(["clipboard-read"])
    assert page.evaluate("() => navigator.clipboard.readText()") == documents.EXAMPLE
    model(tab, FASTTEXT).get_by_role("button", name="Insert").click()
    if app == "lab":
        expect(page.locator(".jp-NotebookPanel .jp-CodeCell")).to_have_count(1)
        expect(page.locator(".jp-NotebookPanel .jp-CodeCell")).to_contain_text('print(len(words), "words")')
        # A server that is told to end while a kernel starts waits a minute for that kernel.
        wait_for(lambda: "idle" in states_of_new_kernels(lab), "the new notebook's kernel to be there", 60)
    else:  # it has a browser tab for each document
        expect(model(tab, FASTTEXT)).to_contain_text("Open a notebook first")


def test_a_gated_licence_is_read_and_accepted(lab: Lab, open_notebook: OpenPage, picture: Picture) -> None:
    lab.answer("models/llama-3.3-70b", 200, documents.gated())
    stale = "llama-3.3-70b is under another version now. Read that one first."
    lab.answer("models/llama-3.3-70b/acceptance", 409, {"detail": stale, "type": "x", "title": "x", "status": 409})
    page = open_notebook()
    tab = open_models(page)
    read = tab.get_by_role("button", name="Read and accept")
    dialog = page.get_by_role("dialog")
    read.click()
    expect(dialog.get_by_role("document")).to_contain_text("<b>You may use it.</b>")
    expect(dialog.get_by_role("link", name="Accept it for a group")).to_have_attribute(
        "href", re.compile(r"/services/sublet/models#llama-3\.3-70b$")
    )
    picture(page, "models-licence")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert lab.asked("models/llama-3.3-70b/acceptance") == []

    read.click()
    dialog.get_by_role("button", name="I accept").click()
    expect(model(tab, LLAMA)).to_contain_text(stale)
    lab.answer("models/llama-3.3-70b/acceptance", 201, {})
    lab.answer("models", 200, documents.models(accepted=True))
    read.click()
    dialog.get_by_role("button", name="I accept").click()
    bodies = lab.wait_asked("models/llama-3.3-70b/acceptance", 2)
    assert bodies[-1] == {"licence": "llama-3.3-community-license", "version": "2024-12-06"}
    row = model(tab, LLAMA)
    expect(row).to_contain_text("Calls work at once. Its files are on this server from its next start.")
    expect(row).to_contain_text("accepted by you")
    expect(row.locator(".sublet-tags")).to_contain_text("on this server from its next start")
    expect(row).not_to_contain_text(stale)


def test_what_is_wrong_is_said_and_clears(lab: Lab, open_notebook: OpenPage) -> None:
    lab.answer("models", 503, {"detail": "Sublet did not answer.", "type": "x", "title": "x", "status": 503})
    page = open_notebook()
    tab = open_models(page)
    fault = tab.get_by_role("alert")
    expect(fault).to_contain_text("Sublet did not answer.")
    lab.answer("models", 200, {"models": [], "here": []})
    fault.get_by_role("button", name="Try again").click()
    expect(fault).to_have_count(0)
    expect(tab).to_contain_text("There are no models on this platform yet.")
    expect(tab.get_by_label("Find")).to_have_count(0)


@pytest.mark.platform
@pytest.mark.timeout(400)
def test_on_a_real_platform_an_example_runs_and_a_licence_is_accepted(
    platform: Platform, sign_in: Callable[..., Page]
) -> None:
    page = sign_in("mona")
    page.goto("/hub/spawn")
    page.get_by_role("radio", name=re.compile("1 × Simulated GPU.*Guaranteed")).check()
    page.get_by_role("button", name=re.compile("^Start")).click()
    in_lab(page, 150)
    page.get_by_role("tab", name="Sublet: models").click()
    tab = page.get_by_role("region", name="Models", exact=True)
    row = model(tab, FASTTEXT)
    expect(row.locator(".sublet-tag", has_text="on this server")).to_be_visible()
    row.get_by_role("button", name="Insert").click()
    cell = page.locator(".jp-NotebookPanel .jp-CodeCell", has_text="sublet.models.load")
    expect(cell).to_be_focused()
    page.locator('.jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=120_000)
    page.keyboard.press("Shift+Enter")
    expect(cell.locator(".jp-OutputArea-output")).to_contain_text("__label__de", timeout=60_000)

    gated = model(tab, "Llama")
    gated.get_by_role("button", name="Read and accept").click()
    page.get_by_role("dialog").get_by_role("button", name="I accept").click()
    expect(gated).to_contain_text("Accepted. Its files are on this server from its next start.")
    expect(gated).to_contain_text("accepted by you")
