"""Who is asking, and what they may: hub tokens, checked at the hub and believed for a few seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sublet_hub.api.expiring import ExpiringCache
from sublet_hub.api.hub_client import Hub, Identity
from sublet_hub.api.metrics import Metrics
from sublet_hub.domain import accounts
from sublet_hub.domain.accounts import Subject
from sublet_hub.domain.errors import NotAllowed, NotSignedIn, Unavailable

SERVICE_NAME = "sublet"
ACCESS = frozenset({"access:services", f"access:services!service={SERVICE_NAME}"})
QUOTAS_READ = "custom:quotas:read"
QUOTAS_WRITE = "custom:quotas:write"
LEASES_WRITE = "custom:leases:write"
MODELS_SERVE = "custom:models:serve"
MODELS_LEASE = "custom:models:lease"
LICENCES_WRITE = "custom:licences:write"
OURS = frozenset({QUOTAS_READ, QUOTAS_WRITE, LEASES_WRITE, MODELS_SERVE, MODELS_LEASE})

MOST_KEPT = 10_000
"""Entries of each cache: a few megabytes."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. A service has no groups, and no account of its own."""

    name: str
    kind: Literal["user", "service"]
    scopes: frozenset[str]
    groups: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """As the audit record names them."""
        return f"{self.kind}:{self.name}"

    @property
    def reads_all(self) -> bool:
        return QUOTAS_READ in self.scopes or QUOTAS_WRITE in self.scopes

    @property
    def writes_quotas(self) -> bool:
        return QUOTAS_WRITE in self.scopes

    @property
    def spawns(self) -> bool:
        return LEASES_WRITE in self.scopes

    @property
    def leases_for_models(self) -> bool:
        """Whether they may hold leases of models' servers, which are all of one user and account."""
        return MODELS_LEASE in self.scopes

    @property
    def server(self) -> str | None:
        """The name of the one server whose token this is (empty: the default one); None for any other token.

        A server's token reaches that server alone; a user's own reaches all of theirs.
        """
        reaches = [scope for scope in self.scopes if scope.partition("!")[0] == "access:servers"]
        of_server = f"access:servers!server={self.name}/"
        if self.kind == "user" and len(reaches) == 1 and reaches[0].startswith(of_server):
            return reaches[0].removeprefix(of_server)
        return None

    def accepts_for(self, account: Subject) -> bool:
        """Whether they may accept licences for an account: their own, or a group's whose admin they are."""
        if account.kind == "user":
            return self.is_user(account.name)
        mine = {f"{scope}{only}" for scope in ("groups", LICENCES_WRITE) for only in ("", f"!group={account.name}")}
        return self.kind == "user" and (self.writes_quotas or bool(mine & self.scopes))

    @property
    def accounts(self) -> tuple[Subject, ...]:
        """The accounts that may pay for them: their own, and their groups'."""
        if self.kind != "user":
            return ()
        return (accounts.user(self.name), *map(accounts.group, self.groups))

    def is_user(self, name: str) -> bool:
        return self.kind == "user" and self.name == name

    def must_read_all(self) -> None:
        if not self.reads_all:
            raise NotAllowed(f"This needs the scope {QUOTAS_READ}, which your token does not have.")

    def must_write_quotas(self) -> None:
        if not self.writes_quotas:
            raise NotAllowed(f"This needs the scope {QUOTAS_WRITE}, which your token does not have.")

    def must_spawn(self) -> None:
        if not self.spawns:
            raise NotAllowed(f"This needs the scope {LEASES_WRITE}, which your token does not have.")

    def must_serve_models(self) -> None:
        if MODELS_SERVE not in self.scopes:
            raise NotAllowed(f"This needs the scope {MODELS_SERVE}, which your token does not have.")


class Authenticator:
    """Turns tokens into principals, and knows which users and groups the hub has.

    Fails closed: what the hub said is believed for `seconds`, then it is asked again, and while it doesn't answer
    nobody gets in.
    """

    def __init__(self, hub: Hub, metrics: Metrics, seconds: float, monotonic: Callable[[], float]) -> None:
        self._hub = hub
        self._metrics = metrics
        self._tokens: ExpiringCache[bytes, Principal | None] = ExpiringCache(seconds, MOST_KEPT, monotonic)
        # That a name is unknown is not kept: whoever makes a group and then sets its quota must not be refused.
        self._groups_of: ExpiringCache[str, tuple[str, ...] | None] = ExpiringCache(
            seconds, MOST_KEPT, monotonic, lambda groups: groups is not None
        )
        self._groups: ExpiringCache[str, bool] = ExpiringCache(seconds, MOST_KEPT, monotonic, bool)

    async def principal(self, token: str, session_id: str = "") -> Principal:
        """Who the token belongs to. NotSignedIn, NotAllowed or Unavailable.

        `session_id` is the hub's session of a browser: it goes when its user signs out, and then the hub is asked
        again at once.
        """
        key = hashlib.sha256(f"{token}\0{session_id}".encode(errors="replace")).digest()
        kept = self._tokens.fresh(key)
        if kept is not None:
            found = kept[0]
            self._metrics.token_checked("hit")
        else:
            found = await self._tokens.get(key, lambda: self._check(token))
        if found is None:
            raise NotSignedIn("The hub does not know this token; it may have expired.")
        if not (found.scopes & ACCESS or found.scopes & OURS):
            raise NotAllowed("Your token gives no access to this service; it lacks access:services.")
        return found

    async def _check(self, token: str) -> Principal | None:
        try:
            who = await self._hub.identify(token)
            principal = None if who is None else await self._with_groups(who)
        except Unavailable:
            self._metrics.token_checked("unavailable")
            raise
        self._metrics.token_checked("refused" if principal is None else "miss")
        return principal

    async def _with_groups(self, who: Identity) -> Principal:
        groups = who.groups
        if who.kind == "user" and groups is None:
            groups = await self.groups_of(who.name)
        return Principal(who.name, who.kind, who.scopes, (groups or ()) if who.kind == "user" else ())

    async def groups_of(self, user: str) -> tuple[str, ...] | None:
        """The user's groups; None where the hub has no such user."""
        return await self._groups_of.get(user, lambda: self._hub.groups_of(user))

    async def exists(self, subject: Subject) -> bool:
        """Whether the hub knows the user or group; the default is always there."""
        if subject.kind == "user":
            return await self.groups_of(subject.name) is not None
        if subject.kind == "group":
            return await self._groups.get(subject.name, lambda: self._hub.group_exists(subject.name))
        return True
