"""The JupyterHub on Kubernetes that Sublet is measured against: the same in all but what Sublet adds.

Its spawner is KubeSpawner, set up by hand as our chart sets ours up. A start with the option `eager` looks for pod
and server as often as Sublet does. One with the option `guarded` also gets Sublet's warden into its pod (which holds
nothing there, as no lease is behind it). They show of what Sublet's share consists.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import kubespawner.spawner
from jupyterhub.utils import exponential_backoff
from kubespawner.clients import shared_client

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.capabilities import capabilities_of
from sublet_hub.cluster.kube.warden import Warden, with_warden
from sublet_hub.hub.listening import LOOK_SECONDS, listens

if TYPE_CHECKING:
    from traitlets.config import Config

    get_config: Callable[[], Config]

c = get_config()  # noqa: F821 - JupyterHub defines it for this file
FAR_MS = 4_102_444_800_000  # the year 2100
eager: ContextVar[bool] = ContextVar("eager", default=False)


async def look(condition: Callable[[], Any], message: str, **options: Any) -> Any:
    """KubeSpawner's way to wait for a condition; eagerly in the starts that are to be so."""
    if eager.get():
        options |= {"start_wait": LOOK_SECONDS, "max_wait": LOOK_SECONDS}
    return await exponential_backoff(condition, message, **options)


kubespawner.spawner.exponential_backoff = look


class Plain(dict[str, Any]):
    """A pod as plain data, for a KubeSpawner that wants to name it in its log."""

    metadata: Any


class StockKubeSpawner(kubespawner.spawner.KubeSpawner):  # type: ignore[misc]  # it has no types
    """KubeSpawner, and for some starts an eager look-out, or a warden."""

    async def start(self) -> str:
        eager.set(bool(self.user_options.get("eager")))
        url: str = await super().start()
        where = urlsplit(url)
        while eager.get() and not await listens(where.hostname or "", where.port or 0):  # noqa: ASYNC110 - a port
            await asyncio.sleep(LOOK_SECONDS)
        return url

    def _get_pod_port(self, _pod: Any) -> int:
        """KubeSpawner trips over containers without ports, such as a warden."""
        return int(self.port)


async def guarded(spawner: Any, pod: Any) -> Any:
    """The pod with a warden, for the starts that are to have one."""
    if not spawner.user_options.get("guarded"):
        return pod
    version = await shared_client("VersionApi").get_code()
    warden = Warden(
        image=os.environ["BENCH_WARDEN"],
        capabilities=capabilities_of(version.major, version.minor),
        grace_seconds=spawner.delete_grace_period,
        image_pull_policy=spawner.image_pull_policy,
        notebook_port=spawner.port,
    )
    plain = spawner.api.api_client.sanitize_for_serialization(pod)
    plain["metadata"]["annotations"][names.DEADLINE] = str(FAR_MS)
    made = Plain(with_warden(plain, warden))
    made.metadata = pod.metadata
    return made


c.JupyterHub.bind_url = "http://0.0.0.0:8000"
c.JupyterHub.hub_bind_url = "http://0.0.0.0:8081"
c.JupyterHub.hub_connect_url = "http://stock:8081"
c.JupyterHub.db_url = "sqlite:////data/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "/data/cookie_secret"
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8001"
c.ConfigurableHTTPProxy.auth_token = os.environ["CONFIGPROXY_AUTH_TOKEN"]
c.JupyterHub.authenticator_class = "shared-password"
c.Authenticator.allow_all = True
c.SharedPasswordAuthenticator.user_password = os.environ["BENCH_PASSWORD"]
c.JupyterHub.spawner_class = StockKubeSpawner
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
c.KubeSpawner.namespace = os.environ["BENCH_NAMESPACE"]
c.KubeSpawner.image = os.environ["BENCH_NOTEBOOK"]
c.KubeSpawner.image_pull_policy = "IfNotPresent"
c.KubeSpawner.delete_grace_period = 3
c.KubeSpawner.automount_service_account_token = False
c.KubeSpawner.uid = c.KubeSpawner.gid = c.KubeSpawner.fs_gid = 1000
c.KubeSpawner.container_security_context = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
c.KubeSpawner.cpu_limit = 1
c.KubeSpawner.cpu_guarantee = 0.05  # as much as the tests' leases reserve
c.KubeSpawner.mem_guarantee = c.KubeSpawner.mem_limit = "1G"
c.KubeSpawner.storage_pvc_ensure = True
c.KubeSpawner.storage_capacity = "1Gi"
c.KubeSpawner.pvc_name_template = "home-{username}"
c.KubeSpawner.working_dir = "/home/jovyan"
c.KubeSpawner.environment = {"HOME": "/home/jovyan", "JUPYTER_RUNTIME_DIR": "/tmp/jupyter"}
c.KubeSpawner.volumes = [
    {"name": "home", "persistentVolumeClaim": {"claimName": "home-{username}"}},
    {"name": "tmp", "emptyDir": {}},
    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
]
c.KubeSpawner.volume_mounts = [
    {"name": "home", "mountPath": "/home/jovyan"},
    {"name": "tmp", "mountPath": "/tmp"},
    {"name": "shm", "mountPath": "/dev/shm"},
]
c.KubeSpawner.modify_pod_hook = guarded
