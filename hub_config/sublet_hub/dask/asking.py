"""Asking for the leases of Dask workers: what may be had, by whom, and each single one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sublet_hub.api.hub_client import HttpHub, OAuthClient
from sublet_hub.dask.wishes import NotOfferedError, Part, Room, part_of, room_for
from sublet_hub.domain.errors import Unavailable
from sublet_hub.hub.lease_client import ApiAwayError, Ask, LeaseClient, RefusedError
from sublet_hub.hub.messages import Grant
from sublet_hub.settings import Settings

AWAY = "The part of the platform that decides on leases does not answer at the moment. Try again in a minute."


class NotGrantedError(Exception):
    """There is no lease just now, and may be later. The message is a sentence for the user."""


class Asking:
    """Asks the api on behalf of clusters' users. Who is in which group is asked of the hub each time: a cluster may
    be older than its user's membership."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._leases = LeaseClient(settings.api_url, token)
        self._hub = HttpHub(settings.hub_api_url, token, OAuthClient("", ""))

    async def close(self) -> None:
        await self._hub.close()

    async def part(self, user: str, options: Mapping[str, object]) -> Part:
        """What each worker is to be a lease of. NotOfferedError where it can't be had, NotGrantedError where
        nobody can say so now."""
        groups = await self._groups(user)
        try:
            offers = await self._leases.offers(user, groups)
        except (ApiAwayError, RefusedError) as error:
            raise NotGrantedError(AWAY) from error
        return part_of(offers, options, user, groups)

    async def room(self, user: str, part: Part) -> Room:
        """How many more such workers would be granted; NotGrantedError where nobody can say so now."""
        groups = await self._groups(user)
        try:
            return room_for(await self._leases.offers(user, groups), part)
        except (ApiAwayError, RefusedError) as error:
            raise NotGrantedError(AWAY) from error

    async def lease(self, user: str, cluster: str, worker: str, part: Part) -> Grant:
        """One lease; asked for the same worker again, the same. NotGrantedError says why there is none."""
        ask = Ask(
            user=user,
            groups=await self._groups(user),
            account=part.account,
            flavor=part.flavor,
            tier=part.tier,
            server_name=cluster,
            kind="worker",
        )
        try:
            return await self._leases.request(ask, idempotency_key=worker)
        except RefusedError as error:
            raise NotGrantedError(error.problem.detail) from error
        except ApiAwayError as error:
            raise NotGrantedError(AWAY) from error

    async def give_back(self, lease_id: str, why: str) -> str | None:
        """Say that a lease is over. Says what was answered where it wasn't noted: then the meter finds out."""
        try:
            await self._leases.stop(lease_id, "user", why)
        except (ApiAwayError, RefusedError) as error:
            return str(error)
        return None

    async def end_idle(self, lease_id: str, why: str) -> datetime | None:
        """Have a lease end for idleness, with notice. Gives when; None where it ends anyway, or where it can't be
        said now."""
        try:
            lease = await self._leases.stop(lease_id, "idle", why)
        except (ApiAwayError, RefusedError):
            return None
        return lease.deadline_at if lease.deadline_reason == "idle" else None

    async def keep(self, lease_id: str, why: str) -> bool:
        """Take that back. False where nobody can say so now."""
        try:
            await self._leases.keep(lease_id, why)
        except RefusedError:  # it is ending, or has ended
            return True
        except ApiAwayError:
            return False
        return True

    async def _groups(self, user: str) -> tuple[str, ...]:
        try:
            groups = await self._hub.groups_of(user)
        except Unavailable as error:
            raise NotGrantedError(error.message) from error
        if groups is None:
            raise NotOfferedError(f"The hub has no user {user}.")
        return groups
