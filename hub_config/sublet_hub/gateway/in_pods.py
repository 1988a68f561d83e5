"""Models' servers as pods, each a lease: the meter sees the pod, charges it and arms its deadline, as any lease's;
its warden ends it then. Network policies let the gateway alone reach it.

When the pod of the gateway that started it is gone, the cluster takes it away, by its owner reference; when that
gateway's process was killed and started again, the new one ends it. The meter closes the lease at the true end.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

import aiohttp
import msgspec

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.capabilities import Capabilities, capabilities_of
from sublet_hub.cluster.kube.causes import armed_deadline
from sublet_hub.cluster.kube.connection import Connection
from sublet_hub.cluster.kube.errors import PODS, Conflict, KubeError, NotFound
from sublet_hub.cluster.kube.exchange import Patience
from sublet_hub.cluster.kube.identity import TERMINAL
from sublet_hub.cluster.kube.lease_pods import Json, PlacementError, PodLease, placement_of
from sublet_hub.cluster.kube.objects import ContainerStatus, Pod, PodStatus
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.cluster.kube.warden import UnguardedError
from sublet_hub.cluster.records import wall_ms
from sublet_hub.domain.model_leases import SERVER_PREFIX, Holder
from sublet_hub.domain.models import Model, Upstream
from sublet_hub.gateway.errors import ModelAway
from sublet_hub.gateway.granting import NOT_STARTED, ask_for, give_back
from sublet_hub.gateway.lease_api import Granted, Leases
from sublet_hub.gateway.server_pods import PORT, Owner, ServerPodSettings, Wanted, server_pod

log = logging.getLogger(__name__)

PATIENCE = Patience(connect_seconds=2, answer_seconds=5, attempts=2, rest_seconds=1)
"""Servers are looked at one after the other, once a second: one that can't be seen must not hold up the others."""
LOOK_SECONDS = 1.0
HEALTH_SECONDS = 0.25
HEALTH_TIMEOUT = aiohttp.ClientTimeout(total=3)
TIDY_SECONDS = 60.0
LOST_MS = 60_000
"""A gateway that was to be gone so long ago is, whatever its pod says."""
OF_GATEWAYS = f"{names.LEASE},{names.SERVES},{names.GATEWAY}"
"""Selects pods that have all three labels."""

T = TypeVar("T")


class _Status(PodStatus, frozen=True, gc=False):
    pod_ip: str = msgspec.field(name="podIP", default="")


class _Pod(Pod, frozen=True, gc=False):
    """With the address, which the meter has no use for."""

    status: _Status = _Status()


