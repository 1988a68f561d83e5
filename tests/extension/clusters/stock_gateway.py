"""Dask-Gateway as it comes, in the place of the platform's: its own local backend, and sign-in by one token.

Its configuration file; only for tests. It reads GATEWAY_FOLDER, GATEWAY_PORTS, GATEWAY_PYTHON, GATEWAY_MOST (how
many workers there may be) and GATEWAY_WORKER (the words behind `dask` that start one).
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from dask_gateway_server.auth import Authenticator
from dask_gateway_server.backends.base import PublicException
from dask_gateway_server.backends.local import UnsafeLocalBackend
from dask_gateway_server.models import User
from dask_gateway_server.options import Options, String

if TYPE_CHECKING:
    from traitlets.config import Config

    c: Config

sys.path[:0] = [str(Path(__file__).parents[3])]
from tests.extension.clusters.stock_gateway_text import NEVER, REFUSED  # noqa: E402 — only now can it be found


class OneToken(Authenticator):  # type: ignore[misc]  # it has no types
    async def authenticate(self, request: web.Request) -> User:
        if request.headers.get("Authorization") == "jupyterhub the-token":
            return User("alice", groups=[], admin=False)
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "jupyterhub"})


class Limited(UnsafeLocalBackend):  # type: ignore[misc]  # it has no types
    async def process_cluster_options(self, user: Any, request: Any) -> Any:
        if request.get("flavor") == NEVER:
            raise PublicException("You have 3 Dask clusters, and may have no more. Close one with close().")
        return await super().process_cluster_options(user, request)

    async def forward_message_to_scheduler(self, cluster: Any, msg: Any) -> None:
        if (msg.get("count") or msg.get("minimum") or 0) > int(os.environ["GATEWAY_MOST"]):
            raise PublicException(REFUSED)
        await super().forward_message_to_scheduler(cluster, msg)


public, private = os.environ["GATEWAY_PORTS"].split()
python = Path(os.environ["GATEWAY_PYTHON"])
c.DaskGateway.address = f"127.0.0.1:{private}"  # noqa: F821 — Dask-Gateway defines it for this file
c.DaskGateway.backend_class = Limited  # noqa: F821
c.DaskGateway.authenticator_class = OneToken  # noqa: F821
c.Proxy.address = f"127.0.0.1:{public}"  # noqa: F821
c.Proxy.prefix = "/services/dask"  # noqa: F821
c.Limited.clusters_directory = os.environ["GATEWAY_FOLDER"]  # noqa: F821
c.LocalClusterConfig.scheduler_cmd = [str(python.with_name("dask")), "scheduler"]  # noqa: F821
c.LocalClusterConfig.worker_cmd = [str(python.with_name("dask")), *os.environ.get("GATEWAY_WORKER", "worker").split()]  # noqa: F821
c.Limited.cluster_options = Options(String("flavor"), String("tier"), String("account"))  # noqa: F821
c.LocalClusterConfig.environment = {  # noqa: F821
    name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH") if name in os.environ
}
c.Limited.sigint_timeout = 3  # noqa: F821
