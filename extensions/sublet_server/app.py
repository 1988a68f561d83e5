"""The extension itself: its settings, and how its parts are put together."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_core.paths import jupyter_data_dir, jupyter_runtime_dir
from jupyter_server.extension.application import ExtensionApp
from traitlets import Float, Integer

from sublet_server.browsers import Browsers
from sublet_server.ending import Ending, Outcome
from sublet_server.following import Following
from sublet_server.gpus import GpuSample, Sampler
from sublet_server.handlers import ROUTES
from sublet_server.idle_policy import learn_idle_policy
from sublet_server.kernel_socket import KernelSocket
from sublet_server.kernels import Kernels
from sublet_server.loops import keep_going
from sublet_server.minutes import Counting
from sublet_server.model_handlers import MODEL_ROUTES
from sublet_server.models import show_models
from sublet_server.needed import keep_while_busy
from sublet_server.outbox import Outbox, outbox_file, send_leftovers
from sublet_server.past import Past
from sublet_server.platform_api import PlatformApi
from sublet_server.refusing import guard_kernels, guard_terminals
from sublet_server.search_path import keep_in_terminals, with_command
from sublet_server.state import LeaseState
from sublet_server.stop_signal import heed_sigterm
from sublet_server.surroundings import surroundings, visible_devices

SOCKET_VARIABLE = "SUBLET_EVENTS_SOCKET"
GRACE_VARIABLE = "SUBLET_STOP_GRACE_SECONDS"
LONGEST_SOCKET_PATH = 100
"""A Unix socket's path has 107 characters at most."""
STOPPING_SHARE = 0.2
"""How much of the grace is left to Jupyter Server for its own stopping, of kernels above all."""


