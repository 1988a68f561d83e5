"""Models' servers on this machine, each under a supervising parent, as a user's server is: never as root, with a user
id of their own, and of the platform's data it sees its model alone. It listens on a socket in a folder that only it
and we can enter, so that nobody gets around the gateway.

One on a flavor's GPUs is a lease: the meter sees it by its parent's record, charges it, and its deadline is the
meter's alone; its parent ends it when we are gone. Any other is not metered and has no GPU. Its deadline is always
near and is put off while we live: it outlives us by two minutes at most.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from sublet_hub.cluster import processes, records
from sublet_hub.cluster.base import LeaseUnknownError
from sublet_hub.cluster.devices import other_device_nodes
from sublet_hub.cluster.gpus import GpuDiscoveryError
from sublet_hub.cluster.identities import Identities, IdentitiesError
from sublet_hub.cluster.inside import OUTPUT
from sublet_hub.cluster.local import (
    OUTLIVES_US_SECONDS,
    LocalCluster,
    ServerSpec,
    near_deadline_ms,
    python_paths,
    spawn_command,
)
from sublet_hub.domain.errors import Unavailable
from sublet_hub.domain.models import Model, Upstream
from sublet_hub.gateway.errors import ModelAway
from sublet_hub.gateway.granting import NOT_STARTED, ask_for, give_back
from sublet_hub.gateway.lease_api import Granted, LeaseRefused, Leases
from sublet_hub.gateway.places import SCRIPTS, SCRIPTS_FOLDER
from sublet_hub.settings import Settings

log = logging.getLogger(__name__)

START_SECONDS = 120.0
PUT_OFF_SECONDS = 5.0
STOP_SECONDS = 10.0
LEASED_STOP_GRACE_SECONDS = 2.0
"""Of a lease: it has nothing to save, and its GPU is waited for."""
TIDY_SECONDS = 60.0
TIDY_AGAIN_SECONDS = 5.0
PRINTED_LINES = 20
SOCKET = "socket"
"""In the server's home, where it is started, so that the path it binds is short wherever the data folder is."""
OWNER = "owner"
USER = "/models"
"""Whose user id the servers have. No user can be called so: names have no slashes."""


@dataclass(eq=False)
class _Server:
    """One of them. Implements `places.Running`."""

    process: subprocess.Popen[bytes]
    folder: Path
    lease: Path
    """The folder that its parent writes its record to."""
    home: int
    """A descriptor of its home: the socket is reached through it, for a socket's path may be 107 bytes long only."""
    leases: Leases | None
    lease_id: str | None = None
    ends_at_ms: int | None = None
    put_off_at: float = field(default_factory=time.monotonic)

    @property
    def address(self) -> Path:
        return Path(f"/proc/self/fd/{self.home}/{SOCKET}")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    async def answers(self) -> bool:
        try:
            _reader, writer = await asyncio.open_unix_connection(str(self.address))
        except OSError:
            return False
        writer.close()
        return True

    async def look(self) -> None:
        if self.lease_id is not None:
            armed = await asyncio.to_thread(records.read_deadline, self.lease)
            self.ends_at_ms = self.ends_at_ms if armed is None else armed
        elif time.monotonic() - self.put_off_at > PUT_OFF_SECONDS and self.is_alive:
            self.put_off_at = time.monotonic()
            await asyncio.to_thread(records.write_deadline, self.lease, near_deadline_ms(), "serving")

    async def end(self, why: str, *, shutdown: bool = False) -> None:
        if self.lease_id is not None and (self.is_alive or self._never_ran()):
            # Else it has ended by itself, or by its deadline, and for the reason of that.
            await give_back(self.leases, self.lease_id, why, shutdown=shutdown)
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        os.close(self.home)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def printed(self) -> str:
        try:
            text = (self.folder / "home" / OUTPUT).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-PRINTED_LINES:])

    def _never_ran(self) -> bool:
        try:
            return records.read_record(self.lease).started is None
        except (records.RecordError, OSError):
            return False


