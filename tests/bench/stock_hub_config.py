"""The JupyterHub that Sublet is measured against: the same in all but what Sublet adds.

Its spawner is JupyterHub's own for one machine without system users. It switches to no other user and confines
nothing, which costs it nothing; Sublet does both. (Switched to another user, it could not even reach a Python that
lies in somebody's closed home folder.) A start with the option `eager` looks for the server as often as Sublet does,
and so shows what Sublet costs besides.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jupyterhub.spawner import SimpleLocalProcessSpawner
from jupyterhub.utils import can_connect

from sublet_hub.hub.listening import LOOK_SECONDS

if TYPE_CHECKING:
    from traitlets.config import Config

    get_config: Callable[[], Config]

c = get_config()  # noqa: F821 - JupyterHub defines it for this file
folder, port = Path(os.environ["BENCH_FOLDER"]), int(os.environ["BENCH_PORT"])


class StockSpawner(SimpleLocalProcessSpawner):  # type: ignore[misc]  # JupyterHub has no types
    """JupyterHub's SimpleLocalProcessSpawner, and for some starts an eager look-out."""

    async def start(self) -> tuple[str, int]:
        ip, port = cast(tuple[str, int], await super().start())
        while self.user_options.get("eager") and not can_connect(ip, port):  # noqa: ASYNC110 - a port
            await asyncio.sleep(LOOK_SECONDS)
        return ip, port


c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port + 81}"
c.JupyterHub.db_url = f"sqlite:///{folder}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{folder}/cookie_secret"
c.ConfigurableHTTPProxy.command = os.environ["BENCH_PROXY"].split("\n")
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 1}"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/proxy.pid"
c.JupyterHub.authenticator_class = "shared-password"
c.Authenticator.allow_all = True
c.SharedPasswordAuthenticator.user_password = os.environ["BENCH_PASSWORD"]
c.JupyterHub.spawner_class = StockSpawner
c.SimpleLocalProcessSpawner.home_dir_template = f"{folder}/homes/{{username}}"
c.Spawner.cmd = [os.environ["BENCH_SINGLEUSER"]]
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.Spawner.default_url = "/lab"
c.Spawner.http_timeout = c.Spawner.start_timeout = 60
