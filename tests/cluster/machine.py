"""A harness that runs real leases on this machine, at a level of confinement."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TypeVar

import sublet_hub
from sublet_hub.cluster import records
from sublet_hub.cluster.base import Observed
from sublet_hub.cluster.confinement import Level
from sublet_hub.cluster.inside import OUTPUT
from sublet_hub.cluster.local import LocalCluster, ServerSpec, python_paths, spawn_command
from sublet_hub.cluster.sandbox import Policy

PATIENCE_SECONDS = 20
NOBODY = 65534
USER_UID = 200_123
AS_USER = Path(__file__).with_name("as_user.py")
PYTHON = python_paths(Path(sys.executable))
Found = TypeVar("Found")


def until(find: Callable[[], Found | None], what: str, patience: float = PATIENCE_SECONDS) -> Found:
    """Wait for something to be found (or true); fail with what was waited for."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = find()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {patience} s in vain: {what}")


def processes_named(token: str) -> list[int]:
    """The processes with this word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if token.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


class Machine:
    """A platform's data folder and the leases in it, run at one level by the account that fits it."""

    def __init__(self, data: Path, level: Level) -> None:
        self.data = data
        self.level = level
        self.home = data / "homes" / "ann"
        self.cluster = LocalCluster(data)
        self.platform_uid = NOBODY if level is not Level.ROOT and os.geteuid() == 0 else os.geteuid()
        self.server_uid = USER_UID if level is Level.ROOT else self.platform_uid
        self.parents: dict[str, subprocess.Popen[bytes]] = {}
        self._ids = count(1)
        self.home.mkdir(parents=True)
        (data / "secrets.json").write_text("the platform's secret", encoding="utf-8")
        (data / "secrets.json").chmod(0o600)
        if os.geteuid() == 0:
            for path in (data, *data.rglob("*")):
                os.chown(path, self.platform_uid, self.platform_uid)
            os.chown(self.home, self.server_uid, self.server_uid)

    @contextmanager
    def platform(self) -> Iterator[LocalCluster]:
        """Act on the cluster as the platform's account."""
        before = os.geteuid()
        os.seteuid(self.platform_uid)
        try:
            yield self.cluster
        finally:
            os.seteuid(before)

    def start(
        self,
        *argv: str,
        lasts_ms: int = 60_000,
        wait: bool = True,
        environment: dict[str, str] | None = None,
        before: tuple[str, ...] = (),
        hide: tuple[str, ...] = (),
        sandbox: Policy | None = None,
        offered: tuple[Path, ...] = (),
        owner: int | None = None,
    ) -> str:
        """Start a lease; returns its id, once the server runs."""
        lease_id = f"lease-{next(self._ids)}"
        deadline_ms = records.wall_ms() + lasts_ms
        with self.platform() as cluster:
            folder = cluster.prepare(lease_id, deadline_ms)
        spec = replace(self._spec(argv, deadline_ms, hide, sandbox, offered), owner=owner)
        command = spawn_command(folder, spec)
        self.parents[lease_id] = subprocess.Popen(
            self.as_platform([*before, *command]),
            cwd=self.home,
            env={"PATH": os.environ["PATH"], **(environment or {})},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if wait:
            until(lambda: self.record(lease_id).started, f"the start of {lease_id}")
        return lease_id

    def _spec(
        self,
        argv: tuple[str, ...],
        deadline_ms: int,
        hide: tuple[str, ...],
        sandbox: Policy | None,
        offered: tuple[Path, ...],
    ) -> ServerSpec:
        as_root = self.level is Level.ROOT
        return ServerSpec(
            argv=argv,
            deadline_ms=deadline_ms,
            home=self.home,
            uid=self.server_uid if as_root else None,
            user="ann" if as_root else None,
            hide=(self.data, *map(Path, hide)),
            read_only=PYTHON,
            offered=offered,
            stop_grace_seconds=2.0,
            sandbox=sandbox or ("none" if self.level is Level.NONE else "require"),
        )

    def as_platform(self, command: list[str]) -> list[str]:
        if self.platform_uid == os.geteuid():
            return command
        needed = [str(path) for path in (*PYTHON, Path(sublet_hub.__path__[0]).parent, self.data)]
        become = [sys.executable, str(AS_USER), str(self.platform_uid), *needed, "--"]
        return ["unshare", "--mount", *become, *command]

    def without_namespaces(self) -> tuple[str, ...]:
        """The command before a command that runs it, unprivileged, where no more namespaces may be made."""
        forbid = ("sh", "-c", 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh")
        return ("unshare", "--user", "--map-user", str(self.platform_uid), "--keep-caps", *forbid)

    def record(self, lease_id: str) -> records.Record:
        return records.read_record(self.data / "leases" / lease_id)

    def log(self, lease_id: str) -> str:
        return (self.data / "leases" / lease_id / records.LOG).read_text(encoding="utf-8")

    def printed(self) -> str:
        """What servers have printed: it goes to their user's home, not to the platform's folder."""
        return (self.home / OUTPUT).read_text(encoding="utf-8")

    def seen(self, lease_id: str) -> Observed:
        """How the cluster reports a lease now."""
        with self.platform() as cluster:
            (observed,) = [lease for lease in cluster.observe() if lease.lease_id == lease_id]
        return observed

    def ended(self, lease_id: str) -> Observed:
        """Wait for the end of a lease, as the cluster reports it."""

        def find() -> Observed | None:
            observed = self.seen(lease_id)
            return None if observed.ended_at_ms is None else observed

        return until(find, f"the end of {lease_id}")

    def arm(self, lease_id: str, deadline_ms: int) -> None:
        with self.platform() as cluster:
            cluster.arm(lease_id, deadline_ms, "quota")

    def close(self) -> None:
        """End what still runs, and show what the parents had to say."""
        for parent in self.parents.values():
            parent.send_signal(signal.SIGKILL)
            _, said = parent.communicate()
            sys.stdout.write(said.decode(errors="replace"))
        for path in sorted((self.data / "leases").glob("*/*")):
            if path.name in {records.RECORD, records.LOG, records.DEADLINE} and path.is_file():
                sys.stdout.write(f"--- {path.parent.name}/{path.name}\n{path.read_text(errors='replace')}\n")