class ThisMachine:
    """Implements `places.Place`. Without `leases` none of the servers can be one."""

    start_seconds = START_SECONDS

    def __init__(self, settings: Settings, leases: Leases | None) -> None:
        self._settings = settings
        self._leases = leases
        self._folder = settings.gateway_dir / "local"
        self._tidy_at = 0.0

    async def start(self, model: Model, upstream: Upstream, least_ms: int) -> _Server:
        # The folder comes first: a lease whose server has no folder of a living gateway is nobody's.
        folder = await asyncio.to_thread(self._make_folder, model)
        grant: Granted | None = None
        try:
            if upstream.flavor is not None:
                grant = await ask_for(self._leases, model, upstream, folder.name, least_ms, self._tidy_soon)
            return await asyncio.to_thread(self._launch, model, upstream, folder, grant)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if grant is not None:
                await asyncio.shield(give_back(self._leases, grant.id, NOT_STARTED))
            if isinstance(error, OSError | ValueError | IdentitiesError | GpuDiscoveryError | LeaseUnknownError):
                log.error("the server of %s was not started", model.name, exc_info=error)
                raise ModelAway(f"The server of {model.name} could not be started on this machine.") from None
            raise

    async def tidy(self) -> None:
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + TIDY_SECONDS
        await asyncio.to_thread(self._clear_old)
        if self._leases is None:
            return
        try:
            for name, lease_id in (await self._leases.held()).items():
                if not await asyncio.to_thread(self._is_owned, name):
                    log.warning("ending lease %s of %s, whose gateway is gone", lease_id, name)
                    await self._leases.give_back(lease_id, "Its gateway is gone.", shutdown=True)
        except LeaseRefused as error:
            log.error("leases of models' servers could not be looked at: %s", error)
        except Unavailable:
            self._tidy_at = time.monotonic() + TIDY_AGAIN_SECONDS

    def _tidy_soon(self) -> None:
        self._tidy_at = 0.0

    # ---------------------------------------------------------------- folders

    def _make_folder(self, model: Model) -> Path:
        """The folder of a new server, ours from the moment it can be seen."""
        for made in (self._settings.gateway_dir, self._folder):
            made.mkdir(mode=0o711, parents=True, exist_ok=True)
            made.chmod(0o711)
        name = f"{model.name}-{secrets.token_hex(4)}"
        unseen, folder = self._folder / f".{name}", self._folder / name
        unseen.mkdir(mode=0o711)
        unseen.chmod(0o711)
        pid = os.getpid()
        owner = {"pid": pid, "ticks": processes.start_ticks(pid), "boot": processes.boot_id()}
        (unseen / OWNER).write_text(json.dumps(owner), encoding="utf-8")
        unseen.rename(folder)
        return folder

    def _is_owned(self, name: str) -> bool:
        """Whether the gateway lives that has made the folder of a server."""
        if Path(name).name != name:
            return False  # no name of ours
        try:
            owner = json.loads((self._folder / name / OWNER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(owner["boot"] == processes.boot_id() and processes.is_alive(owner["pid"], owner["ticks"]))

    def _clear_old(self) -> None:
        """Take away what gateways that were killed left behind, once its servers must have ended."""
        if not self._folder.is_dir():
            return
        for each in self._folder.iterdir():
            if self._is_owned(each.name):
                continue
            try:
                # Of one that is no lease: put off for the last time.
                idle = time.time() - (each / "lease" / "deadline").stat().st_mtime
            except OSError:
                idle = float("inf")
            if idle > 2 * OUTLIVES_US_SECONDS:
                shutil.rmtree(each, ignore_errors=True)

    # ---------------------------------------------------------------- processes

    def _launch(self, model: Model, upstream: Upstream, folder: Path, grant: Granted | None) -> _Server:
        assert upstream.start is not None, "only those are started that have to be"
        settings = self._settings
        home = folder / "home"
        home.mkdir(mode=0o700)
        uid = Identities(settings.data).uid_for(USER) if os.geteuid() == 0 else None
        if uid is not None:
            os.chown(home, uid, uid)
        files = settings.models_dir / model.folder
        python = settings.notebook_python
        script = SCRIPTS_FOLDER / SCRIPTS[upstream.start]
        spec = ServerSpec(
            argv=(str(python), "-I", str(script), SOCKET, model.name, str(files)),
            deadline_ms=near_deadline_ms() if grant is None else grant.deadline_ms,
            home=home,
            uid=uid,
            gid=uid,
            hide=(settings.data, *(() if grant is None else other_device_nodes(grant.devices))),
            read_only=(*python_paths(python), files, SCRIPTS_FOLDER),
            sandbox=settings.sandbox,
            term_grace_seconds=settings.term_grace_seconds,
            stop_grace_seconds=settings.stop_grace_seconds if grant is None else LEASED_STOP_GRACE_SECONDS,
            owner=None if grant is None else os.getpid(),
        )
        if grant is not None:
            lease = LocalCluster(settings.data).prepare(grant.id, grant.deadline_ms)
        else:
            lease = folder / "lease"
            lease.mkdir(mode=0o700)
            records.write_deadline(lease, spec.deadline_ms, "serving")
        process = subprocess.Popen(
            spawn_command(lease, spec),
            env=_environment(python, home, grant),
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if grant is None:
            return _Server(process, folder, lease, descriptor, None)
        return _Server(process, folder, lease, descriptor, self._leases, grant.id, grant.deadline_ms)


def _environment(python: Path, home: Path, grant: Granted | None) -> dict[str, str]:
    """All that such a server is told. It needs no network. Without a lease it has no GPU either, unless we were told
    of some to use."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "") if grant is None else ",".join(grant.devices)
    return {
        **kept,
        "CUDA_VISIBLE_DEVICES": devices,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
