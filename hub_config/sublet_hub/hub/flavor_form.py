"""The flavors page's form: what each flavor is, costs and would last, for each account that may pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sublet_hub.hub import wording
from sublet_hub.hub.choice import Choice, ChoiceError, Wish, accounts_of, choose, is_available
from sublet_hub.hub.lease_view import EndedView, show_ended
from sublet_hub.hub.markup import render
from sublet_hub.hub.messages import Lease, Offer, Price, Prospect
from sublet_hub.hub.refusal import Explanation, explain


@dataclass(frozen=True, slots=True)
class AccountView:
    name: str
    label: str
    checked: bool


@dataclass(frozen=True, slots=True)
class ProspectView:
    """One account's line under a tier: how long it lasts, or why it can't be had."""

    account: str
    account_label: str
    available: bool
    lasts: str
    held: str
    why: Explanation | None


@dataclass(frozen=True, slots=True)
class TierView:
    value: str
    tier: str
    label: str
    price: str
    checked: bool
    prospects: tuple[ProspectView, ...]

    @property
    def available(self) -> bool:
        return any(prospect.available for prospect in self.prospects)


@dataclass(frozen=True, slots=True)
class FlavorView:
    name: str
    title: str
    simulated: bool
    hardware: str
    gpus: str
    cpus: str
    memory: str
    free: str
    some_free: bool
    tiers: tuple[TierView, ...]
    shared: tuple[ProspectView, ...]
    """The lines of all tiers where they are the same, to be shown once; else empty."""

    @property
    def available(self) -> bool:
        return any(tier.available for tier in self.tiers)


@dataclass(frozen=True, slots=True)
class FormView:
    """All that the form shows. `no_quota`: no account that may pay has a quota."""

    accounts: tuple[AccountView, ...]
    flavors: tuple[FlavorView, ...]
    ended: EndedView | None
    no_quota: bool
    tier_help: tuple[str, ...]
    contact: str
    usage_url: str

    @property
    def available(self) -> bool:
        return any(flavor.available for flavor in self.flavors)


def build_form(
    offers: Sequence[Offer],
    user: str,
    groups: Sequence[str],
    before: Wish,
    last: Lease | None,
    *,
    contact: str,
    usage_url: str,
) -> FormView:
    """The form for a user. `before` is what they chose the last time, `last` their newest lease."""
    accounts = accounts_of(user, groups)
    chosen = preselected(offers, accounts, before)
    paying = chosen.account if chosen else accounts[0]
    labels = {name: wording.account(name, user) for name in accounts}
    tiers = {price.tier for offer in offers for price in offer.tiers}
    problems = [prospect.problem for offer in offers for prospect in offer.choices]
    return FormView(
        accounts=tuple(AccountView(name, labels[name], name == paying) for name in accounts),
        flavors=tuple(_flavor(offer, chosen, labels, user) for offer in offers),
        ended=show_ended(last, offers),
        no_quota=bool(problems) and all(each is not None and each.name == "no-quota" for each in problems),
        tier_help=tuple(wording.TIER_HELP[tier] for tier in wording.TIER_HELP if len(tiers) > 1 and tier in tiers),
        contact=contact,
        usage_url=usage_url,
    )


def render_form(view: FormView) -> str:
    return render("sublet/flavors.html", form=view)


def render_away(retry_url: str) -> str:
    """What stands in the form's place while the api doesn't answer."""
    return render("sublet/away.html", retry_url=retry_url)


def preselected(offers: Sequence[Offer], accounts: Sequence[str], before: Wish) -> Choice | None:
    """What they chose the last time if it can be had now, else what they would get without choosing."""
    for wish in (before, Wish()):
        try:
            choice = choose(offers, wish, accounts)
        except ChoiceError:
            continue
        if is_available(choice):
            return choice
    return None


def _flavor(offer: Offer, chosen: Choice | None, labels: Mapping[str, str], user: str) -> FlavorView:
    tiers = tuple(_tier(offer, price, chosen, labels, user) for price in offer.tiers)
    same = all(tier.prospects == tiers[0].prospects for tier in tiers)
    return FlavorView(
        name=offer.flavor,
        title=offer.title,
        simulated=offer.simulated,
        hardware=offer.gpu_model if offer.gpus else "",
        gpus=wording.gpus(offer.gpus, offer.gpus_milli, offer.gpu_memory_bytes),
        cpus=str(offer.cpus),
        memory=wording.memory(offer.memory_bytes),
        free="" if offer.free is None else f"{offer.free} free now" if offer.free else "None free now",
        some_free=offer.free != 0,
        tiers=tiers,
        shared=tiers[0].prospects if same and tiers else (),
    )


def _tier(offer: Offer, price: Price, chosen: Choice | None, labels: Mapping[str, str], user: str) -> TierView:
    prospects = [(name, offer.prospect(price.tier, name)) for name in labels]
    return TierView(
        value=f"{offer.flavor}/{price.tier}",
        tier=price.tier,
        label=wording.TIERS.get(price.tier, price.tier),
        price=wording.price_per_hour(price.price_microunits_per_hour, offer.currency),
        checked=chosen is not None and (chosen.offer.flavor, chosen.price.tier) == (offer.flavor, price.tier),
        prospects=tuple(
            _prospect(prospect, labels[name], user, offer.currency)
            for name, prospect in prospects
            if prospect is not None
        ),
    )


def _prospect(prospect: Prospect, label: str, user: str, currency: str) -> ProspectView:
    lasts = prospect.lasts_seconds
    problem = prospect.problem
    return ProspectView(
        account=prospect.account,
        account_label=label,
        available=prospect.available,
        lasts="" if lasts is None else wording.duration(lasts),
        held=wording.duration(prospect.held_seconds),
        why=None if prospect.available or problem is None else explain(problem, user, currency),
    )
