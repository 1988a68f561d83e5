"""What the kubelet needs to end a lease's notebook at its deadline, with none of our processes alive.

A container of its own, the warden (`images/warden`), answers the notebook container's liveness probe: yes until the
deadline, then no. docs/decisions/010-deadline-on-kubernetes.md says why, and what was measured. Pure functions from
settings to fields of the API, in camel case; `with_warden` puts them into a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sublet_hub.cluster.kube import names
from sublet_hub.cluster.kube.capabilities import Capabilities
from sublet_hub.domain.lease import EndReason

Json = dict[str, Any]

PORT: Final = 19191
"""Where the warden answers: below the ports that Linux hands to outgoing connections."""

NOTEBOOK_PORT: Final = 8888

PERIOD_SECONDS: Final = 1
FAILURES: Final = 3
"""Noes, or answers lost, in a row that end the notebook: two lost answers end nobody's work."""

PATIENCE_SECONDS: Final = 3
"""How long the kubelet waits for an answer. A no comes at once; only an answer that doesn't come takes so long, so
that a busy node has to stay silent for `FAILURES` times that before it costs anybody their work."""

LEAD_MS: Final = (FAILURES - 1) * PERIOD_SECONDS * 1000
"""How long before the deadline the warden begins to say no: the last no that is needed then comes within a period
after the deadline, and never before it."""

LEAST_GRACE_SECONDS: Final = 2
"""Kubelets leave that long between SIGTERM and SIGKILL, whatever they are told (`minimumGracePeriodInSeconds`)."""

KUBELET_MS: Final = 2_000
"""How long the kubelet may take from the last no to SIGTERM, and from SIGKILL to the end."""

LEAVE_AFTER_SECONDS: Final = 30
"""Without native sidecars: how long, beyond the notebook's grace, nobody may have asked before the warden looks
whether the notebook is gone. Longer than a kubelet takes to restart."""

READY_WITHIN_MS: Final = 10_000
BACKSTOP_SECONDS: Final = 15
"""How much later than an ordered deadline the pod's own ends: time for the warden's way, which leaves clearer traces
(a container that ended, in a pod that says so)."""

USER_ID: Final = 65532
VOLUME: Final = "sublet-deadline"
FOLDER: Final = "/run/sublet"
FILE: Final = "deadline"

FINAL_REASONS: Final = frozenset({EndReason.ADMIN, EndReason.RECLAIM, EndReason.REPLACED})
"""Orders: these deadlines are never moved out again. One that follows from a quota is, when the quota is raised."""


class UnguardedError(ValueError):
    """A pod in which user code could outlive its deadline; the message says by what. Nothing is to be started."""


@dataclass(frozen=True, slots=True)
class Warden:
    """`grace_seconds`: from SIGTERM to SIGKILL of a notebook that is past its deadline."""

    image: str
    capabilities: Capabilities
    grace_seconds: int
    image_pull_policy: str = "IfNotPresent"
    port: int = PORT
    notebook_port: int = NOTEBOOK_PORT


def end_margin_ms(grace_seconds: int) -> int:
    """The longest that a notebook may run past its armed deadline on a node that works, whatever user code does.

    Worst is a notebook that keeps every answer of the warden from the kubelet, by a flood, and ignores SIGTERM.
    """
    until_told_ms = (PERIOD_SECONDS + FAILURES * PATIENCE_SECONDS) * 1000 - LEAD_MS
    return until_told_ms + KUBELET_MS + max(grace_seconds, LEAST_GRACE_SECONDS) * 1000


def active_deadline_seconds(now_ms: int, hard_cap_ms: int) -> int:
    """`activeDeadlineSeconds` of a pod made now, for a moment past which no deadline will ever be moved.

    Whole seconds, rounded up, at least one. The kubelet counts from when it takes the pod up, a little later.
    """
    return max(1, _whole_seconds(hard_cap_ms - now_ms))


def lowered_active_deadline(
    current_seconds: int | None, started_at_ms: int | None, deadline_ms: int, reason: str
) -> int | None:
    """What to lower a pod's `activeDeadlineSeconds` to, as a second way to an ordered end; None to leave it be.

    It can never be raised again, so only final deadlines lower it. `started_at_ms` is the pod's `status.startTime`,
    from which the kubelet counts; before that there is nothing to count from.
    """
    if reason not in FINAL_REASONS or started_at_ms is None:
        return None
    wanted = max(1, _whole_seconds(deadline_ms - started_at_ms) + BACKSTOP_SECONDS)
    return wanted if current_seconds is None or wanted < current_seconds else None


