"""Asking for the lease of a model's server, with what callers are told where there is none, and giving it back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sublet_hub.cluster.records import wall_ms
from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.models import Model, Upstream
from sublet_hub.gateway.errors import ModelAway, NoRoomForModel
from sublet_hub.gateway.lease_api import Granted, LeaseRefused, Leases

log = logging.getLogger(__name__)

NOT_STARTED = "It was not started."

_WHY_NO_LEASE = {
    "no-capacity": "all GPUs that it may run on are leased",
    "quota-exceeded": "the account that pays for its servers has used up its quota",
    "meter-away": "metering is not running",
}


async def ask_for(
    leases: Leases | None,
    model: Model,
    upstream: Upstream,
    name: str,
    least_ms: int,
    in_doubt: Callable[[], None] = lambda: None,
) -> Granted:
    """A lease for a server of this name. NoRoomForModel where there is none to be had, or only one of less than
    `least_ms`, which is given back. `in_doubt`: told where one may have been granted all the same."""
    assert upstream.flavor is not None, "asked for leases only"
    if leases is None:
        raise ModelAway(f"No account pays for servers of {model.name}.")
    try:
        granted = await leases.ask(upstream.flavor, upstream.tier, name)
    except LeaseRefused as refused:
        log.warning("no lease for a server of %s: %s (%s)", model.name, refused, refused.type_name)
        why = _WHY_NO_LEASE.get(refused.type_name)
        if why is None:
            raise ModelAway(f"No lease can be had for a server of {model.name}; the log says why.") from None
        raise _no_room(model, why, refused.retry_at_ms) from None
    except Unavailable:
        in_doubt()
        raise _no_room(model, "the platform does not answer") from None
    if granted.deadline_ms - wall_ms() < least_ms:
        await asyncio.shield(give_back(leases, granted.id, NOT_STARTED))
        raise _no_room(model, "what pays for its servers leaves too little time")
    return granted


async def give_back(leases: Leases | None, lease_id: str, why: str, *, shutdown: bool = False) -> None:
    """End it now; where that can't be said, only the log says so."""
    assert leases is not None, "who has a lease has asked for it"
    try:
        await leases.give_back(lease_id, why, shutdown=shutdown)
    except (Unavailable, LeaseRefused) as error:
        # The meter closes it when its server has ended, only without this reason; or voids it, never started.
        log.warning("lease %s could not be given back: %s", lease_id, error)


def _no_room(model: Model, why: str, retry_at_ms: int | None = None) -> NoRoomForModel:
    said = f"No server of {model.name} can be started just now: {why}. Try again later."
    return NoRoomForModel(said, retry_at_ms=retry_at_ms)
