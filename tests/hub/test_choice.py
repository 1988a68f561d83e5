"""What is understood of a choice, what is refused, and what is filled in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from sublet_hub.hub.choice import (
    ChoiceError,
    Wish,
    accounts_of,
    choose,
    options_of,
    wish_from_form,
    wish_from_options,
)
from sublet_hub.hub.messages import Offer
from tests.hub.fake_api import offer, used_up, usual_offers

ACCOUNTS = accounts_of("alice", ["lab"])
OFFERS = TypeAdapter(tuple[Offer, ...]).validate_python(usual_offers(ACCOUNTS))


def test_the_radio_button_and_the_account_make_a_wish() -> None:
    form = {"offer": ["sim-1x/surplus"], "account": ["group:lab"], "_xsrf": ["token"]}
    assert wish_from_form(form) == Wish("sim-1x", "surplus", "group:lab")


def test_names_may_also_come_apart() -> None:
    assert wish_from_form({"flavor": ["cpu"], "tier": ["guaranteed"]}) == Wish("cpu", "guaranteed", None)


@pytest.mark.parametrize(
    "options",
    [
        {"flavor": 4},
        {"flavor": 4.0},
        {"flavor": True},
        {"flavor": ["cpu"]},
        {"flavor": {"name": "cpu"}},
        {"flavor": "CPU"},
        {"flavor": "cpu; rm"},
        {"flavor": ""},
        {"flavor": "a" * 64},
        {"tier": 1},
        {"account": "alice"},
        {"account": "default"},
        {"account": 7},
        {"account": "user:" + "a" * 400},
        {"gpus": 8},
        {"seconds": "60"},
        {"mem_limit": "512G"},
        {"flavor": "cpu", "price": 0},
        {"offer": "cpu/guaranteed"},
    ],
)
def test_what_is_no_name_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ChoiceError):
        wish_from_options(options)


@pytest.mark.parametrize(
    "form",
    [
        {"offer": ["cpu"]},
        {"offer": ["cpu/guaranteed", "sim-1x/surplus"]},
        {"offer": ["cpu/guaranteed"], "flavor": ["cpu"]},
        {"account": []},
        {"gpus": ["8"]},
        {"offer_file": [{"filename": "x", "body": b""}]},
    ],
)
def test_a_form_that_says_more_or_less_than_one_name_is_refused(form: dict[str, Any]) -> None:
    with pytest.raises(ChoiceError):
        wish_from_form(form)


def test_what_is_kept_is_read_again_as_it_was() -> None:
    wish = Wish("sim-1x", None, "group:lab")
    assert wish_from_options(options_of(wish)) == wish


def test_without_a_wish_the_cheapest_on_the_own_account_is_chosen() -> None:
    chosen = choose(OFFERS, Wish(), ACCOUNTS)
    assert (chosen.offer.flavor, chosen.price.tier, chosen.account) == ("cpu", "guaranteed", "user:alice")


def test_the_cheapest_tier_that_can_be_had_is_chosen() -> None:
    refused = {"user:alice": used_up()}
    offers = TypeAdapter(tuple[Offer, ...]).validate_python(
        [
            offer("dear", "Dear", ACCOUNTS),
            offer("cheap", "Cheap", ACCOUNTS, prices={"guaranteed": 1}, refusals=refused),
        ]
    )
    assert choose(offers, Wish(), ACCOUNTS).offer.flavor == "dear"
    assert choose(offers, Wish(account="group:lab"), ACCOUNTS).offer.flavor == "cheap"
    assert choose(offers, Wish(flavor="cheap"), ACCOUNTS).account == "user:alice", "never charges another by itself"


def test_where_nothing_can_be_had_the_api_is_still_asked_for_the_cheapest() -> None:
    refused = {account: used_up() for account in ACCOUNTS}
    offers = TypeAdapter(tuple[Offer, ...]).validate_python([offer("only", "Only", ACCOUNTS, refusals=refused)])
    assert choose(offers, Wish(), ACCOUNTS).offer.flavor == "only"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(flavor="h100"), "There is no flavor 'h100'. Flavors: sim-1x, cpu."),
        (Wish(flavor="cpu", tier="surplus"), "Flavor 'cpu' is not offered as 'surplus'. Tiers: guaranteed."),
        (Wish(tier="gold"), "No flavor is offered as 'gold'. Tiers: guaranteed, surplus."),
        (Wish(account="group:other"), "You can't have group:other pay. Your accounts: user:alice, group:lab."),
        (Wish(account="user:bob"), "You can't have user:bob pay. Your accounts: user:alice, group:lab."),
    ],
)
def test_what_is_not_offered_is_refused_and_says_what_is(wish: Wish, said: str) -> None:
    with pytest.raises(ChoiceError) as refused:
        choose(OFFERS, wish, ACCOUNTS)
    assert str(refused.value) == said
    with pytest.raises(ChoiceError, match="No flavor is offered at the moment"):
        choose((), Wish(flavor="cpu"), ACCOUNTS)
