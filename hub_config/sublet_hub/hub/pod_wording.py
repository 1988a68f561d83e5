"""What the cluster says of a pod, as sentences for its user. What is not known here is told in general; all of it is
in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sublet_hub.cluster.kube.names import WARDEN
from sublet_hub.hub import wording

Json = Mapping[str, Any]

NO_IMAGE = "The image that servers run could not be fetched. The administrator’s log says why."
NO_HOME = (
    "Your home could not be attached to the server. If another server of yours runs, stop it: on many clusters a home"
    " can be on one machine at a time."
)
NO_ROOM = "No machine of the cluster has room for this flavor at the moment."
WRONG_POD = "The cluster refused the server. The administrator’s log says why."
CLUSTER_AWAY = "The cluster does not answer at the moment. Try again in a minute."
FULL = "The cluster allows no more servers at the moment. Try again when another has ended."
ENDED_EARLY = "The server ended while it was starting. The administrator’s log says why."
TAKEN_AWAY = "The cluster took the server’s place back while it was starting. Try again."
NO_MEMORY = "The server used more memory than its flavor has while it was starting. Pick a larger one."

TROUBLE = {
    "Unschedulable": NO_ROOM,
    "FailedScheduling": NO_ROOM,
    "ErrImagePull": NO_IMAGE,
    "ImagePullBackOff": NO_IMAGE,
    "InvalidImageName": NO_IMAGE,
    "ErrImageNeverPull": NO_IMAGE,
    "CreateContainerConfigError": WRONG_POD,
    "CreateContainerError": WRONG_POD,
    "RunContainerError": WRONG_POD,
    "FailedMount": NO_HOME,
    "FailedAttachVolume": NO_HOME,
    "ProvisioningFailed": NO_HOME,
    "OOMKilled": NO_MEMORY,
    "Evicted": TAKEN_AWAY,
    "Preempting": TAKEN_AWAY,
    "NodeLost": TAKEN_AWAY,
    "NodeShutdown": TAKEN_AWAY,
    "OutOfcpu": TAKEN_AWAY,
    "OutOfmemory": TAKEN_AWAY,
    "OutOfpods": TAKEN_AWAY,
    "UnexpectedAdmissionError": TAKEN_AWAY,
}
"""By the reason that pods, containers and events give. Of those that a scheduler or a kubelet may yet mend, a start
is told only when its time is over."""

HOME_STEP = "Getting your home ready"
ROOM_STEP = "Waiting for a machine with room for this flavor"
IMAGE_STEP = "The image can’t be fetched yet; trying again"
UNSCHEDULED = {"FailedScheduling", "Unschedulable"}
STEPS = {
    "FailedScheduling": ROOM_STEP,
    "Unschedulable": ROOM_STEP,
    "TriggeredScaleUp": "A machine is being added to the cluster, which takes some minutes",
    "Scheduled": "A machine was found",
    "SuccessfulAttachVolume": "Your home is attached",
    "FailedAttachVolume": "Waiting for your home to be attached",
    "FailedMount": "Waiting for your home to be attached",
    "Pulling": "Fetching the image that servers run",
    "Pulled": "The image is there",
    "BackOff": IMAGE_STEP,
    "ImagePullBackOff": IMAGE_STEP,
    "Started": "Waiting for JupyterLab to answer",
}
"""What an event, or what a pod waits for, means to who waits. Those that are missing here are nothing to them."""


def step(event: Json) -> str | None:
    """An event of a pod as a step of its start; None for one that says nothing to its user."""
    if f"{{{WARDEN}" in (event.get("involvedObject") or {}).get("fieldPath", ""):
        return None
    return waiting(event.get("reason") or "", event.get("message") or "")


def waiting(reason: str, message: str) -> str | None:
    """The same for what a pod's own record says that it waits for: a cluster may hold events back."""
    return HOME_STEP if reason in UNSCHEDULED and _is_of_a_home(message) else STEPS.get(reason)


def not_started(seconds: float, said: Sequence[tuple[str, str]]) -> str:
    """Why a start was given up after a time; `said`: reasons and messages, the most telling first."""
    why = next((_trouble(*each) for each in said if each[0] in TROUBLE), "")
    return f"Your server did not start within {wording.duration(round(seconds))}. {why}".rstrip()


def _trouble(reason: str, message: str) -> str:
    sentence = TROUBLE[reason]
    return NO_HOME if sentence == NO_ROOM and _is_of_a_home(message) else sentence


def _is_of_a_home(message: str) -> bool:
    """A scheduler gives one reason for a node that is full and for a home that is on none, or not made yet."""
    return "persistentvolumeclaim" in message.lower() or "volume" in message


def ended_early(reason: str) -> str:
    """Why a pod ended before it was ready."""
    return TROUBLE.get(reason, ENDED_EARLY)


def refused(status: int | None, message: str) -> str:
    """What an API server's refusal comes to. `status` None: it did not answer."""
    if "exceeded quota" in message:
        return FULL
    if status is None or status == 429 or status >= 500:
        return CLUSTER_AWAY
    return WRONG_POD
