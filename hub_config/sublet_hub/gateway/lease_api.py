"""What the gateway asks the api of leases: one for a model's server, those there are, and giving one back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, TypeAdapter, ValidationError

from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.flavors import Tier
from sublet_hub.domain.lease import EndReason
from sublet_hub.domain.model_leases import KIND, SERVER_PREFIX, Holder
from sublet_hub.gateway.platform_api import API_PATH

log = logging.getLogger(__name__)

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
LONGEST_ANSWER = 2**22
TRIES = 2
LISTED_MAX = 200


class LeaseRefused(Exception):
    """The api grants no lease. `type_name` is its problem's, `retry_at_ms` when it says to try again."""

    def __init__(self, type_name: str, detail: str, retry_at_ms: int | None) -> None:
        super().__init__(detail)
        self.type_name = type_name
        self.retry_at_ms = retry_at_ms


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease that was just granted: until when as things stand and why, its devices by UUID (none where the cluster
    hands them out), and how much of GPUs that is."""

    id: str
    deadline_ms: int
    devices: tuple[str, ...]
    gpus_milli: int = 0
    deadline_reason: str = EndReason.LIMIT.value


class Leases(Protocol):
    """The api. Every method raises Unavailable where it gives no proper answer; asking or giving back may then have
    happened all the same."""

    async def ask(self, flavor: str, tier: Tier, name: str) -> Granted:
        """A lease for a server of that name, which must be new. LeaseRefused where there is none to be had."""

    async def held(self) -> Mapping[str, str]:
        """Ids of the leases of models' servers that nobody has ended yet, by the servers' names."""

    async def give_back(self, lease_id: str, why: str, *, shutdown: bool) -> None:
        """End it now, if it hasn't ended."""


class _Problem(BaseModel):
    type: str = ""
    detail: str = ""
    retry_at: datetime | None = None


class _Lease(BaseModel):
    id: str
    kind: str
    server_name: str


class _Grant(BaseModel):
    id: str
    deadline_at: datetime
    devices: tuple[str, ...]
    gpus_milli: int
    deadline_reason: str | None


_LEASES = TypeAdapter(tuple[_Lease, ...])


class HttpLeases:
    """The api behind HTTP."""

    def __init__(self, api_url: str, token: str, holder: Holder) -> None:
        self._url = f"{api_url.rstrip('/')}{API_PATH}/leases"
        self._headers = {"Authorization": f"token {token}"}
        self._holder = holder
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, flavor: str, tier: Tier, name: str) -> Granted:
        account = self._holder.account
        wanted = {
            "user": self._holder.user,
            "account": str(account),
            "groups": [account.name] if account.kind == "group" else [],
            "flavor": flavor,
            "tier": tier.value,
            "kind": KIND,
            "server_name": f"{SERVER_PREFIX}{name}",
        }
        status, body = await self._call("POST", "", wanted, key=name)
        if status != HTTPStatus.CREATED:
            raise _refused(status, body)
        try:
            grant = _Grant.model_validate_json(body)
        except ValidationError:
            raise _away() from None
        return Granted(
            id=grant.id,
            deadline_ms=round(grant.deadline_at.timestamp() * 1000),
            devices=grant.devices,
            gpus_milli=grant.gpus_milli,
            deadline_reason=grant.deadline_reason or EndReason.LIMIT.value,
        )

    async def held(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        after = ""
        while True:
            query = f"?user={quote(self._holder.user, safe='')}&account={quote(str(self._holder.account), safe='')}"
            query += f"&state=granted&state=active&limit={LISTED_MAX}{after}"
            status, body = await self._call("GET", query)
            if status != HTTPStatus.OK:
                raise _refused(status, body)
            try:
                page = _LEASES.validate_json(body)
            except ValidationError:
                raise _away() from None
            ours = (each for each in page if each.kind == KIND and each.server_name.startswith(SERVER_PREFIX))
            found |= {each.server_name.removeprefix(SERVER_PREFIX): each.id for each in ours}
            if len(page) < LISTED_MAX:
                return found
            after = f"&after={page[-1].id}"

    async def give_back(self, lease_id: str, why: str, *, shutdown: bool) -> None:
        said: dict[str, object] = {"why": why, **({"reason": "shutdown"} if shutdown else {})}
        status, body = await self._call("POST", f"/{lease_id}/stop", said)
        if status not in {HTTPStatus.OK, HTTPStatus.CONFLICT}:  # conflict: it has ended by itself
            raise _refused(status, body)

    async def _call(
        self, method: str, path: str, said: Mapping[str, object] | None = None, key: str | None = None
    ) -> tuple[int, bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, headers=self._headers, trust_env=False)
        headers = {"Content-Type": "application/json", **({} if key is None else {"Idempotency-Key": key})}
        data = None if said is None else json.dumps(said).encode()
        for _ in range(TRIES):
            try:
                async with self._session.request(
                    method, self._url + path, data=data, headers=headers if data else None
                ) as answer:
                    return answer.status, await answer.content.read(LONGEST_ANSWER)
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue
        raise _away()


def _refused(status: int, body: bytes) -> LeaseRefused | Unavailable:
    try:
        problem = _Problem.model_validate_json(body)
    except ValidationError:
        return _away()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not problem.type.endswith("/meter-away"):
        return _away()
    retry_at_ms = None if problem.retry_at is None else round(problem.retry_at.timestamp() * 1000)
    return LeaseRefused(problem.type.rpartition("/")[2], problem.detail, retry_at_ms)


def _away() -> Unavailable:
    return Unavailable(
        "The platform can't grant leases just now, so no model's server is started. Try again shortly."
    )
