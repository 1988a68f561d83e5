"""Models' servers on this machine: started when they are first called, stopped when nobody has called for a while.

Each runs in the users' environment under a supervising parent, as a user's server does: never as root, with a user id
of its own, and of the platform's data it sees its model alone. It listens on a socket in a folder that only it and we
can enter, so that nobody gets around the gateway. Its deadline is always near and is put off while we live: it
outlives us by two minutes at most.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sublet_hub.cluster import records
from sublet_hub.cluster.identities import Identities
from sublet_hub.cluster.inside import OUTPUT
from sublet_hub.cluster.local import ServerSpec, python_paths, spawn_command
from sublet_hub.domain.models import Model, Start
from sublet_hub.gateway.errors import ModelAway
from sublet_hub.settings import Settings

log = logging.getLogger(__name__)

START_SECONDS = 120.0
LOOK_SECONDS = 0.05
ROUND_SECONDS = 5.0
OUTLIVES_US_SECONDS = 120
STOP_SECONDS = 10.0
PRINTED_LINES = 20
SOCKET = "socket"
"""In the server's home, where it is started, so that the path it binds is short wherever the data folder is."""
USER = "/models"
"""Whose user id the servers have. No user can be called so: names have no slashes."""

SCRIPTS: Mapping[Start, str] = {"transformers": "chat.py", "fasttext": "classify.py"}
SCRIPTS_FOLDER = Path(__file__).with_name("servers")


@dataclass(eq=False)
class _Running:
    """A model's server."""

    process: subprocess.Popen[bytes]
    folder: Path
    home: int
    """A descriptor of its home: the socket is reached through it, for a socket's path may be 107 bytes long only."""
    used_at: float
    calls: int = 0

    @property
    def socket(self) -> Path:
        return Path(f"/proc/self/fd/{self.home}/{SOCKET}")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass
