"""Schedulers and workers of Dask clusters on this machine: processes under supervising parents, like users' servers.

A worker's parent has its lease's folder, which the meter watches. A scheduler's has one that is ours; its deadline is
always near and is put off while we live: it outlives us by two minutes at most.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sublet_hub.cluster import records
from sublet_hub.cluster.base import LeaseUnknownError
from sublet_hub.cluster.devices import other_device_nodes
from sublet_hub.cluster.identities import Identities, Identity
from sublet_hub.cluster.local import LocalCluster, ServerSpec, near_deadline_ms, python_paths, spawn_command
from sublet_hub.dask.configure import FOLDER
from sublet_hub.hub.configure_local import CHECKOUT_READABLE
from sublet_hub.hub.messages import Grant
from sublet_hub.settings import Settings

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IN_SCHEDULER = Path(__file__).with_name("in_scheduler")
PRELOAD = IN_SCHEDULER / "preload.py"
CERTIFICATE, KEY = "dask.crt", "dask.pem"


@dataclass(frozen=True, slots=True)
class Owned:
    """A cluster and whose it is."""

    cluster: str
    user: str


class LocalProcesses:
    """All of them. Its methods block for a few file operations; what ends is seen by `LocalCluster.look`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data / FOLDER
        self._children: list[subprocess.Popen[bytes]] = []
        self.workers = LocalCluster(settings.data)
        self.schedulers = LocalCluster(self._folder)

    # ---------------------------------------------------------------- start

    def tls_paths(self, cluster: str) -> tuple[str, str]:
        """Where the scheduler and the workers find their certificate and its key."""
        folder = self._tls(cluster)
        return str(folder / CERTIFICATE), str(folder / KEY)

    def dask_command(self, *arguments: str) -> list[str]:
        """A `dask` command of the users' environment."""
        return [str(self._settings.notebook_python.parent / "dask"), *arguments]

    def start_scheduler(
        self, owned: Owned, tls: tuple[bytes, bytes], argv: Sequence[str], env: Mapping[str, str]
    ) -> None:
        """Start a cluster's scheduler, unless it was started. It sees no GPU."""
        identity = self._identity(owned.user)
        self._write_tls(owned.cluster, tls, identity)
        deadline_ms = near_deadline_ms()
        folder = self.schedulers.prepare(owned.cluster, deadline_ms)
        pages = self._make_pages_folder(owned.cluster, identity)
        spec = self._spec(owned, argv, identity, deadline_ms, devices=(), more=(IN_SCHEDULER,), writable=(pages,))
        told = {"SUBLET_DASK_PAGES": str(pages)}
        self._launch(folder, spec, self._environment(identity, {**env, **told}, devices=()))

    def start_worker(self, owned: Owned, grant: Grant, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start a worker in its lease, unless it was started. LeaseUnknownError where the lease is over already."""
        identity = self._identity(owned.user)
        deadline_ms = round(grant.deadline_at.timestamp() * 1000)
        folder = self.workers.prepare(grant.id, deadline_ms)
        spec = self._spec(owned, argv, identity, deadline_ms, devices=grant.devices)
        told = {"SUBLET_LEASE_ID": grant.id, **({"SUBLET_SIMULATED": "1"} if grant.simulated else {})}
        self._launch(folder, spec, self._environment(identity, {**env, **told}, grant.devices))

    def _spec(
        self,
        owned: Owned,
        argv: Sequence[str],
        identity: Identity,
        deadline_ms: int,
        devices: Sequence[str],
        more: Sequence[Path] = (),
        writable: tuple[Path, ...] = (),
    ) -> ServerSpec:
        settings = self._settings
        readable = (*python_paths(settings.notebook_python), *CHECKOUT_READABLE, self._tls(owned.cluster), *more)
        models = settings.models_dir.resolve()
        return ServerSpec(
            argv=tuple(argv),
            deadline_ms=deadline_ms,
            home=identity.home,
            uid=identity.uid,
            gid=identity.gid,
            user=identity.system_name,
            hide=(settings.data, *([models] if models.is_dir() else []), *other_device_nodes(devices)),
            read_only=readable,
            writable=writable,
            sandbox=settings.sandbox,
            term_grace_seconds=settings.term_grace_seconds,
            stop_grace_seconds=settings.stop_grace_seconds,
        )

    def _environment(self, identity: Identity, env: Mapping[str, str], devices: Sequence[str]) -> dict[str, str]:
        """What Dask and the lease need, and a search path: nothing of our own environment."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
        return {
            **kept,
            **env,
            "PATH": f"{self._settings.notebook_python.parent}:{SYSTEM_PATH}",
            "HOME": str(identity.home),
            "USER": identity.system_name,
            "LOGNAME": identity.system_name,
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(devices),
            "SUBLET_API_URL": f"{self._settings.api_url}/services/sublet/api",
            # On one machine every user reaches every port, and these pages ask nobody who they are.
            "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": "[]",
            "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES": "[]",
            "DASK_TEMPORARY_DIRECTORY": "/tmp",  # noqa: S108 — the lease's own
        }

    def _launch(self, folder: Path, spec: ServerSpec, env: Mapping[str, str]) -> None:
        if (folder / records.RECORD).exists():
            return  # by a gateway that was killed before it could note it
        command = spawn_command(folder, spec)
        self._children.append(
            subprocess.Popen(command, env=dict(env), cwd="/", stdin=subprocess.DEVNULL, start_new_session=True)
        )

    def _identity(self, user: str) -> Identity:
        return Identities(self._settings.data).identity_of(user)

    def pages(self, owned: Owned) -> tuple[Path, int]:
        """The folder where a scheduler's pages are served, and the user id that they must be of."""
        uid = self._identity(owned.user).uid
        return self._pages(owned.cluster), os.geteuid() if uid is None else uid

    def _make_pages_folder(self, cluster: str, identity: Identity) -> Path:
        folder = _made(self._pages(cluster))
        if identity.uid is not None:
            os.chown(folder, identity.uid, identity.uid, follow_symlinks=False)
        return folder

    def _pages(self, cluster: str) -> Path:
        return self._folder / "pages" / cluster

    def _tls(self, cluster: str) -> Path:
        return self._folder / "tls" / cluster

    def _write_tls(self, cluster: str, tls: tuple[bytes, bytes], identity: Identity) -> None:
        """Certificate and key, for their user alone to read."""
        folder = _made(self._tls(cluster))
        for path, content in zip((folder / CERTIFICATE, folder / KEY), tls, strict=True):
            path.unlink(missing_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                if identity.uid is not None:  # the file itself, whatever its name leads to by now
                    os.fchown(file.fileno(), identity.uid, identity.uid)
        if identity.uid is not None:
            os.chown(folder, identity.uid, identity.uid)

    # ---------------------------------------------------------------- watch and end

    def put_off(self, cluster: str) -> None:
        """Let a scheduler live for two minutes more."""
        self.schedulers.arm(cluster, near_deadline_ms(), "serving")

    def forget_scheduler(self, cluster: str) -> None:
        """Take away what is left of a scheduler that has ended, with its cluster's key."""
        self.schedulers.forget(cluster)
        shutil.rmtree(self._folder / "leases" / "closed" / cluster, ignore_errors=True)
        shutil.rmtree(self._tls(cluster), ignore_errors=True)
        shutil.rmtree(self._pages(cluster), ignore_errors=True)

    def end_orphans(self, clusters: frozenset[str]) -> None:
        """End schedulers that belong to none of these clusters, such as one that was begun when we were killed."""
        for each in self.schedulers.observe():
            if each.lease_id in clusters or each.broken is not None:
                continue
            if each.ended_at_ms is not None:
                self.forget_scheduler(each.lease_id)
            else:
                stop(self.schedulers, each.lease_id)

    def reap(self) -> None:
        """Take leave of parents that have ended."""
        self._children = [child for child in self._children if child.poll() is None]


def stop(cluster: LocalCluster, lease_id: str) -> None:
    """Ask for an end; nothing where it is over already."""
    try:
        cluster.stop(lease_id)
    except LeaseUnknownError:
        return


def runs_or_will(cluster: LocalCluster, lease_id: str) -> bool:
    """Whether something was begun under this id and has not ended."""
    seen = cluster.look(lease_id)
    return seen is not None and seen.ended_at_ms is None


def _made(folder: Path) -> Path:
    """A folder for one user, in one that they can pass through but not list."""
    folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.parent.chmod(0o711)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
