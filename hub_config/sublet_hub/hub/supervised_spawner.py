"""Runs each server on this machine under a supervising parent, which outlives the hub and holds the deadline."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any, cast

from jupyterhub.spawner import LocalProcessSpawner
from jupyterhub.utils import random_port
from traitlets import Enum, Float, Integer, List, Unicode, default

from sublet_hub.cluster import processes, records
from sublet_hub.cluster.devices import other_device_nodes
from sublet_hub.cluster.identities import Identities, IdentitiesError, Identity
from sublet_hub.cluster.local import LocalCluster, ServerSpec, python_paths, spawn_command
from sublet_hub.cluster.sandbox import Policy
from sublet_hub.hub import listening
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.refusal import Explanation, LeaseRefusedError
from sublet_hub.models_store import Store

LOOK_SECONDS = 0.02
LOOK_LONGER_SECONDS = 0.1
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NOT_CONFINED = "The server could not be started on this machine. The administrator's log says why."


class SupervisedSpawner(LocalProcessSpawner):
    """JupyterHub's local process spawner, with a supervising parent and without system users.

    It is given its lease by LeaseMixin, which stands before it.
    """

    proc: Popen[bytes] | None
    port: int

    sublet_data = Unicode(help="The platform's data folder. Required; hidden from users' servers.").tag(config=True)

    sublet_notebook_python = Unicode(
        help="The Python that servers run on; `jupyterhub-singleuser` lies beside it. Required."
    ).tag(config=True)

    sublet_readable = List(
        Unicode(),
        help="More folders that servers may read though they lie under one that is closed to users.",
    ).tag(config=True)

    sublet_models = Unicode(
        help="The store of models, of which servers are shown what they may read. Empty: none.",
    ).tag(config=True)

    sublet_sandbox = Enum(
        ("auto", "require", "none"),
        "auto",
        help="`auto`: confine servers as strongly as this system allows. `require`: not to start one unless its"
        " parent is out of its reach. `none`: not at all, for tests.",
    ).tag(config=True)

    sublet_term_grace = Float(
        0.7, min=0, help="Seconds from SIGTERM to SIGKILL when a lease's deadline has passed."
    ).tag(config=True)

    sublet_stop_grace = Float(
        5.0, min=0, help="Seconds from SIGTERM to SIGKILL when the server is stopped before its deadline."
    ).tag(config=True)

    sublet_start_seconds = Float(
        15.0, min=0.1, help="Seconds that the supervising parent may take to have the server's process started."
    ).tag(config=True)

    start_ticks = Integer(0, help="When the supervising parent started: tells it from others with its pid.")
    boot_id = Unicode(help="The run of the kernel that `pid` and `start_ticks` belong to.")

    @default("cmd")
    def _default_cmd(self) -> list[str]:
        return [str(Path(self.sublet_notebook_python).parent / "jupyterhub-singleuser")]

    @default("env_keep")
    def _default_env_keep(self) -> list[str]:
        """How text and time are written; nothing else of the hub's environment is a user's business."""
        return ["LANG", "LC_ALL", "TZ"]

    # ---------------------------------------------------------------- start

    async def start(self) -> tuple[str, int]:
        """Start the supervising parent; done when the server listens. JupyterHub then asks it for an answer."""
        grant = self.lease_grant
        assert grant is not None, "LeaseMixin asks for a lease before it starts a server"
        port = int(self.port) or int(random_port())
        self.port = port
        command, folder, identity = await asyncio.to_thread(self._prepare, grant)
        self._launch(command, self._environment(identity))
        self._remember(port)
        await self._await_start(folder)
        self.log.info("Server of %s runs under pid %i, lease %s", self._log_name, self.pid, grant.id)
        await self._await_listener(port)
        return (self.ip or "127.0.0.1", port)

    def _launch(self, command: list[str], env: dict[str, str]) -> None:
        # cwd: the parent must not keep a user's folder busy. Its own session: it outlives the hub.
        self.proc = Popen(command, env=env, cwd="/", stdin=DEVNULL, start_new_session=True)
        self.pid = self.proc.pid
        self.start_ticks = processes.start_ticks(self.pid) or 0
        self.boot_id = processes.boot_id()

    def _remember(self, port: int) -> None:
        """Have the hub's database know of the server at once: a hub that is killed meanwhile takes it up again."""
        if self.server is not None:  # which it is in a hub
            self.server.ip, self.server.port = self.ip or "127.0.0.1", port
            self.orm_spawner.state = self.get_state()
            self.db.commit()

    def _prepare(self, grant: Grant) -> tuple[list[str], Path, Identity]:
        data = Path(self.sublet_data)
        try:
            identity = Identities(data).identity_of(self.user.name)
        except (ValueError, IdentitiesError) as error:
            raise self._not_started(str(error)) from error
        deadline_ms = round(grant.deadline_at.timestamp() * 1000)
        store = self._models()
        folder = LocalCluster(data).prepare(grant.id, deadline_ms)
        spec = ServerSpec(
            argv=(*self.cmd, *self.get_args()),
            deadline_ms=deadline_ms,
            home=identity.home,
            uid=identity.uid,
            gid=identity.gid,
            user=identity.system_name,
            hide=(data, *([store.root] if store else []), *other_device_nodes(grant.devices)),
            read_only=(*python_paths(Path(self.sublet_notebook_python)), *map(Path, self.sublet_readable)),
            offered=store.readable(grant.models) if store else (),
            sandbox=cast(Policy, self.sublet_sandbox),
            term_grace_seconds=self.sublet_term_grace,
            stop_grace_seconds=self.sublet_stop_grace,
        )
        return spawn_command(folder, spec), folder, identity

    def _models(self) -> Store | None:
        """The store, where there is one. By its own path: a server sees it there, whatever links lead to it."""
        root = Path(self.sublet_models)
        return Store(root.resolve()) if self.sublet_models and root.is_dir() else None

    def _environment(self, identity: Identity) -> dict[str, str]:
        env: dict[str, str] = self.get_env()
        return env | {"HOME": str(identity.home), "USER": identity.system_name, "LOGNAME": identity.system_name}

    async def _await_start(self, folder: Path) -> None:
        begun = time.monotonic()
        while (started := records.read_record(folder).started) is None:
            waited = time.monotonic() - begun
            status = await self.poll()
            if status is not None:
                raise self._not_started(f"its supervising parent ended with exit code {status}")
            if waited > self.sublet_start_seconds:
                await self._signal(signal.SIGKILL)
                raise self._not_started(f"its process did not run after {waited:.0f} s")
            await asyncio.sleep(LOOK_SECONDS if waited < 1 else LOOK_LONGER_SECONDS)
        if started.parent_pid != self.pid:
            raise self._not_started(f"the lease's folder {folder} is another server's")

    async def _await_listener(self, port: int) -> None:
        """Look often for the server to listen. One that ends instead is noticed here too. JupyterHub's start_timeout
        is the limit."""
        while (status := await self.poll()) is None:
            if await listening.listens(self.ip or "127.0.0.1", port):
                return
            await asyncio.sleep(listening.LOOK_SECONDS)
        raise self._not_started(f"it ended with exit code {status} before it listened")

    def _not_started(self, why: str) -> LeaseRefusedError:
        message = f"the server of {self._log_name} was not started: {why}; see {self.sublet_data}/leases"
        return LeaseRefusedError(
            Explanation(NOT_CONFINED), reason="not-started", status_code=500, log_message=message
        )

    def get_env(self) -> dict[str, str]:
        """What JupyterHub and the lease need, and a search path: nothing of the hub's own environment."""
        env: dict[str, str] = super().get_env()
        env["PATH"] = f"{Path(self.sublet_notebook_python).parent}:{SYSTEM_PATH}"
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        if self.lease_grant:
            # Short, since the kernels' sockets lie there (a path of one has 107 characters at most), and in the
            # lease's own /tmp.
            env["JUPYTER_RUNTIME_DIR"] = f"/tmp/jupyter-{self.lease_grant.id}"  # noqa: S108 - the lease's id is unique
        grant = self.lease_grant
        env["CUDA_VISIBLE_DEVICES"] = ",".join(grant.devices) if grant else ""
        if grant and grant.simulated:
            env["SUBLET_SIMULATED"] = "1"
        env["SUBLET_STOP_GRACE_SECONDS"] = f"{self.sublet_stop_grace:g}"
        if store := self._models():
            env["SUBLET_MODELS_DIR"] = str(store.root)
        return env

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Nothing is looked up about a system user: there need not be one (`_environment` knows better)."""
        return {**env, "SHELL": "/bin/bash"}

    async def progress(self) -> AsyncIterator[dict[str, object]]:
        yield {"progress": 60, "message": "Waiting for JupyterLab to answer"}

    # ---------------------------------------------------------------- watch and stop

    async def poll(self) -> int | None:
        """None while the supervising parent runs (and while a start is under way), else its exit code, or 0
        where only its absence is known. Cheap: one file of /proc is read."""
        if self.proc is not None:
            status: int | None = self.proc.poll()  # takes leave of a dead child too
            return status
        if not self.pid:
            return None if self._start_pending else 0
        return None if self._is_ours() else 0

    async def _signal(self, sig: int) -> bool:
        """Signal the parent, never a process that has got its pid since. JupyterHub's `stop` sends SIGINT,
        SIGTERM and SIGKILL in turn; the parent ends the server at the first two."""
        if not self.pid:
            return False
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self._is_ours():
                return False
            signal.pidfd_send_signal(handle, sig)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def _is_ours(self) -> bool:
        return bool(self.boot_id == processes.boot_id() and processes.is_alive(self.pid, self.start_ticks))

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = super().get_state()
        if self.pid:
            state |= {"start_ticks": self.start_ticks, "boot_id": self.boot_id}
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.start_ticks = state.get("start_ticks", 0)
        self.boot_id = state.get("boot_id", "")

    def clear_state(self) -> None:
        super().clear_state()
        self.start_ticks, self.boot_id, self.proc = 0, "", None
