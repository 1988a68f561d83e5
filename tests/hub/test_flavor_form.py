"""The flavors page as its reader gets it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import TypeAdapter

from sublet_hub.hub.choice import Wish, accounts_of
from sublet_hub.hub.flavor_form import build_form, render_form
from sublet_hub.hub.messages import Lease, Offer
from tests.hub.conftest import LeasedSpawner, make_spawner
from tests.hub.fake_api import FakeApi, Json, offer, problem, used_up, usual_offers

CONTACT = "ops@example.org"
NOTHING = Wish()


def form_for(
    offers: list[Json], *, groups: tuple[str, ...] = (), before: Wish = NOTHING, last: Json | None = None
) -> str:
    view = build_form(
        TypeAdapter(tuple[Offer, ...]).validate_python(offers),
        "alice",
        groups,
        before,
        None if last is None else Lease.model_validate(last),
        contact=CONTACT,
        usage_url="/services/sublet/",
    )
    return re.sub(r"\s+", " ", render_form(view).replace("\u00a0", " "))


def radios(html: str, name: str = "offer") -> dict[str, str]:
    """The radio buttons of that name: their values, and `checked` or `disabled` as far as they are."""
    tags = re.findall(rf'<input type="radio" name="{name}"[^>]*>', html)
    states = {}
    for tag in tags:
        value = re.search(r'value="([^"]*)"', tag)
        assert value
        states[value[1]] = " ".join(word for word in ("checked", "disabled") if re.search(rf"\s{word}[\s>]", tag))
    return states


OWN = accounts_of("alice", ())


def test_a_flavor_tells_what_it_is_what_it_costs_and_how_long_it_lasts() -> None:
    html = form_for([offer("h100-4x", "4 × H100", OWN, gpus=4, model="NVIDIA H100", simulated=False, free=3)])
    for text in ("4 × H100", "NVIDIA H100", "4 × 16 GiB", "32 GiB", "3 free now", "2.00 USD per hour", "9 h 40 min"):
        assert text in html
    assert "Simulated" not in html
    assert radios(html) == {"h100-4x/guaranteed": "checked"}
    assert 'name="account" value="user:alice"' in html
    assert "Who pays" not in html


def test_simulated_gpus_are_plainly_labelled() -> None:
    assert "Simulated</span>" in form_for(usual_offers(OWN))


def test_the_prices_of_both_tiers_stand_there_and_the_tiers_are_explained() -> None:
    html = form_for(usual_offers(OWN))
    assert "2.00 USD per hour" in html
    assert "0.80 USD per hour" in html
    assert "Free of charge" in html
    assert "its owner may take the GPU back" in html
    assert "may take the GPU back" not in form_for([offer("one", "One", OWN)])


def test_what_can_not_be_had_is_shown_with_its_reason_and_when_it_resets() -> None:
    html = form_for([offer("sim", "Sim", OWN, refusals={"user:alice": used_up()}), *usual_offers(OWN)[1:]])
    assert radios(html) == {"sim/guaranteed": "disabled", "cpu/guaranteed": "checked"}
    assert "Your limit of 10 GPU-hours per week is used up." in html
    assert 'More is left from <time datetime="2026-11-30T00:00:00Z" data-local>Mon 30 Nov, 00:00 UTC</time>' in html
    assert 'class="flavor unavailable"' in html


def test_a_limit_at_once_is_told_apart_from_one_that_is_used_up() -> None:
    at_once = used_up() | {
        "limit": {"what": "gpus", "limit": 2, "window": None, "flavor": None},
        "retry_at": None,
    }
    html = form_for([offer("sim-4x", "4 × Sim", OWN, gpus=4, refusals={"user:alice": at_once})])
    assert "This would be more than your limit of 2 GPUs at once." in html


def test_a_reason_without_a_limit_is_told_in_the_apis_words() -> None:
    away = problem("meter-away", "Metering is not running, so nothing can be leased.", 503)
    html = form_for([offer("sim", "Sim", OWN, refusals={"user:alice": away})])
    assert "Metering is not running, so nothing can be leased." in html
    assert re.search(r"<button [^>]*disabled", html)


def test_each_account_that_may_pay_has_its_own_line() -> None:
    accounts = accounts_of("alice", ("lab",))
    html = form_for([offer("sim", "Sim", accounts, refusals={"group:lab": used_up("group:lab")})], groups=("lab",))
    assert radios(html, "account") == {"user:alice": "checked", "group:lab": ""}
    assert "Quota lasts about <strong>9 h 40 min</strong> on your own account" in html
    assert "Group lab’s limit of 10 GPU-hours per week is used up." in html
    assert radios(html) == {"sim/guaranteed": "checked"}, "one account can have it: not greyed without JavaScript"


def test_what_was_chosen_the_last_time_is_chosen_again() -> None:
    accounts = accounts_of("alice", ("lab",))
    before = Wish("sim-1x", "surplus", "group:lab")
    html = form_for(usual_offers(accounts), groups=("lab",), before=before)
    assert radios(html)["sim-1x/surplus"] == "checked"
    assert radios(html, "account")["group:lab"] == "checked"


@pytest.mark.parametrize("before", [Wish("gone"), Wish("sim-1x", "surplus", "group:left"), Wish("sim-1x", "gold")])
def test_a_last_choice_that_is_not_offered_any_more_is_forgotten(before: Wish) -> None:
    assert radios(form_for(usual_offers(OWN), before=before))["cpu/guaranteed"] == "checked"


def test_without_flavors_it_says_what_to_do() -> None:
    html = form_for([])
    assert "No flavor is set up yet" in html
    assert CONTACT in html
    assert "<button" not in html


def test_without_a_quota_it_says_whom_to_ask() -> None:
    none = problem("no-quota", "No quota is set for you.")
    html = form_for([offer("sim", "Sim", OWN, refusals={"user:alice": none})])
    assert "You have no quota yet" in html
    assert CONTACT in html


def ended(reason: str, **members: Any) -> Json:
    api = FakeApi()
    limit = {"subject": "user:alice", "what": "gpu_seconds", "limit": 36_000, "window": "week", "flavor": None}
    return api.add_lease(
        "alice",
        **{
            "state": "ended",
            "end_reason": reason,
            "ended_at": "2026-11-23T05:02:00.000Z",
            "deadline_limit": {**limit, "resets_at": "2026-11-30T00:00:00.000Z"},
            **members,
        },
    )


def test_a_server_that_a_quota_ended_is_explained_first() -> None:
    html = form_for(usual_offers(OWN), last=ended("quota"))
    assert html.index("Your last server was stopped") < html.index("Flavor")
    assert "It ran on <strong>1 × Simulated GPU</strong> until" in html
    assert "Your limit of 10 GPU-hours per week is used up." in html
    assert 'More is left from <time datetime="2026-11-30T00:00:00Z"' in html
    assert f"To get more, ask {CONTACT}." in html


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("reclaim", "The owner of the GPUs took them back."),
        ("idle", "Nothing had run in it for a while."),
        ("admin", "An administrator stopped it."),
        ("lost", "The machine it ran on"),
        ("something-new", "Reason: something-new."),
    ],
)
def test_other_ends_by_policy_are_explained_too(reason: str, said: str) -> None:
    assert said in form_for(usual_offers(OWN), last=ended(reason))


@pytest.mark.parametrize("reason", ["user", "exited", "replaced", "shutdown"])
def test_what_the_user_did_is_not_explained_to_them(reason: str) -> None:
    assert "Your last server" not in form_for(usual_offers(OWN), last=ended(reason))


def test_a_lease_that_runs_is_no_end() -> None:
    running = ended("quota", state="active", end_reason=None, ended_at=None)
    assert "Your last server" not in form_for(usual_offers(OWN), last=running)


def test_whatever_is_shown_is_escaped() -> None:
    evil = '"><script>alert(1)</script>'
    html = form_for([offer("sim", evil, accounts_of("alice", (evil,)), model=evil)], groups=(evil,))
    assert "<script" not in html


async def test_the_spawner_serves_the_form_for_its_user_and_groups(api: FakeApi) -> None:
    spawner = make_spawner(LeasedSpawner, api.url, groups=("vision", "lab"))
    html = await spawner.get_options_form()
    (call,) = api.asked("GET", "/flavors")
    assert call.query == {"user": ["alice"], "group": ["lab", "vision"]}
    assert radios(html)["cpu/guaranteed"] == "checked"
    assert list(radios(html, "account")) == ["user:alice", "group:lab", "group:vision"]


async def test_while_the_api_is_away_the_page_says_so() -> None:
    html = await make_spawner(LeasedSpawner, "http://127.0.0.1:9").get_options_form()
    assert "can’t be shown right now" in html
    assert 'href="/hub/spawn/alice"' in html
