"""Promise 4, no overshoot: requests at the same instant can't spend the same quota twice."""

from __future__ import annotations

import threading

from sublet_hub import storage
from sublet_hub.domain import accounts
from sublet_hub.domain.admission import LeaseRequest
from sublet_hub.domain.errors import NoCapacity, QuotaExceeded
from sublet_hub.domain.flavors import Tier
from sublet_hub.storage import leasing, quotas
from sublet_hub.storage.books import Books
from sublet_hub.storage.verification import verify_account
from tests.fixtures.books import books, limit

LAB = accounts.group("lab")
REQUESTS = 50


def race(of: Books) -> dict[str, int]:
    """Fifty people ask for a lease on the group's account at one instant; how many were granted and refused."""
    outcomes: dict[str, int] = {}
    counting, ready = threading.Lock(), threading.Barrier(REQUESTS)

    def ask(n: int) -> None:
        wanted = LeaseRequest(f"user{n}", LAB, "gpu-1x", Tier.GUARANTEED, groups=("lab",))
        ready.wait(30)
        try:
            leasing.request(of, wanted, actor="test")
            outcome = "granted"
        except (QuotaExceeded, NoCapacity) as refused:
            outcome = refused.type_name
        with counting:
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(REQUESTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    return outcomes


def test_the_last_hour_is_granted_once(database_url: str) -> None:
    """One hour is left; each grant holds ten minutes of one GPU; so exactly six fit."""
    store = storage.open_store(database_url)
    of = books(store, devices=REQUESTS)
    limit(of)
    limit(of, LAB, gpu_seconds=(3600, "day"))
    assert race(of) == {"granted": 6, "quota-exceeded": REQUESTS - 6}
    (state,) = quotas.read(of, LAB).states
    assert (state.used, state.held, state.left) == (0, state.limit.raw, 0)
    assert verify_account(store, LAB) == []
    store.close()


def test_the_last_devices_are_leased_once(database_url: str) -> None:
    store = storage.open_store(database_url)
    of = books(store, devices=4)
    limit(of)
    assert race(of) == {"granted": 4, "no-capacity": REQUESTS - 4}
    with store.transaction(write=False) as tx:
        devices = [device for lease in tx.open_leases() for device in lease.devices]
    assert sorted(devices) == [f"SIM-{n}" for n in range(4)]
    store.close()
