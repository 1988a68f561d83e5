"""Checks of a platform by its public address alone, as anybody reaches it: through the proxy, with a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydantic import BaseModel, ConfigDict

from sublet_hub.cli.client import API, QUOTAS, Client
from sublet_hub.cli.doctor.findings import Finding, ok, problem, warning
from sublet_hub.cli.exits import CommandError
from sublet_hub.cli.readings import read

HUB_API = "/hub/api/"
HEALTH = "/services/sublet/health"

RemoteCheck = Callable[[Client], Iterator[Finding]]
"""Like a `Check`, of a platform elsewhere. A refusal, or no answer, is raised as CommandError."""

MENDS = {
    "hub": "Read the logs of the proxy and of the hub.",
    "api": "Read the api's log. If it runs, the proxy lacks its route, which the hub gives it: read the hub's log.",
    "quotas": "SUBLET_TOKEN must be a quota admin's. The proxy must lead /hub/api/quotas/ to the api, not the hub.",
    "platform": "SUBLET_TOKEN must be a quota admin's. Read the api's log: the database must answer.",
}


class _Hub(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    version: str


class _Quota(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    subject: str


class _Platform(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    version: str
    flavors: int
    meter_beat_at: str | None
    meter_current: bool


def findings(check: RemoteCheck, client: Client) -> Iterator[Finding]:
    """What a check finds; that it was refused or not answered is a problem."""
    name = check.__name__
    try:
        yield from check(client)
    except CommandError as error:
        yield problem(name, error.message, MENDS[name])


def hub(client: Client) -> Iterator[Finding]:
    """The hub answers through the proxy."""
    yield ok("hub", f"JupyterHub {read(_Hub, client.get(HUB_API)).version} answers.")


def api(client: Client) -> Iterator[Finding]:
    """The api answers through the proxy."""
    client.get(HEALTH)
    yield ok("api", "The api answers.")


def quotas(client: Client) -> Iterator[Finding]:
    """Quotas are to be had at `/hub/api/quotas/` with your token, and there is a default quota."""
    first = read(list[_Quota], client.get(f"{QUOTAS}/", {"limit": 1}))
    if [each.subject for each in first] == ["default"]:  # where there is one, it is the first
        yield ok("quotas", "Quotas can be read, and there is a default quota.")
    else:
        yield warning(
            "quotas",
            "There is no default quota: who has none of their own is refused every lease.",
            "Set one: sublet quota set default --limit gpu_seconds=10h/week",
        )


def platform(client: Client) -> Iterator[Finding]:
    """The database answers, the meter was heard of lately, and flavors are offered: leases can be granted."""
    state = read(_Platform, client.get(f"{API}/platform"))
    yield ok("database", f"The database answers (Sublet {state.version}).")
    if state.meter_current:
        yield ok("heartbeat", f"The meter was heard of at {state.meter_beat_at}.")
    else:
        heard = f"was last heard of at {state.meter_beat_at}" if state.meter_beat_at else "has never been heard of"
        yield problem("heartbeat", f"The meter {heard}; no lease is granted.", "Read the meter's log.")
    if state.flavors:
        yield ok("flavors", f"{state.flavors} flavors are offered.")
    else:
        yield problem("flavors", "No flavor is offered.", "Add pools and flavors to the configuration.")
