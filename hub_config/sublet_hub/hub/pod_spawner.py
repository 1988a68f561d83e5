"""Runs each server as the pod of a lease. KubeSpawner talks to the cluster; here is what a lease needs beyond it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlsplit

from aiohttp import ClientError
from jupyterhub.utils import exponential_backoff
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException
from kubespawner import KubeSpawner
from kubespawner.clients import shared_client
from traitlets import Dict, Float, Instance

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.capabilities import Capabilities, capabilities_of
from sublet_hub.cluster.kube.placement import Placement
from sublet_hub.cluster.kube.warden import UnguardedError, Warden
from sublet_hub.hub import listening, pod_wording
from sublet_hub.hub.pod_fields import Json, PlacementError, PodSettings, environment, lease_pod, placement_of
from sublet_hub.hub.pod_state import UNKNOWN_EXIT, PodState, read_state
from sublet_hub.hub.refusal import Explanation, LeaseRefusedError

TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
"""Answers of an API server that may be another one a moment later."""

NO_ANSWER = (ClientError, OSError, TimeoutError)

SHORTEST_GRACE_SECONDS = 1
"""Never 0: that takes a pod's word for ended before its node has said so."""

LOOK_SECONDS = 0.05
END_SECONDS = 30.0
"""How long, beyond its grace, a stop waits for a pod's end: its node may be lost."""

TELLING_SECONDS = 5.0
"""How much before JupyterHub gives up a start we do, to say why."""

ANOTHER_CATALOG = "This flavor can’t be started at the moment. The administrator’s log says why."
TOO_LATE = "The cluster took too long. Nothing was charged; try again."


