"""Leases on one machine: each a supervising parent and its folder (`sublet_hub.cluster.records`).

Nothing is held in memory and nothing is watched: every call reads what the parents have written, so a platform
that was down for an hour learns the same as one that never was.
"""

import logging
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.cluster import processes, records
from sublet_hub.cluster.base import LeaseUnknownError, Observed, Stray
from sublet_hub.cluster.sandbox import Policy

log = logging.getLogger(__name__)

_CLOSED = "closed"
_SETTLED_SECONDS = 10
_LEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")

OUTLIVES_US_SECONDS = 120
"""How long a process runs on whose deadline somebody keeps putting off, once they are gone."""


def near_deadline_ms() -> int:
    """A deadline for such a process: a wall clock's milliseconds since the epoch, `OUTLIVES_US_SECONDS` ahead."""
    return records.wall_ms() + OUTLIVES_US_SECONDS * 1000


@dataclass(frozen=True)
class ServerSpec:
    """What to start for a lease, and how to confine it. All paths are absolute."""

    argv: tuple[str, ...]
    deadline_ms: int
    home: Path
    uid: int | None = None
    """None: the platform's own, which must not be root."""
    gid: int | None = None
    user: str | None = None
    """Name the user id is known by inside."""
    hide: tuple[Path, ...] = ()
    """What user code must not see: the data folder at least. Device nodes among them can't be opened."""
    read_only: tuple[Path, ...] = ()
    """What the server needs to run, also where hidden or under a folder the user may not pass."""
    writable: tuple[Path, ...] = ()
    offered: tuple[Path, ...] = ()
    """What the server may read, shown like `read_only`, without which it starts where nothing can be shown."""
    sandbox: Policy = "auto"
    term_grace_seconds: float = 0.7
    stop_grace_seconds: float = 5.0
    owner: int | None = None
    """A process of ours, by its pid, without which nobody needs the server: it is then ended at once."""


def spawn_command(lease_folder: Path, spec: ServerSpec) -> list[str]:
    """Write out the command that runs a server under its supervising parent.

    Start it as the platform's own user, in a new session. `-I` keeps it from importing anything out of the
    folder it is started in or that an environment variable names.
    """
    command = [sys.executable, "-I", "-m", "sublet_hub.cluster.supervisor"]
    command += ["--lease-dir", str(lease_folder), "--deadline-ms", str(spec.deadline_ms)]
    command += ["--home", str(spec.home), "--sandbox", spec.sandbox]
    command += ["--term-grace", str(spec.term_grace_seconds), "--stop-grace", str(spec.stop_grace_seconds)]
    for option, value in (("--uid", spec.uid), ("--gid", spec.gid), ("--user", spec.user)):
        if value is not None:
            command += [option, str(value)]
    if spec.owner is not None:
        command += ["--owner", str(spec.owner), "--owner-ticks", str(processes.start_ticks(spec.owner) or 0)]
    for option, paths in (
        ("--hide", spec.hide),
        ("--read-only", spec.read_only),
        ("--offered", spec.offered),
        ("--writable", spec.writable),
    ):
        for path in paths:
            command += [option, str(path)]
    return [*command, "--", *spec.argv]


def python_paths(python: Path) -> tuple[Path, ...]:
    """List the folders an interpreter needs: those of its virtual environment and of the Python beneath.

    Source of `home` in pyvenv.cfg: PEP 405.
    """
    environment = python.absolute().parent.parent
    found = [environment, python.resolve().parent.parent]
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        lines = []
    found += [Path(line.partition("=")[2].strip()).parent for line in lines if line.split("=")[0].strip() == "home"]
    return tuple(dict.fromkeys(found))