class SubletServer(ExtensionApp):
    """Shows a lease in its own server, warns and saves before it ends, and refuses early what would be cut off."""

    name = "sublet_server"
    load_other_extensions = True

    ending_seconds = Float(
        20.0,
        min=1,
        help="Seconds before the deadline from which no kernel or terminal is started, documents are saved and"
        " kernels' callbacks run.",
    ).tag(config=True)

    interrupt_seconds = Float(
        5.0, min=0, help="Seconds before the deadline at which kernels that are busy are interrupted."
    ).tag(config=True)

    stop_seconds = Float(
        5.0, min=0, help="Seconds that saving and callbacks may take where the user stops the lease in JupyterLab."
    ).tag(config=True)

    grace_seconds = Float(
        help="Seconds from SIGTERM to SIGKILL. Of them a fifth is left to Jupyter Server's own stopping."
        " Default: `SUBLET_STOP_GRACE_SECONDS`, else 5."
    ).tag(config=True)

    sample_seconds = Float(5.0, min=1, help="Seconds between two looks at GPUs and kernels.").tag(config=True)

    coalesce_seconds = Float(
        0.1, min=0, help="Seconds for which changes are gathered before browsers are told of them."
    ).tag(config=True)

    longest_queue = Integer(
        10080,
        min=1,
        help="Records of a minute that are kept, on disk, while the platform is away. Then the oldest are dropped."
        " Default: seven days of them, which is as long as the platform keeps them.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.state = LeaseState()
        self.browsers = Browsers(self.state)
        self.api: PlatformApi | None = None
        self.ending: Ending | None = None
        self._socket: KernelSocket | None = None
        self._past: Past | None = None
        self._sampler: Sampler | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _grace_seconds_default(self) -> float:
        try:
            return float(os.environ.get(GRACE_VARIABLE, ""))
        except ValueError:
            return 5.0

    # ---------------------------------------------------------------- Jupyter Server's hooks

    def initialize_settings(self) -> None:
        """Make the parts, before any kernel is started: kernels inherit the socket's path."""
        around = surroundings(os.environ)
        if around is None:
            self.log.info("Sublet: this server is no lease; there is nothing to show")
            return
        assert self.serverapp is not None
        kernels = Kernels(self.serverapp.kernel_manager, self.log)
        self.api = PlatformApi(around)
        self._socket = KernelSocket(socket_path(), self.state.notices.values, self.log, self.state.changed)
        os.environ[SOCKET_VARIABLE] = os.fspath(self._socket.path)
        os.environ["PATH"] = with_command(os.environ.get("PATH", os.defpath))
        self.ending = Ending(
            self.state, kernels, self._socket, self.browsers, self.log,
            ending_seconds=self.ending_seconds, interrupt_seconds=self.interrupt_seconds,
        )  # fmt: skip
        self._past = Past(self.api, self.state, past_file(os.environ), self._outcome, self.log)

    def initialize_handlers(self) -> None:
        self.handlers.extend([*ROUTES, *MODEL_ROUTES])

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Begin, once the server's loop runs."""
        if self.api is None or self._socket is None or self.ending is None or self._past is None:
            return
        guard_kernels(serverapp.kernel_manager, self.state.refusal)
        terminals = serverapp.web_app.settings.get("terminal_manager")
        if terminals is not None:
            guard_terminals(terminals, self.state.refusal)
            keep_in_terminals(terminals)
        heed_sigterm(self._stop_gently)
        kernels = Kernels(serverapp.kernel_manager, self.log, self._socket.called_at)
        kept = Path(jupyter_data_dir()) / "sublet"
        outbox = Outbox(self.api, outbox_file(kept, self.api.lease_id), self.longest_queue, self.log)
        leftovers = partial(send_leftovers, self.api, kept, self.longest_queue, self.log)
        counting = Counting(self.state, kernels, self.sample_seconds, outbox.put)
        following = Following(self.api, self.state, self._socket.notice, self.log)
        self._keep("the kernels' socket", self._socket.open)
        self._keep("following the lease", following.run)
        self._keep("ending", self.ending.watch)
        self._keep("counting minutes", counting.run)
        self._keep("sending records", outbox.run)
        self._keep("sending an earlier lease's records", leftovers)
        # In this order: the first reads what the second writes over.
        self._keep("telling of the last lease", self._past.find_out)
        self._keep("noting the lease", self._past.remember)
        self._keep("linking models", partial(show_models, os.environ, self.log))
        self._keep("learning of the idle policy", partial(learn_idle_policy, self.api, self.state))
        self._keep("keeping a lease that is in use", partial(keep_while_busy, self.api, self.state, kernels))
        self._sample(counting.heed)

    async def stop_extension(self) -> None:
        """The server stops, by whatever way: let what is open be saved, then let go of everything."""
        if self._past is not None:
            self._past.stops("user")
        if self.ending is not None:
            await self._end_within_grace("user")
        if self._sampler is not None:
            self._sampler.end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._past is not None:
            self._past.write()
        if self._socket is not None:
            self._socket.close()
        if self.api is not None:
            self.api.close()

    # ---------------------------------------------------------------- what handlers ask for

    def dismiss(self) -> None:
        if self._past is not None:
            self._past.dismiss()

    # ---------------------------------------------------------------- inside

    def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(keep_going(name, work, self.log), name=f"sublet: {name}"))

    def _sample(self, heed: Callable[[tuple[GpuSample, ...]], None]) -> None:
        names = visible_devices(os.environ)
        if names:
            loop = asyncio.get_running_loop()
            self._sampler = Sampler(names, self.sample_seconds, lambda found: _hand_over(loop, heed, found), self.log)
            self._sampler.start()

    async def _stop_gently(self) -> None:
        """On SIGTERM: the server still listens, so that browsers can save."""
        if self._past is not None:
            self._past.stops("signal")
        await self._end_within_grace("shutdown")

    async def _end_within_grace(self, reason: str) -> None:
        assert self.ending is not None
        seconds = self.grace_seconds * (1 - STOPPING_SHARE)
        try:
            await asyncio.wait_for(self.ending.within(seconds, reason), seconds + 1)
        except Exception:
            self.log.exception("Sublet: not all could be saved")

    def _outcome(self) -> Outcome | None:
        return self.ending.outcome if self.ending is not None else None


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    heed: Callable[[tuple[GpuSample, ...]], None],
    found: tuple[GpuSample, ...],
) -> None:
    """From the sampling thread to the server's loop."""
    loop.call_soon_threadsafe(heed, found)


def socket_path() -> Path:
    """In the server's runtime folder; in a folder of its own where that has too long a name."""
    name = f"sublet-{os.getpid()}.sock"
    path = Path(jupyter_runtime_dir()) / name
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="sublet-")) / name


def past_file(env: Any) -> Path:
    """A file for each named server."""
    server = quote(env.get("JUPYTERHUB_SERVER_NAME", ""), safe="")[:100]
    return Path(jupyter_data_dir()) / "sublet" / f"lease{'-' + server if server else ''}.json"