@dataclass(eq=False)
class _Server:
    """One of them. Implements `places.Running`."""

    connection: Connection
    namespace: str
    leases: Leases
    lease_id: str
    ends_at_ms: int | None
    pod: _Pod
    """As was last seen."""
    monotonic: Callable[[], float] = time.monotonic
    is_gone: bool = False
    looked_at: float = field(default=float("-inf"))
    probed_at: float = field(default=float("-inf"))

    @property
    def address(self) -> str:
        ip = ipaddress.ip_address(self.pod.status.pod_ip)
        return f"http://[{ip}]:{PORT}" if ip.version == 6 else f"http://{ip}:{PORT}"

    @property
    def is_alive(self) -> bool:
        if self.is_gone or self.pod.status.phase in TERMINAL or self.pod.metadata.deletion_timestamp is not None:
            return False
        return self._container is None or self._container.state.terminated is None

    async def answers(self) -> bool:
        now = self.monotonic()
        if now - self.looked_at >= LOOK_SECONDS:
            try:
                await self.look()
            except KubeError as error:
                log.warning("a model's server can't be seen: %s", error)
        if not self._runs or now - self.probed_at < HEALTH_SECONDS:
            return False
        self.probed_at = now
        return await _is_well(f"{self.address}/health")

    async def look(self) -> None:
        self.looked_at = self.monotonic()
        name = self.pod.metadata.name
        try:
            seen = await asyncio.to_thread(self.connection.get, PODS, name, _Pod, namespace=self.namespace)
        except NotFound:
            self.is_gone = True
            return
        if seen.metadata.uid != self.pod.metadata.uid:
            self.is_gone = True
            return
        self.pod = seen
        armed = armed_deadline(seen)
        self.ends_at_ms = self.ends_at_ms if armed is None else armed

    async def end(self, why: str, *, shutdown: bool = False) -> None:
        """Done when the cluster was told: it has `GRACE_SECONDS`."""
        if self.is_alive:
            # Else it has ended by itself, or by its deadline, and for the reason of that.
            await give_back(self.leases, self.lease_id, why, shutdown=shutdown)
        await asyncio.to_thread(_delete, self.connection, self.namespace, self.pod)

    def printed(self) -> str:
        """What the cluster says of it. What it printed itself is the cluster's to show."""
        state = None if self._container is None else self._container.state
        said = [f"pod {self.pod.metadata.name}: {self.pod.status.phase} {self.pod.status.reason}".rstrip()]
        if state is not None and state.waiting is not None:
            said.append(f"waiting: {state.waiting.reason}")
        if state is not None and state.terminated is not None:
            said.append(f"ended: {state.terminated.reason}, exit code {state.terminated.exit_code}")
        return "\n".join(said)

    @property
    def _container(self) -> ContainerStatus | None:
        return next((each for each in self.pod.status.container_statuses if each.name == names.NOTEBOOK), None)

    @property
    def _runs(self) -> bool:
        container = self._container
        is_running = container is not None and container.state.running is not None
        return is_running and self.is_alive and bool(self.pod.status.pod_ip)


@dataclass(frozen=True, slots=True)
class PodOptions:
    """`namespace` empty: our own. `start_seconds`: how long a server may take until it answers."""

    settings: ServerPodSettings
    placements: Mapping[str, Placement]
    start_seconds: float
    namespace: str = ""


