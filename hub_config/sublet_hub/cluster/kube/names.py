"""What lease pods are called and marked with. docs/kubernetes.md lists all of it for people who use kubectl.

Label values allow less than our names do, so labels hold a safe form, for selecting and reading, and annotations
of the same keys the exact one, which is what the meter goes by.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

PREFIX: Final = "sublet.dev/"

LEASE: Final = f"{PREFIX}lease"
USER: Final = f"{PREFIX}user"
ACCOUNT: Final = f"{PREFIX}account"
FLAVOR: Final = f"{PREFIX}flavor"
TIER: Final = f"{PREFIX}tier"
IDENTITY: Final = (LEASE, USER, ACCOUNT, FLAVOR, TIER)
"""Keys of the labels, and of the annotations with the exact values."""

SERVER: Final = f"{PREFIX}server"
"""Annotation: the hub's name of the server; empty for a user's default one."""

DEADLINE: Final = f"{PREFIX}deadline"
"""Annotation: when the notebook container must be over, in decimal milliseconds since the epoch."""

DEADLINE_REASON: Final = f"{PREFIX}deadline-reason"
"""Annotation: why, as `EndReason` has it."""

SERVES: Final = f"{PREFIX}serves"
"""Label: the model that a pod of the platform's own serves. Where it is no lease, its GPUs aren't missed as one."""

GATEWAY: Final = f"{PREFIX}gateway"
"""Label, and annotation with the exact value: the pod of the gateway that started a model's server."""

GATEWAY_UID: Final = f"{PREFIX}gateway-uid"
"""Annotation: that pod's own id, which another of the same name doesn't have."""

GATEWAY_RUN: Final = f"{PREFIX}gateway-run"
"""Label: which run of the process in that pod."""

FINALIZER: Final = f"{PREFIX}metering"
"""Keeps a pod's object, and with it the true end, until the meter has posted it."""

NOTEBOOK: Final = "notebook"
WARDEN: Final = "warden"
"""Containers of a lease pod: what the user runs, and what holds the deadline."""

LABEL_LENGTH: Final = 63
_READABLE_LENGTH = 40
_LEASE_LENGTH = 12
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_HASH_LENGTH = 8


def label_value(exact: str) -> str:
    """The text as a label's value: as it stands where that is allowed, else with what isn't allowed replaced and a
    hash at its end, so that two texts never share one. `group:ml` reads `group.ml`.

    Source of the rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
    """
    dotted = exact.replace(":", ".", 1) if exact.startswith(("user:", "group:")) else exact
    if not dotted or (_LABEL.fullmatch(dotted) and "--" not in dotted):
        return dotted
    digest = hashlib.sha256(exact.encode()).hexdigest()[:_HASH_LENGTH]
    readable = _UNSAFE.sub("-", dotted).strip("-_.")[: LABEL_LENGTH - _HASH_LENGTH - 2].strip("-_.") or "x"
    return f"{readable}--{digest}"


def account_of(label: str) -> str:
    """The account that a label's value stands for where nothing more exact is known: `user:alice` of `user.alice`."""
    return re.sub(r"^(user|group)\.", r"\1:", label)


def pod_name(user: str, server_name: str, lease_id: str) -> str:
    """The name of the pod of a lease: readable, allowed, and another one for each lease, so that a pod which waits
    for the meter never stands in the way of the next start. Only a pod of this name is the lease's own; others that
    carry its labels are copies."""
    readable = re.sub(r"[^a-z0-9]+", "-", f"{user}-{server_name}".lower()).strip("-")[:_READABLE_LENGTH].strip("-")
    return f"jupyter-{readable or 'x'}-{lease_id[:_LEASE_LENGTH]}"
