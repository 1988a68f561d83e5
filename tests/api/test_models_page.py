"""The models page in a browser, on the real api: finding, reading and accepting, and the ways it may fail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from sublet_hub.api.shelf import Shelf
from sublet_hub.domain import accounts
from sublet_hub.domain.allowances import AllowanceRequest, CallCounts, Post
from sublet_hub.domain.amounts import Amount, Micros
from sublet_hub.domain.models import NO_MODELS, ModelCatalogue
from sublet_hub.storage import accepting, allowing
from tests.fixtures.api_pages import Open, opening
from tests.fixtures.api_platform import ApiPlatform, api_platform
from tests.fixtures.books import limit
from tests.fixtures.browser import chromium
from tests.fixtures.model_catalogue import LLAMA, catalogue

__all__ = ["chromium"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

TERMS = "You may use it.\n\n<script>alert(1)</script>\nYou may not claim that you made it.\n" + "More terms. " * 300


@pytest.fixture
def platform() -> Iterator[ApiPlatform]:
    with api_platform(shelf=Shelf(licence_texts={LLAMA.name: TERMS})) as made:
        limit(made.books, gpus=4)
        yield made


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    with opening(chromium) as opened:
        yield partial(opened, path="models")


def card(page: Page, title: str) -> Any:
    return page.get_by_role("article", name=title, exact=True)


def test_each_model_says_what_it_is_on_what_terms_and_what_it_fits(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "alice")
    tiny, big, sam = (card(page, title) for title in ("Tiny Llama", "Llama, big", "SAM 3"))
    expect(tiny).to_contain_text("$0.20 in, $0.80 out, per million tokens")
    expect(tiny).to_contain_text("nothing to accept")
    expect(tiny).to_contain_text("2 million parameters, bfloat16, 64 MiB of memory")
    expect(tiny).to_contain_text("all flavors")
    expect(big).to_contain_text("not accepted")
    expect(big).to_contain_text("8,192 tokens")
    expect(sam).not_to_contain_text("Price")
    expect(page.get_by_role("link", name="Models")).to_have_attribute("aria-current", "page")


def test_what_fits_no_flavor_says_so_and_what_fits_some_names_them(chromium: Browser, open_page: Open) -> None:
    models = dict(catalogue().models)
    models["sam-3"] = replace(models["sam-3"], memory_bytes=2**60)
    with api_platform(models=ModelCatalogue(models, catalogue().licences)) as platform:
        page = open_page(platform, "alice")
        expect(card(page, "SAM 3")).to_contain_text("no flavor here: it needs 1,073,741,824 GiB")


def test_finding_and_filtering(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "alice")
    cards = page.get_by_role("article")
    expect(cards).to_have_count(3)
    page.get_by_label("Find").fill("llama toy")
    expect(cards).to_have_count(1)
    expect(page.get_by_text("1 of 3 models")).to_be_visible()
    page.get_by_label("Find").fill("nothing of the kind")
    expect(page.get_by_text("No model is like that.")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    expect(cards).to_have_count(3)
    page.get_by_label("Family").select_option("SAM")
    expect(cards).to_have_count(1)
    page.get_by_label("Family").select_option("")
    page.get_by_label("Show").select_option("served")
    expect(cards).to_have_count(2)
    page.get_by_label("Show").select_option("ready")
    expect(cards).to_have_count(1)


def test_a_licence_is_read_and_accepted(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "alice")
    page.get_by_role("button", name="Read and accept: Llama, big").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Llama 3.2 Community License, version 2024-09-25")
    expect(dialog).to_contain_text("<script>alert(1)</script>")
    expect(dialog.get_by_role("link")).to_have_attribute("href", LLAMA.url)
    expect(dialog.get_by_label("Accept for")).to_have_count(0)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert accepting.accepted_by(platform.books, [accounts.user("alice")]) == []
    page.get_by_role("button", name="Read and accept: Llama, big").click()
    dialog.get_by_role("button", name="I accept").click()
    expect(dialog).to_have_count(0)
    expect(card(page, "Llama, big")).to_contain_text("accepted by you")
    (accepted,) = accepting.accepted_by(platform.books, [accounts.user("alice")])
    assert (accepted.licence, accepted.version, accepted.accepted_by) == (LLAMA.name, LLAMA.version, "user:alice")
    page.get_by_role("button", name="Read: Llama, big").click()
    expect(dialog).to_contain_text("It is accepted already.")


def test_a_groups_admin_accepts_for_the_group(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "carol")
    page.get_by_role("button", name="Read and accept: Llama, big").click()
    page.get_by_label("Accept for").select_option("group lab")
    page.get_by_role("button", name="I accept").click()
    expect(card(page, "Llama, big")).to_contain_text("accepted by group lab")
    assert [each.subject for each in accepting.listed(platform.books, None, 0, 9)] == [accounts.group("lab")]


@pytest.mark.parametrize("path", ["models?model=llama-big", "models#llama-big"])
def test_the_link_of_a_refused_call_leads_to_the_licence(platform: ApiPlatform, open_page: Open, path: str) -> None:
    page = open_page(platform, "alice", path=path)
    expect(page.get_by_role("dialog")).to_contain_text("Llama, big is under")
    page.get_by_role("button", name="I accept").click()
    expect(card(page, "Llama, big")).to_contain_text("accepted by you")
    page.reload()
    expect(card(page, "Llama, big")).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_version_that_changed_meanwhile_is_refused_in_the_dialog(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "alice")
    page.get_by_role("button", name="Read and accept: Llama, big").click()
    expect(page.get_by_role("dialog")).to_contain_text("You may use it.")
    renewed = replace(LLAMA, version="2026-01-01")
    models = platform.books.models.models
    assert isinstance(models, dict)
    models["llama-big"] = replace(models["llama-big"], licence=renewed)
    page.get_by_role("button", name="I accept").click()
    expect(page.get_by_role("alert")).to_contain_text("of version 2026-01-01 now. Read that one first.")
    assert accepting.listed(platform.books, None, 0, 9) == []


def test_the_example_is_copied(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "alice", permissions=["clipboard-read", "clipboard-write"])
    tiny = card(page, "Tiny Llama")
    tiny.get_by_text("A cell to begin with").click()
    tiny.get_by_role("button", name="Copy the example for Tiny Llama").click()
    expect(tiny.get_by_role("button", name="Copy the example for Tiny Llama")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == 'sublet.models.load("tiny-llama")'


def test_without_any_model_it_says_what_to_do(open_page: Open) -> None:
    with api_platform(models=NO_MODELS) as platform:
        page = open_page(platform, "alice")
        expect(page.get_by_text("There are no models here yet.")).to_be_visible()
        expect(page.get_by_text("models.toml")).to_be_visible()
        expect(page.get_by_label("Find")).to_be_hidden()


def test_what_was_called_is_on_the_usage_page(platform: ApiPlatform, open_page: Open) -> None:
    alice, some = accounts.user("alice"), Amount(money=Micros(10_000), tokens=50_000)
    limit(platform.books, alice, model_tokens=(1_000_000, "day"))
    allowance = allowing.allow(platform.books, AllowanceRequest("alice", alice, some, some, 3_600_000)).allowance
    page = open_page(platform, "alice", path="")
    expect(page.get_by_text("50,000 held for calls of models")).to_be_visible()
    expect(page.get_by_role("heading", name="Calls of models in the last 30 days")).to_be_hidden()
    uses = (CallCounts("tiny-llama", 3, 12_000, 8_000), CallCounts("llama-big", 1, 5_000, 1_000))
    allowing.post(platform.books, allowance.id, Post(1, uses, release=True))
    page.reload()
    rows = page.get_by_role("table", name="Calls of models").locator("tbody tr")
    expect(rows).to_have_text(
        [re.compile("llama-big.*1.*5,000.*1,000.*0\\.02"), re.compile("tiny-llama.*3.*12,000.*8,000.*0\\.01")]
    )
    expect(page.get_by_text("26,000 of 1,000,000 used")).to_be_visible()


def test_an_api_that_is_away(platform: ApiPlatform, open_page: Open) -> None:
    page = open_page(platform, "alice")
    expect(page.get_by_role("article")).to_have_count(3)
    page.route("**/services/sublet/api/**", lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("This could not be read.")).to_be_visible()
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("article")).to_have_count(3)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_scrolls_sideways_and_every_control_has_a_name(
    platform: ApiPlatform, open_page: Open, width: int
) -> None:
    page = open_page(platform, "carol", viewport={"width": width, "height": 800})
    expect(page.locator("[aria-busy]")).to_have_count(0)
    page.get_by_text("A cell to begin with").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Read and accept: Llama, big").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select")].filter((it) => {
             const label = it.labels?.length || it.getAttribute("aria-label") || it.textContent.trim();
             return it.offsetParent !== null && !label;
           }).map((it) => it.outerHTML)"""
    )
    assert unnamed == []
