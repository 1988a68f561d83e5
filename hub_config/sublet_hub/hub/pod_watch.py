"""What is seen of a lease's pod, and how it is ended: requests with a limit, and a watch that is begun anew when it
gave up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any

from aiohttp import ClientError
from jupyterhub.utils import exponential_backoff
from kubernetes_asyncio import client
from kubernetes_asyncio.client.rest import ApiException
from kubespawner import KubeSpawner

from sublet_hub.cluster.kube.lease_pods import Json
from sublet_hub.hub.pod_state import UNKNOWN_EXIT, PodState, read_state

TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
"""Answers of an API server that may be another one a moment later."""

NO_ANSWER = (ClientError, OSError, TimeoutError)

SHORTEST_GRACE_SECONDS = 1
"""Never 0: that takes a pod's word for ended before its node has said so."""

LOOK_SECONDS = 0.05
TAKE_UP_SECONDS = 0.25
END_SECONDS = 30.0
"""How long, beyond its grace, a stop waits for a pod's end: its node may be lost."""


class WatchedPod(KubeSpawner):
    """KubeSpawner, for a pod whose object stays until the meter has posted its end."""

    _starting = False

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

    async def get_url(self) -> str:
        """Where the server is. JupyterHub asks when it starts, and stops what doesn't answer there in time. A pod
        that was on its way when the hub went down has no address yet: it is waited for, as its start would have been.
        """
        deadline = time.monotonic() + self.start_timeout
        while await self.poll() is None and not self._is_ready() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(TAKE_UP_SECONDS)  # the watch tells nobody
        url: str = await super().get_url()  # which `poll` has set right
        return url

    def _is_ready(self) -> bool:
        seen = self._seen()
        return seen is not None and seen.ready

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
        """What the watch knows of the pod; nothing before it has begun."""
        if not self.pod_reflector:
            return None
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


def _has_given_up(reflector: Any) -> bool:
    """Whether a watch has ended for good, as KubeSpawner's do after some time without an API server."""
    if reflector is None or not reflector.first_load_future.done():
        return False
    return reflector.watch_task is None or bool(reflector.watch_task.done())
