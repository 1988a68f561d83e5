"""Sublet installed by its chart in a namespace of its own, reached through a relay."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.fixtures.site import Site, wait_until
from tests.kube.kubectl import Namespace
from tests.kube.relay import Relay

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "sublet"
RELEASE = "sublet"
INSTALL_SECONDS = 300
PUBLIC_PORT = 80
COMPONENTS = ("hub", "proxy", "api", "meter")

IMAGES: Mapping[str, str] = {
    "hub": os.environ.get("SUBLET_TEST_HUB_IMAGE", "sublet-hub:test"),
    "notebook": os.environ.get("SUBLET_TEST_NOTEBOOK_IMAGE", "sublet-notebook:test"),
    "warden": os.environ.get("SUBLET_TEST_WARDEN_IMAGE", "sublet-warden:test"),
}

POOLS: Sequence[Mapping[str, object]] = (
    {"name": "gpu", "gpu_model": "Test GPU", "gpu_memory_gib": 16, "capacity": 4, "simulated": True},
    {"name": "cpu", "capacity": 0},
)


def flavor(name: str, gpus: int, price: int = 2_000_000) -> dict[str, object]:
    return {
        "name": name,
        "title": f"{gpus} GPU" if gpus else "CPU only",
        "pool": "gpu" if gpus else "cpu",
        "gpus": gpus,
        "cpus": 1,
        "memory_gib": 1,
        "prices": {"guaranteed": price},
    }


def _image(name: str) -> dict[str, str]:
    repository, _, tag = IMAGES[name].rpartition(":")
    return {"repository": repository, "tag": tag}


def values(**settings: object) -> dict[str, Any]:
    """Values for a small cluster: our images, a pool of the node's GPUs, little of everything; `settings` on top."""
    small = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    return {
        "image": _image("hub"),
        "notebook": {"image": _image("notebook"), "wardenImage": _image("warden"), "home": {"gib": 1}},
        "pools": list(POOLS),
        "flavors": [flavor("one", 1), flavor("two", 2), flavor("cpu", 0, 0)],
        "settings": {
            "post_interval_seconds": 3,
            "default_gpus": 4,
            "slice_seconds": 60,
            "notice_seconds": [10, 5],
            "stop_grace_seconds": 3,
            "kube_cpu_reserved_percent": 5,
            "contact": "the people who test this",
            **settings,
        },
        "keepOnUninstall": False,
        "hub": {"resources": small},
        "proxy": {"resources": small},
        "api": {"resources": small},
        "meter": {"resources": small},
    }


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees of values as Helm merges them: the other's win, tables go together."""
    both = {key: merged(one[key], other[key]) for key in one.keys() & other.keys() if isinstance(other[key], dict)}
    return {**one, **other, **both}


@dataclass
class Installed(Site):
    """A release. `start` installs it, `upgrade` changes its values, `stop` removes it and its namespace."""

    namespace: Namespace
    values: dict[str, Any] = field(default_factory=values)
    _relay: Relay | None = None
    _secret: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        assert self._relay is not None, "it was not started"
        return self._relay.url

    def credentials(self) -> dict[str, str]:
        if not self._secret:
            secret = self.namespace.get("secret", f"{RELEASE}-secrets")
            assert secret is not None
            self._secret = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
        return self._secret

    def lease_pods(self) -> list[dict[str, Any]]:
        return self.namespace.all("pods", "sublet.dev/lease")

    def component(self, name: str) -> list[str]:
        """Names of the pods of a component."""
        return [pod["metadata"]["name"] for pod in self.namespace.all("pods", f"app.kubernetes.io/component={name}")]

    def parts(self) -> dict[str, set[str]]:
        """Which pods each component has, by their unique ids; without those that are on their way out."""
        found: dict[str, set[str]] = {name: set() for name in COMPONENTS}
        for pod in self.namespace.all("pods", f"app.kubernetes.io/component in ({','.join(COMPONENTS)})"):
            if not pod["metadata"].get("deletionTimestamp"):
                found[pod["metadata"]["labels"]["app.kubernetes.io/component"]].add(pod["metadata"]["uid"])
        return found

    def secrets(self) -> dict[str, str]:
        """What was generated, as the cluster has it."""
        secret = self.namespace.get("secret", f"{RELEASE}-secrets")
        assert secret is not None
        data: dict[str, str] = secret["data"]
        return data

    def helm(self, *arguments: str) -> str:
        done = subprocess.run(
            ["helm", "-n", self.namespace.name, *arguments],
            input=json.dumps(self.values),
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}\n{self.log()}"
        return done.stdout

    def start(self) -> Self:
        """Install it and wait until all of it is ready."""
        self.helm("install", RELEASE, str(CHART), "-f", "-", "--create-namespace", "--wait", "--timeout", "240s")
        self._hang_up()
        self._relay = Relay(self.namespace.name, f"service/{RELEASE}-proxy", PUBLIC_PORT).begin()
        wait_until(self.answers, 60, f"the platform answers\n{self.log()}")
        return self

    def upgrade(self, **changes: Any) -> None:
        """Change values, and wait until all of it is ready again."""
        self.values = merged(self.values, changes)
        self.helm("upgrade", RELEASE, str(CHART), "-f", "-", "--wait", "--timeout", "240s")

    def answers(self) -> bool:
        """Whether one can sign in and ask for leases: proxy, hub, api and meter all work."""
        try:
            with self.admin() as client:
                health = client.get("/services/sublet/health", timeout=5)
                return client.get("/hub/api/", timeout=5).is_success and health.is_success
        except httpx.HTTPError:
            return False

    def log(self) -> str:
        """What the cluster saw and the parts said, for a failing test to show."""
        return self.namespace.describe()

    def stop(self) -> None:
        """Remove it. Its namespace goes with whoever made it, and takes off the finalizers that nobody meters."""
        self._hang_up()
        subprocess.run(["helm", "-n", self.namespace.name, "uninstall", RELEASE], capture_output=True, check=False)

    def _hang_up(self) -> None:
        if self._relay is not None:
            self._relay.stop()


@contextmanager
def installed(namespace: Namespace, given: Mapping[str, Any] | None = None) -> Iterator[Installed]:
    """A release for the time of a block."""
    release = Installed(namespace, dict(given) if given is not None else values())
    try:
        yield release.start()
    finally:
        release.stop()