class InPods:
    """Implements `places.Place`. Every server is a lease of the holder's."""

    def __init__(
        self, connection: Connection, leases: Leases, holder: Holder, owner: Owner, options: PodOptions
    ) -> None:
        self._connection = connection
        self._namespace = options.namespace or connection.namespace
        self._leases = leases
        self._holder = holder
        self._owner = owner
        self._options = options
        self._capabilities: Capabilities | None = None
        self._tidy_at = 0.0
        self.start_seconds = options.start_seconds

    async def start(self, model: Model, upstream: Upstream, least_ms: int) -> _Server:
        name = f"{model.name}-{secrets.token_hex(4)}"
        granted = await ask_for(self._leases, model, upstream, name, least_ms)
        lease = self._lease(granted, upstream, name)
        try:
            made = await _seen_through(lambda: self._make(model, upstream, granted, lease))
        except BaseException as error:
            await asyncio.shield(self._undo(lease))
            if isinstance(error, KubeError | PlacementError | UnguardedError | OSError):
                log.error("the server of %s was not started: %s", model.name, error)
                raise ModelAway(f"The server of {model.name} could not be started in the cluster.") from None
            raise
        return _Server(self._connection, self._namespace, self._leases, lease.id, lease.deadline_ms, made)

    async def tidy(self) -> None:
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + TIDY_SECONDS
        for pod in await asyncio.to_thread(self._left_behind):
            lease_id = pod.metadata.label(names.LEASE) or ""
            log.warning("ending lease %s in pod %s, whose gateway is gone", lease_id, pod.metadata.name)
            await give_back(self._leases, lease_id, "Its gateway is gone.", shutdown=True)
            await asyncio.to_thread(_delete, self._connection, self._namespace, pod)

    def _lease(self, granted: Granted, upstream: Upstream, name: str) -> PodLease:
        assert upstream.flavor is not None, "only those that are leases run here"
        return PodLease(
            id=granted.id,
            user=self._holder.user,
            account=str(self._holder.account),
            flavor=upstream.flavor,
            tier=upstream.tier.value,
            server_name=f"{SERVER_PREFIX}{name}",
            deadline_ms=granted.deadline_ms,
            deadline_reason=granted.deadline_reason,
        )

    # ---------------------------------------------------------------- blocking

    def _make(self, model: Model, upstream: Upstream, granted: Granted, lease: PodLease) -> _Pod:
        placement = placement_of(lease.flavor, granted.gpus_milli, self._options.placements)
        if self._capabilities is None:
            major, minor = self._connection.server_version()
            self._capabilities = capabilities_of(str(major), str(minor))
        wanted = Wanted(model, upstream, lease, placement)
        pod: Json = server_pod(wanted, self._options.settings, self._owner, self._capabilities)
        return self._connection.create(PODS, pod, _Pod, namespace=self._namespace)

    async def _undo(self, lease: PodLease) -> None:
        """Whether there is a pod isn't known: the answer may have been lost."""
        await give_back(self._leases, lease.id, NOT_STARTED)
        try:
            await asyncio.to_thread(self._connection.delete, PODS, lease.pod_name, namespace=self._namespace)
        except NotFound:
            return
        except KubeError as error:
            log.warning("pod %s may have been made, and can't be deleted: %s", lease.pod_name, error)

    def _left_behind(self) -> list[_Pod]:
        """Pods of servers whose gateway is gone, and that nobody ends yet."""
        there = [each for each in self._all() if each.metadata.deletion_timestamp is None]
        left = [each for each in there if each.status.phase not in TERMINAL]
        owners = {_owner_of(each) for each in left}
        gone = {owner for owner in owners if not self._is_there(*owner)}
        return [each for each in left if _owner_of(each) in gone]

    def _all(self) -> Iterator[_Pod]:
        for page in self._connection.pages(PODS, _Pod, namespace=self._namespace, labels=OF_GATEWAYS):
            yield from page.items or ()

    def _is_there(self, name: str, uid: str, run: str) -> bool:
        if name == self._owner.name:
            return (uid, run) == (self._owner.uid, self._owner.run)
        if not name:
            return False
        try:
            pod = self._connection.get(PODS, name, Pod, namespace=self._namespace)
        except NotFound:
            return False
        return pod.metadata.uid == uid and pod.status.phase not in TERMINAL and not _is_lost(pod)


def _owner_of(pod: Pod) -> tuple[str, str, str]:
    """The gateway of a server: its pod's name and id, and the run of its process."""
    meta = pod.metadata
    return (
        meta.annotation(names.GATEWAY) or "",
        meta.annotation(names.GATEWAY_UID) or "",
        meta.label(names.GATEWAY_RUN) or "",
    )


def _is_lost(pod: Pod) -> bool:
    """Whether it should have been gone for a while: the object of a pod stays as long as its node is silent, and so
    would all that it owns, on other nodes too."""
    until_ms = pod.metadata.deletion_timestamp  # its grace ended then
    return until_ms is not None and wall_ms() > until_ms + LOST_MS


def _delete(connection: Connection, namespace: str, pod: Pod) -> None:
    """Its object stays until the meter has posted its end. Where it can't be said, the lease's order is the meter's
    to carry out."""
    try:
        connection.delete(PODS, pod.metadata.name, uid=pod.metadata.uid, namespace=namespace)
    except (NotFound, Conflict):
        return
    except KubeError as error:
        log.warning("pod %s can't be deleted: %s", pod.metadata.name, error)


async def _seen_through(do: Callable[[], T]) -> T:
    """What blocks, in a thread. Who is cancelled meanwhile waits for its end: what it made must be known."""
    task = asyncio.ensure_future(asyncio.to_thread(do))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _is_well(url: str) -> bool:
    try:
        async with (
            aiohttp.ClientSession(timeout=HEALTH_TIMEOUT, trust_env=False) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            return answer.status == HTTPStatus.OK
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
