"""The hub's client of the api: offers, and the leases of the servers that the hub starts and stops."""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from sublet_hub.hub.messages import Grant, Lease, Offer, Problem

API_PATH = "/services/sublet/api"
TRIES = 3
PAUSES_SECONDS = (0.2, 0.8)
"""Pauses between tries when the api can't be reached, such as while it is being restarted."""

LARGEST_ANSWER_BYTES = 4 * 2**20

T = TypeVar("T")

_OFFERS = TypeAdapter(tuple[Offer, ...])
_LEASES = TypeAdapter(tuple[Lease, ...])
_LEASE = TypeAdapter(Lease)
_GRANT = TypeAdapter(Grant)

StopReason = Literal["user", "shutdown", "idle"]
Query = Sequence[tuple[str, str | int | float | bool | None]]


class ApiAwayError(Exception):
    """The api could not be reached, or did not answer what was agreed. The message is for the log."""


class RefusedError(Exception):
    """The api refused; `problem` says why, in words for the user."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a lease. Names only: what they mean is for the api to say."""

    user: str
    groups: tuple[str, ...]
    account: str
    flavor: str
    tier: str
    server_name: str
    kind: str = "notebook"


@dataclass(frozen=True, slots=True)
class LeaseClient:
    """Talks to the api at `url` (scheme, host and port) with a hub token of the scope `custom:leases:write`.

    Every method raises ApiAwayError or RefusedError. Calls that can't be reached are tried thrice; writes carry
    an idempotency key, so that a try whose answer got lost changes nothing when repeated.
    """

    url: str
    token: str
    timeout_seconds: float = 5.0

    async def offers(self, user: str, groups: Sequence[str]) -> tuple[Offer, ...]:
        """What a user of these groups could lease now, in the catalog's order."""
        query: Query = [("user", user), *(("group", group) for group in groups)]
        return _parsed(_OFFERS, await self._call("GET", "/flavors", query=query))

    async def request(self, ask: Ask, idempotency_key: str) -> Grant:
        """Ask for a lease. Repeat with the same key to get the same answer."""
        headers = {"Idempotency-Key": idempotency_key}
        content = await self._call("POST", "/leases", body=asdict(ask), headers=headers)
        return _parsed(_GRANT, content)

    async def stop(self, lease_id: str, reason: StopReason, why: str) -> Lease:
        """Say that a lease is over, and who ended it. Repeating it is harmless."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        body = {"reason": reason, "why": why}
        content = await self._call("POST", f"/leases/{lease_id}/stop", body=body, headers=headers)
        return _parsed(_LEASE, content)

    async def keep(self, lease_id: str, why: str) -> Lease:
        """Take back the idle end of a Dask worker. Repeating it is harmless."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        content = await self._call("POST", f"/leases/{lease_id}/keep", body={"why": why}, headers=headers)
        return _parsed(_LEASE, content)

    async def lease(self, lease_id: str) -> Lease:
        return _parsed(_LEASE, await self._call("GET", f"/leases/{lease_id}", tries=1))

    async def last_leases(self, user: str, limit: int) -> tuple[Lease, ...]:
        """A user's newest leases, newest first."""
        query: Query = [("user", user), ("limit", limit)]
        return _parsed(_LEASES, await self._call("GET", "/leases", query=query, tries=1))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        tries: int = TRIES,
    ) -> bytes:
        all_headers = {"Authorization": f"token {self.token}", **(headers or {})}
        for attempt in range(tries):
            try:
                async with self._connection() as connection:
                    answer = await connection.request(
                        method, API_PATH + path, params=list(query), json=body, headers=all_headers
                    )
                return _content(answer)
            except httpx.TransportError as error:
                if attempt + 1 == tries:
                    raise ApiAwayError(f"{method} {path}: {str(error) or type(error).__name__}") from error
            await asyncio.sleep(PAUSES_SECONDS[attempt])
        raise AssertionError("unreachable: the last try returns or raises")

    def _connection(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            timeout=httpx.Timeout(self.timeout_seconds),
            verify=_tls() if self.url.startswith("https:") else False,
            trust_env=False,  # a proxy in the hub's environment is not meant for its own api
        )


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's certificates, loaded once: it takes longer than a request."""
    return ssl.create_default_context()


def _content(answer: httpx.Response) -> bytes:
    """The body of a success; RefusedError for a problem document, ApiAwayError for anything else."""
    if answer.is_success and len(answer.content) <= LARGEST_ANSWER_BYTES:
        return answer.content
    problem = _problem(answer)
    if problem is None or answer.status_code in {401, 422, 500}:
        # A token the hub doesn't know, a request we built wrongly, a fault: the user can't mend any of them.
        said = problem.detail if problem else answer.reason_phrase
        raise ApiAwayError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {said}")
    raise RefusedError(problem)


def _problem(answer: httpx.Response) -> Problem | None:
    if answer.headers.get("content-type", "").partition(";")[0].strip() != "application/problem+json":
        return None
    try:
        return Problem.model_validate({"status": answer.status_code, **json.loads(answer.content)})
    except (ValueError, TypeError):  # pydantic's ValidationError is a ValueError
        return None


def _parsed(adapter: TypeAdapter[T], content: bytes) -> T:
    try:
        return adapter.validate_json(content)
    except ValidationError as error:
        raise ApiAwayError(f"the api's answer is not as agreed: {error}") from error
