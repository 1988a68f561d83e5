"""Runs each server as the pod of a lease. KubeSpawner talks to the cluster; here is what a lease needs beyond it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar
from urllib.parse import urlsplit

from kubernetes_asyncio.client.rest import ApiException
from kubespawner.clients import shared_client
from traitlets import Dict, Float, Instance, default

from sublet_hub.cluster.kube.capabilities import Capabilities, capabilities_of
from sublet_hub.cluster.kube.lease_pods import Json, PlacementError, PodSettings, placement_of
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.cluster.kube.warden import UnguardedError, Warden
from sublet_hub.hub import listening, pod_wording
from sublet_hub.hub.pod_fields import environment, lease_of, lease_pod
from sublet_hub.hub.pod_state import PodState, read_state
from sublet_hub.hub.pod_volumes import MODELS
from sublet_hub.hub.pod_watch import LOOK_SECONDS, NO_ANSWER, TRIED_AGAIN, WatchedPod
from sublet_hub.hub.refusal import Explanation, LeaseRefusedError

TELLING_SECONDS = 5.0
"""How much before JupyterHub gives up a start we do, to say why."""

ANOTHER_CATALOG = "This flavor can’t be started at the moment. The administrator’s log says why."
TOO_LATE = "The cluster took too long. Nothing was charged; try again."


class PodSpawner(WatchedPod):
    """JupyterHub's spawner for Kubernetes, for pods of leases.

    It is given its lease by LeaseMixin, which stands before it, and takes nothing from options of users.
    """

    sublet_pods = Instance(PodSettings, help="What is the same in all pods of leases. Required.").tag(config=True)

    sublet_placements = Dict(help="Where the pods of each flavor run; by flavor. Required.").tag(config=True)

    sublet_grant_ttl = Float(
        120.0,
        min=0.1,
        help="Seconds after which the meter voids a grant that has not started. None is used after half of them.",
    ).tag(config=True)

    sublet_listen_seconds = Float(
        20.0,
        min=0,
        help="Seconds for which a start waits for its server to listen, before it leaves that to JupyterHub.",
    ).tag(config=True)

    _capabilities: ClassVar[Capabilities | None] = None
    _pod_wanted = False

    # ---------------------------------------------------------------- start

    async def start(self) -> str:
        """Make the pod of a lease, and the user's home if there is none; done when the server listens. Gives its
        address."""
        grant = self.lease_grant
        assert grant is not None, "LeaseMixin asks for a lease before it starts a server"
        self._placement()
        self.pod_name = lease_of(grant).pod_name
        self.dns_name = self.dns_name_template.format(namespace=self.namespace, name=self.pod_name)
        self._remember()
        self._starting, self._pod_wanted = True, False
        try:
            return await self._start_in_time()
        except BaseException:  # a cancelled start too
            if self._pod_wanted:
                await asyncio.shield(self._let_go())
            raise
        finally:
            self._starting = False

    async def _start_in_time(self) -> str:
        seconds = max(1.0, self.start_timeout - TELLING_SECONDS)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                await self._ask_version()
                url: str = await super().start()
                return url
        except TimeoutError as error:
            raise self._late(time.monotonic() - begun) from error
        except ApiException as error:
            raise self._not_admitted(error.status, str(error)) from error
        except NO_ANSWER as error:
            raise self._not_admitted(None, repr(error)) from error

    async def _start(self) -> str:
        """What KubeSpawner does in a task of its own; `progress` goes on until it is done. KubeSpawner would wait for
        the pod, and JupyterHub for the server, by looking ever more seldom: both would notice seconds late."""
        await super()._start()
        while (seen := self._seen_alive()) is None or not seen.ready:  # noqa: ASYNC110 - the watch tells nobody
            await asyncio.sleep(LOOK_SECONDS)
        url = self._get_pod_url(self.pod_reflector.pods[f"{self.namespace}/{self.pod_name}"])
        await self._await_listener(url)
        return url

    async def _await_listener(self, url: str) -> None:
        """No more than a help: JupyterHub asks the server either way, also where the hub's network shows this to
        nobody."""
        where = urlsplit(url)
        deadline = time.monotonic() + self.sublet_listen_seconds
        while where.hostname and where.port and time.monotonic() < deadline:
            self._seen_alive()
            if await listening.listens(where.hostname, where.port):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _seen_alive(self) -> PodState | None:
        """What the watch knows of the pod. A start whose pod has ended is over at once."""
        seen = self._seen()
        if seen is not None and seen.ended:
            sentence = pod_wording.ended_early(seen.reason)
            raise self._not_started(sentence, "ended-early", f"ended early: {seen.reason} {seen.message}")
        return seen

    def _placement(self) -> Placement:
        grant = self.lease_grant
        assert grant is not None, "LeaseMixin asks for a lease before it starts a server"
        try:
            return placement_of(grant.flavor, grant.gpus_milli, self.sublet_placements)
        except PlacementError as error:
            raise self._not_started(ANOTHER_CATALOG, "placement", str(error)) from error

    def _remember(self) -> None:
        """Have the hub's database know of the pod before there is one: a hub that is killed meanwhile takes it up
        again."""
        if self.server is not None:  # which it is in a hub
            self.orm_spawner.state = self.get_state()
            self.db.commit()

    async def load_user_options(self) -> None:
        """Nothing: KubeSpawner would look for profiles in what users sent."""

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        """Ask once for the pod; False for another try. That a pod of the lease's own name is there already is what an
        earlier try did, whose answer was lost."""
        if time.monotonic() - self.lease_asked_at > self.sublet_grant_ttl / 2:
            raise self._not_started(
                TOO_LATE, "too-late", "the grant was too old to be used; the meter may have voided it"
            )
        wanted = self._lease_pod(pod)
        self._pod_wanted = True
        try:
            creating = self.api.create_namespaced_pod(self.namespace, wanted, _preload_content=False)
            await self._answer_of(creating, request_timeout)
        except NO_ANSWER as error:
            self.log.warning("No answer to the request for pod %s: %r", self.pod_name, error)
            return False
        except ApiException as error:
            if error.status == 409:
                return await self._read_pod() is not None
            if error.status in TRIED_AGAIN:
                self.log.warning("Pod %s can't be made yet: %s %s", self.pod_name, error.status, error.reason)
                return False
            raise
        return True

    def _lease_pod(self, pod: Any) -> Json:
        settings: PodSettings = self.sublet_pods
        assert self._capabilities is not None, "asked before a pod is made"
        warden = Warden(
            image=settings.warden_image,
            capabilities=self._capabilities,
            grace_seconds=settings.stop_grace_seconds,
            image_pull_policy=self.image_pull_policy or "IfNotPresent",
            notebook_port=self.port,
        )
        plain = self.api.api_client.sanitize_for_serialization(pod)
        try:
            return lease_pod(plain, self.lease_grant, self._placement(), settings, self.pvc_name, warden)
        except UnguardedError as error:
            raise self._not_started(pod_wording.WRONG_POD, "unguarded", str(error)) from error

    async def _ask_version(self) -> None:
        """Once, and kept for all spawners: a cluster's version changes seldom, and then to a newer one."""
        if PodSpawner._capabilities is None:
            version = await self._answer_of(shared_client("VersionApi").get_code(_preload_content=False))
            PodSpawner._capabilities = capabilities_of(version["major"], version["minor"])

    def is_pod_running(self, pod: Mapping[str, Any] | None) -> bool:
        """Whether all of it runs and is ready. KubeSpawner's start is told so of any that the watch has seen: waiting
        is `_start`'s."""
        return pod is not None and (self._starting or read_state(pod).ready)

    def _get_pod_url(self, pod: Mapping[str, Any]) -> str:
        """Where it is reached; empty of one without an address, of which KubeSpawner's start asks too early."""
        return str(super()._get_pod_url(pod)) if pod["status"].get("podIP") else ""

    def _get_pod_port(self, _pod: Mapping[str, Any]) -> int:
        """KubeSpawner looks through the containers for it, and trips over those without ports."""
        return int(self.port)

    def get_env(self) -> dict[str, str]:
        env: dict[str, str] = super().get_env()
        if self.lease_grant is not None:
            env |= environment(self.lease_grant, self._placement())
            env["SUBLET_STOP_GRACE_SECONDS"] = str(self.sublet_pods.stop_grace_seconds)
        if self.sublet_pods.models_claim is not None:
            env["SUBLET_MODELS_DIR"] = MODELS
        return env

    @default("slow_spawn_message_threshold")
    def _first_look_seconds(self) -> int:
        return 1

    @default("slow_spawn_message_frequency")
    def _look_again_seconds(self) -> int:
        return 1

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What the cluster's events mean to who waits, and what it waits for now; each step once. KubeSpawner's plea
        for patience, which comes from time to time, is when the pod itself is looked at."""
        told = ""
        async with aclosing(super().progress()) as events:
            async for event in events:
                step = pod_wording.step(event["raw_event"]) if "raw_event" in event else self._waiting_for()
                if step and step != told:
                    told = step
                    yield {"progress": 45 + event.get("progress", 90) // 2, "message": step}

    # ---------------------------------------------------------------- what a user is told

    def _waiting_for(self) -> str | None:
        seen = self._seen()
        return pod_wording.waiting(seen.reason, seen.message) if seen else None

    def _late(self, seconds: float) -> LeaseRefusedError:
        seen = self._seen()
        said = [(seen.reason, seen.message)] if seen else []
        said += [
            (event.get("reason") or "", event.get("message") or "")
            for event in reversed(self.events)
            if event.get("type") == "Warning"
        ]
        sentence = pod_wording.not_started(seconds, said)
        details = "; ".join(f"{reason} {message}" for reason, message in said)
        return self._not_started(sentence, "start-timeout", f"did not start in time: {details}")

    def _not_admitted(self, status: int | None, details: str) -> LeaseRefusedError:
        sentence = pod_wording.refused(status, details)
        return self._not_started(sentence, "not-admitted", f"the cluster refused it: {status} {details}")

    def _not_started(self, sentence: str, reason: str, details: str) -> LeaseRefusedError:
        refused: LeaseRefusedError = self._refused(
            Explanation(sentence), reason, status_code=503, log_message=f"Pod {self.pod_name}: {details}"
        )
        return refused
