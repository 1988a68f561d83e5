"""What a pod's own record comes to: runs, waits, or is over."""

from __future__ import annotations

from typing import Any

import pytest

from sublet_hub.hub.pod_state import PodState, read_state

RUNNING = {"running": {"startedAt": "2026-11-23T10:00:00Z"}}
ENDED = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "what the user's code wrote"}}


def pod(
    phase: str = "Running", node: str | None = "node", containers: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    statuses = [
        {"name": name, "ready": "running" in state, "state": state} for name, state in (containers or {}).items()
    ]
    metadata = {key: more.pop(key) for key in ("deletionTimestamp", "deletionGracePeriodSeconds") if key in more}
    return {
        "metadata": {"name": "p", **metadata},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "containerStatuses": statuses, **more},
    }


def state(*flags: str, exit_code: int | None = None, reason: str = "", message: str = "") -> PodState:
    return PodState("ready" in flags, "deleting" in flags, exit_code, reason, message)


DELETED: dict[str, Any] = {"deletionTimestamp": "2026-11-23T10:00:00Z", "deletionGracePeriodSeconds": 5}
GONE = DELETED | {"deletionGracePeriodSeconds": 0}


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (pod(containers={"warden": RUNNING, "notebook": RUNNING}, podIP="10.0.0.1"), state("ready")),
        (pod(containers={"notebook": RUNNING}), state()),
        (pod(containers={"notebook": RUNNING}, podIP="1.1.1.1", **DELETED), state("deleting")),
        # The notebook has ended while the warden still runs, or while the object waits for the meter.
        (
            pod(containers={"warden": RUNNING, "notebook": ENDED}, podIP="1.1.1.1"),
            state(exit_code=137, reason="OOMKilled", message="what the user's code wrote"),
        ),
        (
            pod("Failed", containers={"notebook": {"terminated": {"exitCode": 0}}}, **DELETED),
            state("deleting", exit_code=0),
        ),
        # The kubelet threw the containers' records away, as it did before 1.22.
        (pod("Failed", reason="Evicted", message="memory"), state(exit_code=1, reason="Evicted", message="memory")),
        (pod("Succeeded"), state(exit_code=0)),
        # Not there yet, and deleted before or after it came onto a node.
        (pod("Pending", None), state()),
        (pod("Pending", None, **DELETED), state("deleting", exit_code=1)),
        (
            pod("Pending", containers={"notebook": {"waiting": {"reason": "ImagePullBackOff"}}}, **DELETED),
            state("deleting", reason="ImagePullBackOff"),
        ),
        (pod("Pending", containers={"notebook": {"waiting": {}}}, **GONE), state("deleting", exit_code=1)),
        # Deleted by force: it may run on.
        (pod(containers={"notebook": RUNNING}, **GONE), state("deleting")),
        (
            pod(
                "Pending",
                None,
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
                ],
            ),
            state(reason="Unschedulable", message="0/3 nodes"),
        ),
    ],
)
def test_a_pod_reads(seen: dict[str, Any], told: PodState) -> None:
    assert read_state(seen) == told
