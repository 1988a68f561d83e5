"""A user of Dask clusters, as the REST API of Dask-Gateway has it, and what runs for them on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fixtures.platform import Platform, Session, wait_until

READY_SECONDS = 120
"""Schedulers and workers import much, and the machine may be busy."""


@dataclass
class DaskUser:
    """Somebody who is signed in, and asks for clusters by way of the proxy."""

    platform: Platform
    session: Session

    @classmethod
    def of(cls, platform: Platform, user: str) -> DaskUser:
        return cls(platform, platform.sign_in(user))

    @property
    def token(self) -> str:
        return str(self.session.client.headers["authorization"]).partition(" ")[2]

    def ask(self, method: str, path: str, json: object = None, **headers: str) -> httpx.Response:
        url = f"{self.platform.url}/services/dask/api/v1/clusters/{path}"
        shown = {"Authorization": f"jupyterhub {self.token}", **headers}
        return httpx.request(method, url, json=json, headers=shown, timeout=60, trust_env=False)

    def begin(self, **options: str) -> str:
        """Make a cluster, and wait until it runs; gives its name."""
        made = self.ask("POST", "", {"cluster_options": options})
        assert made.status_code == 201, made.text
        name = str(made.json()["name"])
        wait_until(lambda: self.status(name) == "RUNNING", READY_SECONDS, "the cluster runs")
        return name

    def status(self, name: str) -> str:
        return str(self.ask("GET", name).raise_for_status().json()["status"])

    def scale(self, name: str, count: int) -> httpx.Response:
        return self.ask("POST", f"{name}/scale", {"count": count})

    def stop(self, name: str) -> None:
        """End a cluster, and wait for it."""
        self.ask("DELETE", name).raise_for_status()
        wait_until(lambda: self.status(name) in {"STOPPED", "FAILED"}, READY_SECONDS, "the cluster has stopped")

    def leases(self, name: str) -> list[dict[str, Any]]:
        """Those of a cluster's workers, newest first."""
        return [lease for lease in self.platform.leases(user=self.session.user) if lease["server_name"] == name]

    def lease(self, name: str, lease_id: str) -> dict[str, Any]:
        return next(lease for lease in self.leases(name) if lease["id"] == lease_id)

    def notices(self, lease_id: str) -> list[dict[str, Any]]:
        """Those of a lease, newest first."""
        found = self.session.client.get("/services/sublet/api/notices", params={"lease": lease_id})
        return list(found.raise_for_status().json())

    def active(self, name: str) -> list[str]:
        return [str(lease["id"]) for lease in self.leases(name) if lease["state"] == "active"]

    def await_workers(self, name: str, count: int) -> list[str]:
        """Wait until so many leases of workers are active; gives their ids."""
        wait_until(lambda: len(self.active(name)) == count, READY_SECONDS, f"{count} workers run")
        return self.active(name)

    def closed(self, name: str) -> bool:
        return all(lease["state"] in {"ended", "void"} for lease in self.leases(name))


def processes_with(variable: str, value: str) -> list[int]:
    """The processes of this machine whose environment has that."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def of_lease(lease_id: str) -> list[int]:
    """The processes of a lease's worker, without those that watch over them."""
    return [pid for pid in processes_with("SUBLET_LEASE_ID", lease_id) if not _watches(pid)]


def scheduler_of(name: str) -> int | None:
    """The scheduler of a cluster; None where none runs."""
    found = processes_with("DASK_GATEWAY_CLUSTER_NAME", name)
    return next((pid for pid in found if not _watches(pid) and b"\0scheduler\0" in _command(pid)), None)


def _watches(pid: int) -> bool:
    return b"sublet_hub.cluster.supervisor" in _command(pid)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