class LocalModels:
    """All of them. Implements `upstreams.Starter`."""

    settings: Settings
    _running: dict[str, _Running] = field(default_factory=dict)
    _starting: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def socket_of(self, model: Model) -> Path:
        """Where the model's server listens, once it does. ModelAway where it can't be started."""
        async with self._starting.setdefault(model.name, asyncio.Lock()):
            there = self._running.get(model.name)
            if there is None or not there.is_alive:
                if there is not None:
                    log.warning("the server of %s has ended (exit code %s)", model.name, there.process.returncode)
                    self._clear(model.name)
                there = await self._start(model)
            there.calls += 1
            return there.socket

    def used(self, model: Model) -> None:
        there = self._running.get(model.name)
        if there is not None:
            there.calls = max(0, there.calls - 1)
            there.used_at = time.monotonic()

    async def watch(self) -> None:
        """Put deadlines off, and stop who is idle, for ever."""
        _clear_old(self._folder)
        while True:
            for name, each in list(self._running.items()):
                if each.is_alive:
                    await asyncio.to_thread(records.write_deadline, each.folder / "lease", _deadline_ms(), "serving")
                idle = time.monotonic() - each.used_at
                if each.calls == 0 and idle > self.settings.model_idle_seconds:
                    log.info("the server of %s is stopped, after %.0f s without a call", name, idle)
                    await self._stop(name)
            await asyncio.sleep(ROUND_SECONDS)

    async def close(self) -> None:
        await asyncio.gather(*(self._stop(name) for name in list(self._running)))

    @property
    def _folder(self) -> Path:
        return self.settings.gateway_dir / "local"

    async def _start(self, model: Model) -> _Running:
        begun = time.monotonic()
        log.info("starting a server of %s", model.name)
        there = await asyncio.to_thread(self._launch, model)
        there.calls = 1  # so that it is not taken for idle while it starts
        self._running[model.name] = there
        try:
            while not await _listens(there.socket):
                if not there.is_alive:
                    raise self._not_started(model, f"it ended with exit code {there.process.returncode}")
                if time.monotonic() - begun > START_SECONDS:
                    raise self._not_started(model, f"it did not answer within {START_SECONDS:.0f} s")
                await asyncio.sleep(LOOK_SECONDS)
        except BaseException:
            await asyncio.shield(self._stop(model.name, keep=True))
            raise
        log.info("the server of %s answers, after %.1f s", model.name, time.monotonic() - begun)
        there.calls, there.used_at = 0, time.monotonic()
        return there

    def _launch(self, model: Model) -> _Running:
        start = _start_of(model)
        folder = self._folder / f"{model.name}-{secrets.token_hex(4)}"
        lease, home = folder / "lease", folder / "home"
        for made in (self.settings.gateway_dir, self._folder, folder):
            made.mkdir(mode=0o711, parents=True, exist_ok=True)
            made.chmod(0o711)
        lease.mkdir(mode=0o700)
        home.mkdir(mode=0o700)
        uid = Identities(self.settings.data).uid_for(USER) if os.geteuid() == 0 else None
        if uid is not None:
            os.chown(home, uid, uid)
        files = self.settings.models_dir / model.folder
        python = self.settings.notebook_python
        script = SCRIPTS_FOLDER / SCRIPTS[start]
        spec = ServerSpec(
            argv=(str(python), "-I", str(script), SOCKET, model.name, str(files)),
            deadline_ms=_deadline_ms(),
            home=home,
            uid=uid,
            gid=uid,
            hide=(self.settings.data,),
            read_only=(*python_paths(python), files, SCRIPTS_FOLDER),
            sandbox=self.settings.sandbox,
        )
        records.write_deadline(lease, spec.deadline_ms, "serving")
        process = subprocess.Popen(
            spawn_command(lease, spec),
            env=_environment(python, home),
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return _Running(process, folder, descriptor, time.monotonic())

    def _not_started(self, model: Model, why: str) -> ModelAway:
        # It has answered nobody yet, so that what it printed holds nothing that anybody asked.
        printed = _end_of(self._running[model.name].folder / "home" / OUTPUT)
        log.error("the server of %s was not started: %s\n%s", model.name, why, printed)
        return ModelAway(f"The server of {model.name} could not be started on this machine; its log says why.")

    async def _stop(self, name: str, *, keep: bool = False) -> None:
        there = self._running.pop(name, None)
        if there is None:
            return
        there.process.terminate()
        try:
            await asyncio.to_thread(there.process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            there.process.kill()
        os.close(there.home)
        if not keep:
            shutil.rmtree(there.folder, ignore_errors=True)

    def _clear(self, name: str) -> None:
        """Forget one that has ended by itself."""
        there = self._running.pop(name)
        os.close(there.home)


def _start_of(model: Model) -> Start:
    """What kind of server the model has that is to be started."""
    upstreams = () if model.serving is None else model.serving.upstreams
    return next(each.start for each in upstreams if each.start is not None)


def _deadline_ms() -> int:
    return records.wall_ms() + OUTLIVES_US_SECONDS * 1000


def _environment(python: Path, home: Path) -> dict[str, str]:
    """All that such a server is told. It needs no network."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES") if name in os.environ}
    return {
        **kept,
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _end_of(file: Path) -> str:
    try:
        return "\n".join(file.read_text(encoding="utf-8", errors="replace").splitlines()[-PRINTED_LINES:])
    except OSError:
        return ""


async def _listens(socket: Path) -> bool:
    try:
        _reader, writer = await asyncio.open_unix_connection(str(socket))
    except OSError:
        return False
    writer.close()
    return True


def _clear_old(folder: Path) -> None:
    """Take away what gateways that were killed left behind, once its servers must have ended."""
    if not folder.is_dir():
        return
    for each in folder.iterdir():
        armed = each / "lease" / "deadline"
        if not armed.exists() or time.time() - armed.stat().st_mtime > 2 * OUTLIVES_US_SECONDS:
            shutil.rmtree(each, ignore_errors=True)