class LocalCluster:
    """The `Cluster` of one machine, in one data folder."""

    def __init__(self, data: Path) -> None:
        self._leases = data / "leases"
        self._closed = self._leases / _CLOSED

    def prepare(self, lease_id: str, deadline_ms: int) -> Path:
        """Make a lease's folder and arm its deadline, before its parent is started. Returns the folder.

        Raises `LeaseUnknownError` for a lease that was withdrawn meanwhile.
        """
        if not _LEASE_ID.fullmatch(lease_id) or lease_id == _CLOSED:
            raise ValueError(f"{lease_id!r} can't be the id of a lease")
        if (self._closed / lease_id).exists():
            raise LeaseUnknownError(f"{lease_id} was withdrawn or has ended")
        folder = self._leases / lease_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._leases.chmod(0o700)
        records.write_deadline(folder, deadline_ms, "grant")
        records.sync_folder(self._leases)
        return folder

    def observe(self) -> Sequence[Observed]:
        """See `Cluster.observe`."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._leases) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return ()
        seen = (_observe(name, self._leases / name) for name in names if name != _CLOSED)
        return tuple(lease for lease in seen if lease is not None)

    def look(self, lease_id: str) -> Observed | None:
        """One lease as `observe` would tell of it; None where nothing is (any more) held under this id."""
        try:
            return _observe(lease_id, self._folder(lease_id))
        except LeaseUnknownError:
            return None

    def arm(self, lease_id: str, deadline_ms: int, reason: str) -> None:
        """See `Cluster.arm`. The parent follows within a quarter of a second."""
        try:
            records.write_deadline(self._folder(lease_id), deadline_ms, reason)
        except FileNotFoundError as error:
            raise LeaseUnknownError(lease_id) from error

    def stop(self, lease_id: str) -> None:
        """See `Cluster.stop`."""
        started = _read(self._folder(lease_id)).started
        if started is None:
            self.arm(lease_id, 0, "stop")  # a parent that starts now refuses to start the server
        elif _is_this_boot(started):
            _signal(started.parent_pid, started.parent_ticks, signal.SIGTERM)

    def forget(self, lease_id: str) -> None:
        """See `Cluster.forget`. The folder is kept under `closed/`, without the server's private /tmp."""
        self._closed.mkdir(mode=0o700, parents=True, exist_ok=True)
        archived = self._closed / lease_id
        try:
            self._folder(lease_id).rename(archived)
        except LeaseUnknownError:
            return
        shutil.rmtree(archived / records.SCRATCH, ignore_errors=True)

    def withdraw(self, lease_id: str) -> bool:
        """See `Cluster.withdraw`. A parent that starts from now on finds a deadline long past, and refuses.

        One that was just starting has begun its record by then, and shows what it did within `_SETTLED_SECONDS`.
        """
        try:
            folder = self._folder(lease_id)
        except LeaseUnknownError:
            (self._closed / lease_id).mkdir(mode=0o700, parents=True, exist_ok=True)
            return True
        if records.read_deadline(folder) != 0:
            self.arm(lease_id, 0, "withdrawn")
        begun = (folder / records.RECORD).exists()
        settled = time.time() - (folder / records.DEADLINE).stat().st_mtime > _SETTLED_SECONDS
        return _read(folder).started is None and (settled or not begun)

    def strays(self) -> Sequence[Stray]:
        """See `Cluster.strays`. What else runs on the machine is its owner's business."""
        return ()

    def trouble(self) -> str | None:
        """See `Cluster.trouble`. A folder can always be looked at, or `observe` raises."""
        return None

    def _folder(self, lease_id: str) -> Path:
        folder = self._leases / lease_id
        if not _LEASE_ID.fullmatch(lease_id) or lease_id == _CLOSED or not folder.is_dir():
            raise LeaseUnknownError(lease_id)
        return folder


def _read(folder: Path) -> records.Record:
    """Read a record, taking a broken one for one that says nothing."""
    try:
        return records.read_record(folder)
    except records.RecordError:
        return records.Record()


def _observe(lease_id: str, folder: Path) -> Observed | None:
    """Find out about one lease; None if it was archived meanwhile."""
    try:
        armed = records.read_deadline(folder)
        record = records.read_record(folder)
        started = record.started
        if started is None:
            return Observed(lease_id, None, None, None, None, armed) if folder.exists() else None
        if record.ended is None:
            if _runs(started):
                return _running(lease_id, folder, started, armed)
            record = records.read_record(folder)  # the end may have been written just before the parent went
        if record.ended is None:
            return _lost(lease_id, folder, started, armed)
    except (records.RecordError, OSError) as error:
        log.error("the record of lease %s can't be understood: %s", lease_id, error)
        return Observed(lease_id, None, None, None, None, None, broken=str(error))
    ended = record.ended
    return Observed(lease_id, started.at_ms, ended.at_ms, ended.cause, ended.exit_code, armed)


def _running(lease_id: str, folder: Path, started: records.Started, armed: int | None) -> Observed:
    seen = records.read_alive(folder)
    alive = started.at_ms if seen is None else max(seen, started.at_ms)
    return Observed(lease_id, started.at_ms, None, None, None, armed, alive_at_ms=alive)


def _lost(lease_id: str, folder: Path, started: records.Started, armed: int | None) -> Observed:
    """Date the end of a server whose parent went down without a word: when it last saw the server alive."""
    seen = records.read_alive(folder)
    ended_at = started.at_ms if seen is None else max(seen, started.at_ms)
    return Observed(lease_id, started.at_ms, ended_at, "lost", None, armed)


def _is_this_boot(started: records.Started) -> bool:
    return started.boot_id == processes.boot_id()


def _runs(started: records.Started) -> bool:
    """Whether anything of the lease still runs. What has outlived its parent is killed at sight."""
    if not _is_this_boot(started):
        return False
    if processes.is_alive(started.parent_pid, started.parent_ticks):
        return True
    return _signal(started.child_pid, started.child_ticks, signal.SIGKILL)


def _signal(pid: int, ticks: int, number: signal.Signals) -> bool:
    """Signal this very process, never one that has got its pid since; False if it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not processes.is_alive(pid, ticks):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True