def _whole_seconds(ms: int) -> int:
    return -(-ms // 1000)


def container(warden: Warden) -> Json:
    """The warden's container: an init container that stays, where there are native sidecars, else an ordinary one."""
    made: Json = {
        "name": names.WARDEN,
        "image": warden.image,
        "imagePullPolicy": warden.image_pull_policy,
        "args": _arguments(warden),
        # The kubelet starts the next container when this hook is through: by then the port is held.
        "lifecycle": {"postStart": {"exec": {"command": _hook(warden)}}},
        # Requests are the limits, so that the pod's class is the notebook's to choose: in a Guaranteed pod the
        # kernel ends nobody for lack of memory elsewhere.
        "resources": {"requests": dict(RESOURCES), "limits": dict(RESOURCES)},
        "securityContext": {
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "runAsNonRoot": True,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER, "readOnly": True}],
    }
    if warden.capabilities.native_sidecars:
        made["restartPolicy"] = "Always"
    return made


RESOURCES: Final[Mapping[str, str]] = {"cpu": "100m", "memory": "32Mi"}
"""Measured: the warden itself needs a few thousandths of a core and 2 MiB. What starts it (runc, for a moment in
the same limits) sets the rest."""


def _arguments(warden: Warden) -> list[str]:
    arguments = ["hold", "--file", f"{FOLDER}/{FILE}", "--port", str(warden.port), "--lead-ms", str(LEAD_MS)]
    if not warden.capabilities.native_sidecars:
        leave_after_ms = (max(warden.grace_seconds, LEAST_GRACE_SECONDS) + LEAVE_AFTER_SECONDS) * 1000
        arguments += ["--leave-after-ms", str(leave_after_ms), "--notebook-port", str(warden.notebook_port)]
    return arguments


def _hook(warden: Warden) -> list[str]:
    return ["/warden", "ready", "--port", str(warden.port), "--within-ms", str(READY_WITHIN_MS)]


def liveness_probe(warden: Warden) -> Json:
    """The notebook container's liveness probe, which the warden answers.

    By HTTP: what goes wrong with an HTTP probe counts as a no. An exec probe would run among user code, and what goes
    wrong with it is thrown away.
    """
    probe: Json = {
        "httpGet": {"path": "/", "port": warden.port, "scheme": "HTTP"},
        "periodSeconds": PERIOD_SECONDS,
        "timeoutSeconds": PATIENCE_SECONDS,
        "failureThreshold": FAILURES,
        "successThreshold": 1,
    }
    if warden.capabilities.probe_grace:
        probe["terminationGracePeriodSeconds"] = max(warden.grace_seconds, LEAST_GRACE_SECONDS)
    return probe


def volume() -> Json:
    """The deadline as a file, which the kubelet rewrites when the annotation changes. For the warden alone."""
    field = {"fieldPath": f"metadata.annotations['{names.DEADLINE}']"}
    return {
        "name": VOLUME,
        "downwardAPI": {"defaultMode": 0o444, "items": [{"path": FILE, "fieldRef": field}]},
    }


def with_warden(pod: Json, warden: Warden) -> Json:
    """The pod with its deadline enforced. It still needs the annotation: without one the notebook is ended at once.

    UnguardedError where something else in the pod would let user code escape.
    """
    spec = pod["spec"]
    _refuse_escapes(spec)
    guarded = {
        **spec,
        "restartPolicy": "Never",
        "shareProcessNamespace": False,
        "volumes": [*(spec.get("volumes") or []), volume()],
    }
    others = [_probed(each, warden) for each in spec["containers"]]
    if warden.capabilities.native_sidecars:
        guarded |= {"containers": others, "initContainers": [container(warden), *(spec.get("initContainers") or [])]}
    else:
        # First: containers are started in order.
        guarded["containers"] = [container(warden), *others]
    if not warden.capabilities.probe_grace:
        guarded["terminationGracePeriodSeconds"] = max(warden.grace_seconds, LEAST_GRACE_SECONDS)
    return {**pod, "spec": guarded}


def _probed(each: Json, warden: Warden) -> Json:
    return {**each, "livenessProbe": liveness_probe(warden)} if each["name"] == names.NOTEBOOK else each


def _refuse_escapes(spec: Json) -> None:
    every = [*(spec.get("initContainers") or []), *spec["containers"]]
    notebook = next((each for each in every if each["name"] == names.NOTEBOOK), None)
    if notebook is None:
        raise UnguardedError(f"the pod has no container {names.NOTEBOOK!r} whose end its deadline could be")
    if notebook.get("startupProbe"):
        raise UnguardedError("a startupProbe of the notebook puts off its liveness probe, and so its deadline")
    if (notebook.get("lifecycle") or {}).get("postStart"):
        raise UnguardedError("a postStart hook of the notebook holds up the kubelet for as long as user code likes")
    for field in ("hostNetwork", "hostPID", "shareProcessNamespace"):
        if spec.get(field):
            raise UnguardedError(f"with {field}, code in the notebook could answer for the warden or end it")
    if any(mount["name"] == VOLUME for each in every for mount in each.get("volumeMounts") or []):
        raise UnguardedError(f"only the warden may mount the volume {VOLUME}")
