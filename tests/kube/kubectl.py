"""A cluster and a namespace of it, by `kubectl`: what tests do there, and what is shown of it when they fail."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.kube.relay import Relay

Object = dict[str, Any]
"""An object of Kubernetes, as its API gives it."""

TIMEOUT_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.25
POD_SECONDS = 120.0
"""How long a pod may take to start or to end on a busy node."""

GONE_SECONDS = 180.0
LOG_LINES = 60
OVER = ("Succeeded", "Failed")


class KubectlFailed(Exception):
    """kubectl ended with an error; the message is its own."""


def kubectl(*words: str, text: str | None = None, seconds: float = TIMEOUT_SECONDS) -> str:
    """What kubectl prints. KubectlFailed where it fails or takes too long."""
    try:
        done = subprocess.run(
            ["kubectl", *words], input=text, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise KubectlFailed(f"kubectl {' '.join(words)} took more than {seconds:g} s") from None
    if done.returncode:
        raise KubectlFailed(f"kubectl {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def until(condition: Callable[[], object], what: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait for a condition that asks kubectl, which costs a process each time; fails in words."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(LOOK_AGAIN_SECONDS)


@dataclass(frozen=True)
class Cluster:
    """The cluster that KUBECONFIG names."""

    leaving: list[str] = field(default_factory=list, compare=False)
    """Namespaces that are on their way out."""

    @cached_property
    def version(self) -> tuple[int, int]:
        """Of the API server, such as (1, 30)."""
        server = json.loads(kubectl("version", "-o", "json"))["serverVersion"]
        return int(server["major"]), int(re.sub(r"\D.*", "", server["minor"]))

    def nodes(self) -> list[Object]:
        return list(json.loads(kubectl("get", "nodes", "-o", "json"))["items"])

    def offers(self, resource: str) -> int:
        """How many of an extended resource, such as `nvidia.com/gpu`, all nodes offer together."""
        return sum(int(node["status"]["allocatable"].get(resource, 0)) for node in self.nodes())

    def has_image(self, name: str) -> bool:
        """Whether a node says that it has the image. The kubelet names fifty at most; past that, any may be there."""
        for node in self.nodes():
            images = node["status"].get("images", [])
            if len(images) >= 50 or any(_is_named(name, each) for image in images for each in image["names"] or ()):
                return True
        return False

    def wait_for_leaving(self) -> None:
        """Until the namespaces that were removed are gone, with whatever came into them meanwhile."""

        def are_gone() -> bool:
            there = kubectl("get", "namespaces", "-o", "name").split()
            self.leaving[:] = [name for name in self.leaving if f"namespace/{name}" in there]
            for name in self.leaving:
                Namespace(name, self).has_no_pods()
            return not self.leaving

        until(are_gone, "the namespaces to be gone", GONE_SECONDS)


@dataclass(frozen=True)
class Namespace:
    """One namespace, for one test."""

    name: str
    cluster: Cluster

    def kubectl(self, *words: str, text: str | None = None, seconds: float = TIMEOUT_SECONDS) -> str:
        return kubectl("-n", self.name, *words, text=text, seconds=seconds)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create objects, or change them to this."""
        together = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", text=json.dumps(together))

    def get(self, kind: str, name: str) -> Object | None:
        """An object; None where there is none of that name."""
        found = self.kubectl("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found.strip() else None

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, or those with these labels."""
        return list(json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))["items"])

    def pod(self, name: str) -> Object:
        found = self.get("pod", name)
        assert found is not None, f"there is no pod {name}"
        return found

    def logs(self, pod: str, container: str | None = None) -> str:
        return self.kubectl("logs", pod, *(("-c", container) if container else ()))

    def execute(self, pod: str, *command: str, container: str | None = None) -> str:
        return self.kubectl("exec", pod, *(("-c", container) if container else ()), "--", *command)

    def delete(self, kind: str, name: str, *words: str) -> None:
        """Ask for an object's end, and don't wait for it."""
        self.kubectl("delete", kind, name, "--wait=false", "--ignore-not-found", *words)

    def wait_for_pod(
        self, name: str, ready: Callable[[Object], bool], what: str, seconds: float = POD_SECONDS
    ) -> Object:
        """A pod, once that is so of it. Fails with what the pod says of itself."""
        found: Object = {}

        def is_so() -> bool:
            nonlocal found
            found = self.pod(name)
            return ready(found)

        try:
            until(is_so, what, seconds)
        except AssertionError:
            raise AssertionError(f"waited {seconds:g} s for {what}: {json.dumps(found.get('status'))}") from None
        return found

    def run_to_end(self, pod: Mapping[str, Any], seconds: float = POD_SECONDS) -> tuple[int, str]:
        """Create a pod of one container, wait for its end; gives its exit code and what it printed."""
        name = pod["metadata"]["name"]
        self.apply(pod)
        ended = self.wait_for_pod(name, lambda found: phase(found) in OVER, f"pod {name} to end", seconds)
        (container,) = ended["status"]["containerStatuses"]
        return int(container["state"]["terminated"]["exitCode"]), self.logs(name)

    @contextmanager
    def forwarded(self, target: str, port: int) -> Iterator[str]:
        """The address, on this machine, of a port of `pod/NAME` or `service/NAME`, while the block runs."""
        with Relay(self.name, target, port) as relay:
            yield relay.url

    def describe(self) -> str:
        """What a failing test shows: events, pods, and the ends of all logs."""
        shown = [
            self._said("get", "pods", "-o", "wide"),
            self._said("get", "events", "--sort-by=.lastTimestamp"),
        ]
        for pod in self.all("pods"):
            name, status = pod["metadata"]["name"], pod["status"]
            shown.append(f"== {name}: {json.dumps({key: status.get(key) for key in ('phase', 'reason', 'message')})}")
            containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
            for container in containers:
                shown.append(
                    f"-- {container['name']}: {json.dumps(container['state'])}, {container['restartCount']} restarts"
                )
                where = (name, "-c", container["name"], f"--tail={LOG_LINES}")
                if container["restartCount"]:
                    shown.append(self._said("logs", "--previous", *where))
                shown.append(self._said("logs", *where))
        return "\n".join(shown)

    def _said(self, *words: str) -> str:
        try:
            return self.kubectl(*words)
        except KubectlFailed as error:
            return str(error)

    def remove(self) -> None:
        """Delete it with all in it. Its pods go at once, and are waited for; nobody else may be left to take their
        finalizers off. That all the rest is gone takes a cluster many more seconds, in which the next test may begin
        (`Cluster.wait_for_leaving`).
        """
        kubectl("delete", "namespace", self.name, "--wait=false", "--ignore-not-found")
        self.cluster.leaving.append(self.name)
        until(self.has_no_pods, f"the pods of {self.name} to be gone", GONE_SECONDS)

    def has_no_pods(self) -> bool:
        """Sees to it, too."""
        pods = self.all("pods")
        for pod in pods:
            if pod["metadata"].get("finalizers"):
                self._said("patch", "pod", pod["metadata"]["name"], "--type=merge", "-p", NO_FINALIZERS)
        if pods:
            self._said("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false")
        return not pods


@contextmanager
def new_namespace(cluster: Cluster, prefix: str = "sublet-test") -> Iterator[Namespace]:
    """A namespace that takes pods, until the end of the block."""
    made = Namespace(f"{prefix}-{secrets.token_hex(4)}", cluster)
    kubectl("create", "namespace", made.name)
    try:
        until(lambda: made.get("serviceaccount", "default") is not None, "the namespace to take pods")
        yield made
    finally:
        made.remove()


NO_FINALIZERS = json.dumps({"metadata": {"finalizers": None}})


def phase(pod: Object) -> str:
    return str(pod["status"].get("phase", ""))


def is_ready(pod: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def _is_named(wanted: str, name: str) -> bool:
    return name == wanted or name.endswith(f"/{wanted}")
