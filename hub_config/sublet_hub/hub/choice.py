"""What a user chose, as names; from a form, a query or the hub's API, none of which is trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet_hub.hub.messages import ACCOUNT_OF_GROUP, ACCOUNT_OF_USER, Offer, Price

FIELDS = frozenset({"flavor", "tier", "account"})
OFFER_FIELD = "offer"
"""The form's radio buttons pick flavor and tier with one value, `flavor/tier`."""

IGNORED_FIELDS = frozenset({"_xsrf"})
LONGEST_NAME = 300

_FLAVOR_OR_TIER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class ChoiceError(ValueError):
    """The choice can't be understood or isn't offered. The message is for the user."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for; None where it is left to us."""

    flavor: str | None = None
    tier: str | None = None
    account: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One offer, one tier of it, and the account that pays."""

    offer: Offer
    price: Price
    account: str


def wish_from_form(form: Mapping[str, Sequence[object]]) -> Wish:
    """Read a form or a query: lists of strings by name. ChoiceError for whatever isn't a single name."""
    single: dict[str, object] = {}
    for field, values in form.items():
        if field in IGNORED_FIELDS:
            continue
        if len(values) != 1:
            raise ChoiceError(f"Give {field} once.")
        single[field] = values[0]
    if OFFER_FIELD in single:
        offer = single.pop(OFFER_FIELD)
        flavor, slash, tier = offer.partition("/") if isinstance(offer, str) else ("", "", "")
        if not slash or "flavor" in single or "tier" in single:
            raise ChoiceError("Give an offer as flavor/tier, or a flavor and a tier.")
        single |= {"flavor": flavor, "tier": tier}
    return wish_from_options(single)


def wish_from_options(options: Mapping[str, object]) -> Wish:
    """Read `user_options`, as the hub's API takes them from anyone. ChoiceError for whatever isn't a name."""
    unknown = sorted(set(options) - FIELDS)
    if unknown:
        raise ChoiceError(f"There is no option {unknown[0][:50]!r}. Options: {', '.join(sorted(FIELDS))}.")
    return Wish(
        flavor=_name("flavor", options.get("flavor")),
        tier=_name("tier", options.get("tier")),
        account=_account(options.get("account")),
    )


def options_of(wish: Wish) -> dict[str, str]:
    """What the hub keeps as `user_options`, and offers again the next time."""
    kept = {"flavor": wish.flavor, "tier": wish.tier, "account": wish.account}
    return {field: name for field, name in kept.items() if name is not None}


def own_account(user: str) -> str:
    return ACCOUNT_OF_USER + user


def accounts_of(user: str, groups: Sequence[str]) -> tuple[str, ...]:
    """Accounts that may pay for a user's lease, their own first."""
    return (own_account(user), *(ACCOUNT_OF_GROUP + group for group in groups))


def choose(offers: Sequence[Offer], wish: Wish, accounts: Sequence[str]) -> Choice:
    """Fill in what a wish leaves open, and check the rest against what is offered. ChoiceError says what isn't.

    Left open, the account is the user's own; flavor and tier are the cheapest that can be had on that account
    now, or, where none can, the cheapest: the api then says why not.
    """
    account = wish.account or accounts[0]
    if account not in accounts:
        raise ChoiceError(f"You can't have {account} pay. Your accounts: {', '.join(accounts)}.")
    matching = [
        Choice(offer, price, account)
        for offer in offers
        for price in offer.tiers
        if wish.flavor in {None, offer.flavor} and wish.tier in {None, price.tier}
    ]
    if not matching:
        raise ChoiceError(_not_offered(offers, wish))
    return min(matching, key=lambda choice: (not is_available(choice), choice.price.price_microunits_per_hour))


def is_available(choice: Choice) -> bool:
    prospect = choice.offer.prospect(choice.price.tier, choice.account)
    return prospect is not None and prospect.available


def _not_offered(offers: Sequence[Offer], wish: Wish) -> str:
    if not offers:
        return "No flavor is offered at the moment."
    same = [offer for offer in offers if offer.flavor == wish.flavor]
    if wish.flavor is not None and not same:
        return f"There is no flavor {wish.flavor!r}. Flavors: {', '.join(offer.flavor for offer in offers)}."
    tiers = sorted({price.tier for offer in same or offers for price in offer.tiers})
    what = f"Flavor {wish.flavor!r} is not" if same else "No flavor is"
    return f"{what} offered as {wish.tier!r}. Tiers: {', '.join(tiers)}."


def _name(field: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not _FLAVOR_OR_TIER.fullmatch(value):
        raise ChoiceError(f"{field} is a name, written in small letters, digits and dashes.")
    return value


def _account(value: object) -> str | None:
    if value is None:
        return None
    known = isinstance(value, str) and value.startswith((ACCOUNT_OF_USER, ACCOUNT_OF_GROUP))
    if not isinstance(value, str) or not known or len(value) > LONGEST_NAME:
        raise ChoiceError("account is written user:NAME or group:NAME.")
    return value
