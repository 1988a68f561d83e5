"""What a pod's own record says of a lease's start and end, for the hub: it shows, waits and stops by it. What is
charged is the meter's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sublet_hub.cluster.kube.names import NOTEBOOK

Json = Mapping[str, Any]

UNKNOWN_EXIT = 1
"""The exit code of what has ended without one."""


@dataclass(frozen=True, slots=True)
class PodState:
    """`exit_code`: None while the notebook runs, or may yet. `reason` and `message` are Kubernetes' own, of whatever
    keeps the pod from running, or ended it; for the log and for choosing a sentence, not for users."""

    ready: bool
    deleting: bool
    exit_code: int | None
    reason: str = ""
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.exit_code is not None


def read_state(pod: Json) -> PodState:
    """Read a pod as the API has it."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    containers: Sequence[Json] = status.get("containerStatuses") or ()
    notebook: Json = next((each for each in containers if each["name"] == NOTEBOOK), {})
    deleting = metadata.get("deletionTimestamp") is not None
    ready = (
        status.get("phase") == "Running"
        and bool(status.get("podIP"))
        and not deleting
        and bool(containers)
        and all(each["ready"] for each in containers)
    )
    reason, message = _why(status, notebook)
    return PodState(ready, deleting, _exit_code(pod, status, notebook, deleting), reason, message)


def _exit_code(pod: Json, status: Json, notebook: Json, deleting: bool) -> int | None:
    state = notebook.get("state") or {}
    if "terminated" in state:
        return int(state["terminated"].get("exitCode", UNKNOWN_EXIT))
    if status.get("phase") in {"Succeeded", "Failed"}:
        return 0 if status["phase"] == "Succeeded" else UNKNOWN_EXIT
    if deleting and "running" not in state:
        # Never bound to a node, or the node's kubelet has said that nothing of it is left: it starts no more.
        unbound = not pod["spec"].get("nodeName")
        if unbound or pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            return UNKNOWN_EXIT
    return None


def _why(status: Json, notebook: Json) -> tuple[str, str]:
    """The most telling reason there is: of the pod as a whole, of its container, of its way onto a node."""
    if status.get("reason"):
        return status["reason"], status.get("message") or ""
    state = notebook.get("state") or {}
    for kind in ("terminated", "waiting"):
        if (state.get(kind) or {}).get("reason"):
            return state[kind]["reason"], state[kind].get("message") or ""
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition.get("reason") or "", condition.get("message") or ""
    return "", ""
