"""As many leases are granted as an offer says would fit, and the limit that it names refuses the next."""

from __future__ import annotations

from typing import Any

import pytest

from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.errors import PublicError
from sublet_hub.domain.flavors import Tier
from sublet_hub.storage import leasing, reporting
from sublet_hub.storage.books import Books
from sublet_hub.storage.store import Store
from tests.fixtures.books import books, limit

ALICE = accounts.user("alice")


def grant(of: Books, flavor: str) -> None:
    wanted = LeaseRequest("alice", ALICE, flavor, Tier.GUARANTEED, kind="worker", server_name="a Dask cluster")
    leasing.request(of, wanted, actor="service:sublet-dask")


def fits(of: Books, flavor: str) -> tuple[int | None, PublicError | None]:
    (offer,) = [each for each in reporting.offers(of, "alice", ()) if each.flavor.name == flavor]
    choice = next(each for each in offer.choices if each.tier is Tier.GUARANTEED)
    return choice.fits, choice.problem or choice.fits_problem


@pytest.mark.parametrize(
    ("flavor", "limits", "number"),
    [
        ("gpu-1x", {"gpus": 3}, 3),
        ("gpu-2x", {"gpus": 3}, 1),
        ("gpu-1x", {"gpus": 9}, 4),  # the pool's
        ("mig-1x", {"gpus": 1}, 7),
        ("cpu", {"leases": 5, "gpus": 0}, 5),
        ("gpu-1x", {"gpu_seconds": (1500, "day")}, 3),  # ten minutes, ten minutes, and what is left
        ("gpu-1x", {"gpu_seconds": (1205, "day")}, 2),  # five seconds are too few for a lease
        ("gpu-1x", {"gpu_seconds": (1210, "day")}, 3),
        ("gpu-1x", {"money_microunits": (800_000, "day")}, 3),
        ("gpu-1x", {"lease_seconds": 5}, 0),
        ("gpu-1x", {"leases": 2, "gpus": 3, "gpu_seconds": (36_000, "day")}, 2),
    ],
)
def test_so_many_fit_as_are_granted(store: Store, flavor: str, limits: dict[str, Any], number: int) -> None:
    of = books(store)
    limit(of, **limits)
    told, why = fits(of, flavor)
    assert told == number
    assert why is not None
    for left in range(number, 0, -1):
        assert fits(of, flavor)[0] == left
        grant(of, flavor)
    with pytest.raises(PublicError) as refused:
        grant(of, flavor)
    assert str(refused.value) == str(why)
    assert fits(of, flavor)[0] == 0


def test_nothing_bounds_what_no_limit_counts(store: Store) -> None:
    of = books(store)
    limit(of, gpus=0)
    assert fits(of, "cpu") == (None, None)
