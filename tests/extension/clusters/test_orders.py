"""What `sublet.cluster(gpus=…)` asks for, at what price, and what it says where that can't be had."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest

import sublet
from sublet.dask.left import left_rows
from sublet.dask.offers import offers
from sublet.dask.orders import Order, Wish
from sublet.dask.views import Bounds, State, said
from tests.extension.clusters.platform_says import LIMIT_REACHED, PROBLEMS, choice, flavor, says
from tests.extension.conftest import LIMIT, Platform, quota_document
from tests.extension.html_tags import Tags

CPU = flavor("cpu-only", 0, pool="cpu")
ONE, TWO, SEVENTH = flavor("h100-1x"), flavor("h100-2x", 2000), flavor("h100-7th", 142)
OTHER = flavor("a100-1x", pool="a100")


def order(platform: Platform, *flavors: dict[str, Any], lease: str = "h100-1x", **wish: Any) -> Order:
    says(platform, *flavors, lease=lease)
    return Wish(**wish).order(offers(), sublet.lease())


def test_what_is_not_said_is_as_the_lease_that_asks(platform: Platform) -> None:
    made = order(platform, CPU, ONE, gpus=4)
    assert (made.offer.flavor, made.choice.tier, made.choice.account) == ("h100-1x", "surplus", "group:lab")
    assert (made.workers, made.gpus, made.price_per_hour) == (4, Decimal(4), Decimal("3.2"))


def test_what_is_said_counts(platform: Platform) -> None:
    made = order(platform, ONE, OTHER, gpus=2, flavor="a100-1x", tier="guaranteed", account="user:alice")
    assert (made.offer.flavor, made.choice.tier, made.choice.account) == ("a100-1x", "guaranteed", "user:alice")
    assert made.price_per_hour == 4


@pytest.mark.parametrize(
    ("offered", "lease", "wish", "taken"),
    [
        ((CPU, OTHER, TWO, ONE), "h100-2x", {"gpus": 4}, ("h100-1x", 4)),  # one GPU a worker, of the same pool
        ((CPU, OTHER, ONE), "cpu-only", {"gpus": 4}, ("a100-1x", 4)),
        ((CPU, flavor("a100-1x", choices=[choice(problem=LIMIT_REACHED)]), ONE), "gone", {"gpus": 1}, ("h100-1x", 1)),
        ((CPU, ONE), "cpu-only", {"workers": 3}, ("cpu-only", 3)),
        ((CPU, SEVENTH), "h100-7th", {"workers": 3}, ("h100-7th", 3)),
        ((CPU, ONE), "h100-1x", {"flavor": "cpu-only"}, ("cpu-only", 1)),
    ],
)
def test_which_flavor_and_how_many(
    platform: Platform, offered: tuple[dict[str, Any], ...], lease: str, wish: dict[str, Any], taken: tuple[str, int]
) -> None:
    made = order(platform, *offered, lease=lease, **wish)
    assert (made.offer.flavor, made.workers) == taken


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({"flavor": "b200"}, "There is no flavor 'b200'. There are: cpu-only, h100-1x, h100-2x."),
        ({"gpus": 3, "flavor": "h100-2x"}, "A worker of h100-2x has 2 GPU; 3 can't be made up of it."),
        ({"gpus": 0}, "A worker of h100-1x has 1 GPU; 0 can't be made up of it."),
        ({"gpus": 2, "flavor": "cpu-only"}, "cpu-only has no GPU. Say how many workers: workers=2."),
        ({"workers": 0}, "one worker at least"),
        ({"gpus": 1, "account": "group:other"}, "There is: tier='guaranteed', account='group:lab', tier="),
    ],
)
def test_what_can_not_be_meant(platform: Platform, wish: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        order(platform, CPU, ONE, TWO, **wish)


def test_over_quota_it_says_which_limit_and_how_many_fit(platform: Platform) -> None:
    limited = flavor("h100-1x", choices=[choice(fits=5, fits_problem=LIMIT_REACHED)])
    order(platform, limited, gpus=5).check_room()
    with pytest.raises(sublet.Refused) as raised:
        order(platform, limited, gpus=8).check_room()
    assert str(raised.value) == (
        "8 GPUs can't be had now. The limit of 6 GPUs at once in the quota of group:lab is reached. 5 GPUs would fit."
    )
    assert (raised.value.type, raised.value.status) == ("quota-exceeded", 403)


def test_where_not_even_one_fits_it_is_the_platforms_own_sentence(platform: Platform) -> None:
    full = {**LIMIT_REACHED, "type": f"{PROBLEMS}no-capacity", "detail": "All are leased."}
    with pytest.raises(sublet.Refused, match=r"^All are leased\.$") as raised:
        order(platform, flavor("h100-1x", choices=[choice(problem=full, fits=0)]), gpus=1).check_room()
    assert raised.value.type == "no-capacity"


def test_workers_without_a_gpu_are_counted_as_workers(platform: Platform) -> None:
    limited = flavor("cpu-only", 0, choices=[choice(fits=1, fits_problem=LIMIT_REACHED)])
    with pytest.raises(sublet.Refused, match=r"^2 workers can't be had now\..* 1 worker would fit\.$"):
        order(platform, limited, lease="cpu-only", workers=2).check_room()


def test_an_api_that_does_not_tell_how_many_fit(platform: Platform) -> None:
    old = {name: value for name, value in choice().items() if not name.startswith("fits")}
    order(platform, flavor("h100-1x", choices=[old]), gpus=100).check_room()


def test_what_is_left_and_how_long_it_lasts(platform: Platform) -> None:
    made = order(platform, gpus=4)
    document = quota_document()
    money = {**LIMIT, "what": "money_microunits", "left": 6_400_000, "limit": 10_000_000, "window": "month"}
    at_once = {**LIMIT, "what": "gpus", "left": 6, "limit": 8, "window": None}
    elsewhere = {**at_once, "flavor": "a100-1x"}
    document["accounts"][1]["limits"] += [money, at_once, elsewhere, {**at_once, "what": "lease_seconds"}]
    document["accounts"][0]["limits"] = [{**at_once, "what": "leases", "left": 3}]
    platform.answers["/quota"] = document
    assert left_rows(made, sublet.quota()) == (
        ("Left of user:alice", "Leases at once: 3"),
        ("Left", "GPU time per week: 8.33 GPU-h, enough for 2 h 5 min of this cluster"),
        ("Left", "Money per month: $6.40, enough for 2 h of this cluster"),
        ("Left", "GPUs at once: 6"),
    )


def test_text_and_html_of_a_cluster(platform: Platform) -> None:
    made = order(platform, gpus=4)
    link = "/services/dask/clusters/a&b/status"
    shown = said(made, [("Left", "GPUs at once: 6 <b>")], State(1, "The others join as they come.", link))
    assert repr(shown).splitlines() == [
        "Dask workers  1 of 4 ready, each a lease of h100-1x (surplus). The others join as they come.",
        "Price         $3.20 per hour for 4 GPUs, simulated, while they run",
        "Account       group:lab",
        "Left          GPUs at once: 6 <b>",
        f"Dashboard     {link}",
    ]
    html = shown._repr_html_()
    tags = Tags.of(html)
    assert "1 of 4 ready" in tags.text
    assert "GPUs at once: 6 <b>" in tags.text
    assert 'href="/services/dask/clusters/a&amp;b/status"' in html
    assert "width:25%" in html


def test_text_of_a_cluster_that_adapts(platform: Platform) -> None:
    made = order(platform, gpus=1)
    adapting = State(3, bounds=Bounds(0, None))
    assert repr(said(made, (), adapting)).splitlines()[:2] == [
        "Dask workers  3 ready (0 to as many as fit, as there is work), each a lease of h100-1x (surplus)",
        "Price         $0.80 per hour for 1 GPU each, simulated, while they run",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [({"gpus": 1, "workers": 1}, "not both"), ({"gpus": 1, "n_workers": 2}, "no setting n_workers")],
)
def test_arguments_that_do_not_go_together(platform: Platform, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sublet.cluster(**arguments)
    assert platform.asked == []