class PodSpawner(KubeSpawner):
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
    _starting = False
    _pod_wanted = False

    # ---------------------------------------------------------------- start

    async def start(self) -> str:
        """Make the pod of a lease, and the user's home if there is none; done when the server listens. Gives its
        address."""
        grant = self.lease_grant
        assert grant is not None, "LeaseMixin asks for a lease before it starts a server"
        self._placement()
        self.pod_name = names.pod_name(grant.user, grant.server_name, grant.id)
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
            raise self._failed(sentence, "ended-early", f"ended early: {seen.reason} {seen.message}")
        return seen

    def _placement(self) -> Placement:
        try:
            return placement_of(self.lease_grant, self.sublet_placements)
        except PlacementError as error:
            raise self._failed(ANOTHER_CATALOG, "placement", str(error)) from error

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
            raise self._failed(TOO_LATE, "too-late", "the grant was too old to be used; the meter may have voided it")
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
            raise self._failed(pod_wording.WRONG_POD, "unguarded", str(error)) from error

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
        return env

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        """What the cluster's events mean to who waits; each step once."""
        told = ""
        async with aclosing(super().progress()) as events:
            async for event in events:
                step = pod_wording.step(event["raw_event"]) if "raw_event" in event else event["message"]
                if step and step != told:
                    told = step
                    yield {"progress": 45 + event.get("progress", 90) // 2, "message": step}

    # ---------------------------------------------------------------- watch and stop

    async def poll(self) -> int | None:
        """None while the notebook runs or may yet, else its exit code. Costs no request, but to make sure that a pod
        which isn't seen any more is gone. Where the cluster doesn't answer, nothing is known to have ended."""
        try:
            await self._start_watching_pods()
            state = await self._look()
            if state is not None and state.ready:
                await super().poll()  # follows a pod whose address has changed
        except (ApiException, *NO_ANSWER) as error:
            self.log.warning("Whether pod %s runs is not known: %r", self.pod_name, error)
            return None
        if state is None:
            return None if self._starting else UNKNOWN_EXIT
        if state.ended and not state.deleting:
            await self._let_go()
        return state.exit_code

    async def stop(self, now: bool = False) -> None:
        """Have the pod ended, and wait until the notebook is. The object stays until the meter has posted the end; no
        start waits for that."""
        await self._start_watching_pods()
        grace = SHORTEST_GRACE_SECONDS if now else max(SHORTEST_GRACE_SECONDS, self.delete_grace_period)
        await exponential_backoff(
            partial(self._request_deletion, grace),
            f"pod {self.pod_name} could not be deleted",
            timeout=self.k8s_api_request_retry_timeout,
        )
        deadline = time.monotonic() + grace + END_SECONDS
        while (state := self._seen()) is not None and not state.ended:
            if time.monotonic() > deadline:
                self.log.error("Pod %s is to be deleted, and its end has not been seen", self.pod_name)
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _let_go(self) -> None:
        """Have a pod that is of no use any more deleted. Where that fails, the meter does it."""
        try:
            await self._request_deletion(SHORTEST_GRACE_SECONDS)
        except ApiException as error:
            self.log.warning("Pod %s could not be deleted: %s", self.pod_name, error)

    async def _request_deletion(self, grace_seconds: int) -> bool:
        """Ask once for the pod's end; False for another try. That it is gone is as good."""
        options = client.V1DeleteOptions(grace_period_seconds=grace_seconds)
        deleting = self.api.delete_namespaced_pod(self.pod_name, self.namespace, body=options, _preload_content=False)
        try:
            await self._answer_of(deleting)
        except NO_ANSWER as error:
            self.log.warning("No answer to the deletion of pod %s: %r", self.pod_name, error)
            return False
        except ApiException as error:
            if error.status in TRIED_AGAIN:
                return False
            if error.status != 404:
                raise
        return True

    def _seen(self) -> PodState | None:
        """What the watch knows of the pod."""
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        return None if pod is None else read_state(pod)

    async def _look(self) -> PodState | None:
        """The same. A watch may begin with what was a while ago: whether a pod is gone is asked."""
        seen = self._seen()
        if seen is not None or self._starting:
            return seen
        pod = await self._read_pod()
        return None if pod is None else read_state(pod)

    async def _read_pod(self) -> Mapping[str, Any] | None:
        reading = self.api.read_namespaced_pod(self.pod_name, self.namespace, _preload_content=False)
        try:
            return await self._answer_of(reading)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    async def _answer_of(self, request: Awaitable[Any], seconds: float | None = None) -> Json:
        """The answer as it is. The client's own models refuse what is newer than they are, after the fact."""
        async with asyncio.timeout(self.k8s_api_request_timeout if seconds is None else seconds):
            response = await request
            body = await response.text()
        if not response.ok:
            error = ApiException(status=response.status, reason=response.reason)
            error.body = body
            raise error
        answer: Json = json.loads(body)
        return answer

    async def _start_watching_pods(self, replace: bool = False) -> Any:
        return await super()._start_watching_pods(replace=replace or _has_given_up(self.pod_reflector))

    async def _start_watching_events(self, replace: bool = False) -> Any:
        return await super()._start_watching_events(replace=replace or _has_given_up(self.event_reflector))

    # ---------------------------------------------------------------- what a user is told

    def _late(self, seconds: float) -> LeaseRefusedError:
        seen = self._seen() if self.pod_reflector else None
        said = [(seen.reason, seen.message)] if seen else []
        said += [
            (event.get("reason") or "", event.get("message") or "")
            for event in reversed(self.events)
            if event.get("type") == "Warning"
        ]
        sentence = pod_wording.not_started(seconds, said)
        details = "; ".join(f"{reason} {message}" for reason, message in said)
        return self._failed(sentence, "start-timeout", f"did not start in time: {details}")

    def _not_admitted(self, status: int | None, details: str) -> LeaseRefusedError:
        sentence = pod_wording.refused(status, details)
        return self._failed(sentence, "not-admitted", f"the cluster refused it: {status} {details}")

    def _failed(self, sentence: str, reason: str, details: str) -> LeaseRefusedError:
        refused: LeaseRefusedError = self._refused(
            Explanation(sentence), reason, status_code=503, log_message=f"Pod {self.pod_name}: {details}"
        )
        return refused


def _has_given_up(reflector: Any) -> bool:
    """Whether a watch has ended for good, as KubeSpawner's do after some time without an API server."""
    if reflector is None or not reflector.first_load_future.done():
        return False
    return reflector.watch_task is None or bool(reflector.watch_task.done())
