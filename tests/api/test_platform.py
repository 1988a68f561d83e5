"""Whether the platform can grant leases at all, for those who look after it."""

from __future__ import annotations

from sublet_hub.storage import metering
from tests.api.conftest import API, Running, problem


async def test_it_tells_whether_the_meter_was_heard_of_lately(platform: Running) -> None:
    metering.beat(platform.books)
    state = (await platform.ask("GET", f"{API}/platform", "reader")).json()
    assert (state["meter_current"], state["flavors"]) == (True, len(platform.books.catalog.flavors))
    platform.clock.turn(platform.books.policy.meter_stale_ms + 1)
    later = (await platform.ask("GET", f"{API}/platform", "reader")).json()
    assert (later["meter_current"], later["meter_beat_at"]) == (False, state["meter_beat_at"])


async def test_users_have_no_use_for_it(platform: Running) -> None:
    problem(await platform.ask("GET", f"{API}/platform", "alice"), 403, "not-allowed")
