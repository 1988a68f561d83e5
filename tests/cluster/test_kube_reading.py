"""What pods tell of leases: every way in which one can begin and end, as the API server has it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import msgspec
import pytest

from sublet_hub.cluster.base import Claims, Stray
from sublet_hub.cluster.kube import names, objects
from sublet_hub.cluster.kube.identity import claims_of, lease_id_of, stray_of
from sublet_hub.cluster.kube.objects import Pod
from sublet_hub.cluster.kube.reading import Vouched, read, read_deleted

ID = "0123456789abcdef0123456789abcdef"
DAY = "2026-11-23T"
START, END, DEADLINE = f"{DAY}10:00:05Z", f"{DAY}10:30:00Z", f"{DAY}12:00:00Z"
NOW = f"{DAY}11:00:00Z"


def ms(text: str) -> int:
    return int(objects.ms(text))


IDENTITY = {
    names.LEASE: ID,
    names.USER: "alice@example.org",
    names.ACCOUNT: "user:alice@example.org",
    names.FLAVOR: "h100-1x",
    names.TIER: "surplus",
}
RUNNING = {"running": {"startedAt": START}}


def terminated(**changes: object) -> dict[str, object]:
    return {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": START, "finishedAt": END, **changes}}


def manifest(state: Mapping[str, object] | None, **changes: Mapping[str, object]) -> dict[str, Any]:
    """A lease pod; `changes` by its part (metadata, spec, status)."""
    statuses = [] if state is None else [{"name": "notebook", "state": state}, {"name": "warden", "state": RUNNING}]
    base: dict[str, Any] = {
        "metadata": {
            "name": names.pod_name("alice@example.org", "", ID),
            "uid": "u1",
            "labels": {key: names.label_value(value) for key, value in IDENTITY.items()},
            "annotations": {**IDENTITY, names.DEADLINE: str(ms(DEADLINE))},
            "finalizers": [names.FINALIZER],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "notebook"}, {"name": "warden"}]},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }
    for part, change in changes.items():
        base[part] |= change
    return base


def pod(state: Mapping[str, object] | None, **changes: Mapping[str, object]) -> Pod:
    decoded = objects.decoder(Pod).decode(msgspec.json.encode(manifest(state, **changes)))
    assert isinstance(decoded, Pod)
    return decoded


def seen(one: Pod, until: str = NOW, *, lost: bool = False) -> tuple[object, ...]:
    """Start, end, cause, exit code and sign of life."""
    told = read(one, ID, Vouched(ms(until), lost))
    return told.started_at_ms, told.ended_at_ms, told.cause, told.exit_code, told.alive_at_ms


def test_a_running_lease_is_alive_as_far_as_its_node_vouches() -> None:
    assert seen(pod(RUNNING)) == (ms(START), None, None, None, ms(NOW))
    assert seen(pod(RUNNING), f"{DAY}09:00:00Z")[-1] == ms(START)
    assert read(pod(RUNNING), ID, Vouched(0)).armed_deadline_ms == ms(DEADLINE)


@pytest.mark.parametrize("state", [None, {}, {"waiting": {"reason": "ContainerCreating"}}])
def test_what_waits_has_not_started(state: Mapping[str, object] | None) -> None:
    assert seen(pod(state, status={"phase": "Pending"})) == (None, None, None, None, None)


def test_an_end_is_the_containers_own_also_while_the_warden_runs_on() -> None:
    assert seen(pod(terminated(exitCode=3))) == (ms(START), ms(END), "exited", 3, None)


OOM = terminated(exitCode=137, reason="OOMKilled")


def test_out_of_memory_is_told_apart() -> None:
    assert seen(pod(OOM))[2:4] == ("oom", 137)


def test_a_notebook_that_outlived_a_kernel_without_memory_ended_otherwise() -> None:
    assert seen(pod(terminated(exitCode=0, reason="OOMKilled")))[2] == "exited"
    deleted = {"deletionTimestamp": f"{DAY}10:29:58Z", "deletionGracePeriodSeconds": 0}
    assert seen(pod(OOM, metadata=deleted))[2] == "evicted"
    at_deadline = terminated(exitCode=137, reason="OOMKilled", finishedAt=f"{DAY}12:00:02Z")
    assert seen(pod(at_deadline))[2] == "deadline"


def test_an_end_near_the_deadline_is_the_deadlines() -> None:
    near = terminated(exitCode=137, reason="Error", finishedAt=f"{DAY}11:59:59Z")
    assert seen(pod(near))[1:3] == (ms(f"{DAY}11:59:59Z"), "deadline")
    assert seen(pod(terminated(finishedAt=f"{DAY}11:59:57Z")))[2] == "exited"


def test_the_hard_cap_is_a_deadline_too() -> None:
    capped = pod(terminated(exitCode=137), status={"phase": "Failed", "reason": "DeadlineExceeded"})
    assert seen(capped)[2] == "deadline"


def test_what_was_deleted_while_it_ran_was_taken_away() -> None:
    deleted = {"deletionTimestamp": f"{DAY}10:30:29Z", "deletionGracePeriodSeconds": 30}
    assert seen(pod(terminated(exitCode=143), metadata=deleted))[1:3] == (ms(END), "evicted")


def test_what_ended_before_it_was_deleted_ended_by_itself() -> None:
    deleted = {"deletionTimestamp": f"{DAY}10:30:31Z", "deletionGracePeriodSeconds": 30}
    assert seen(pod(terminated(), metadata=deleted))[1:3] == (ms(END), "exited")


def test_a_deleted_lease_runs_until_its_container_has_ended() -> None:
    deleted = {"deletionTimestamp": f"{DAY}10:30:30Z", "deletionGracePeriodSeconds": 0}
    assert seen(pod(RUNNING, metadata=deleted))[:3] == (ms(START), None, None)


def test_preempted_by_the_scheduler() -> None:
    disrupted = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
    assert seen(pod(terminated(exitCode=143), status={"conditions": disrupted}))[2] == "evicted"


def test_evicted_by_the_kubelet() -> None:
    evicted = pod(terminated(exitCode=137), status={"phase": "Failed", "reason": "Evicted"})
    assert seen(evicted)[1:4] == (ms(END), "evicted", 137)


def written(
    at: str = END, reason: str = "Evicted", start: str = f"{DAY}10:00:00Z", **status: object
) -> dict[str, Any]:
    """A failed pod, of which the kubelet wrote at this moment."""
    return {
        "metadata": {"managedFields": [{"manager": "kubelet", "time": at}, {"manager": "sublet", "time": NOW}]},
        "status": {"phase": "Failed", "reason": reason, "startTime": start, **status},
    }


def test_evicted_with_its_containers_records_thrown_away() -> None:
    """As 1.20 does. The start, where nobody saw it, is when the kubelet took the pod up."""
    assert seen(pod(None, **written())) == (ms(f"{DAY}10:00:00Z"), ms(END), "evicted", None, None)


@pytest.mark.parametrize("reason", ["UnexpectedAdmissionError", "OutOfcpu", "Evicted"])
def test_what_the_kubelet_rejected_never_started(reason: str) -> None:
    rejected = written(at=f"{DAY}10:00:01Z", reason=reason)
    assert seen(pod(None, **rejected))[:2] == (None, ms(f"{DAY}10:00:01Z"))
    assert seen(pod({"waiting": {"reason": "ContainerCreating"}}, **written(reason=reason)))[0] is None


def test_deleted_with_its_containers_records_thrown_away() -> None:
    """As 1.20 does at times: they are as they were before they started. That the pod was ready once says more."""
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": f"{DAY}10:29:57Z"}
    deleted = written(reason="", conditions=[unready])
    deleted["metadata"] |= {"deletionTimestamp": f"{DAY}10:29:55Z", "deletionGracePeriodSeconds": 0}
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    assert seen(pod(waiting, **deleted))[:3] == (ms(f"{DAY}10:00:00Z"), ms(f"{DAY}10:29:57Z"), "evicted")
    unready["lastTransitionTime"] = f"{DAY}10:00:00Z"
    assert seen(pod(waiting, **deleted))[:3] == (None, ms(END), "evicted")


def test_an_end_without_a_time_is_when_the_kubelet_wrote_of_it() -> None:
    unknown = terminated(exitCode=137, reason="ContainerStatusUnknown", finishedAt=None, startedAt=None)
    assert seen(pod(unknown, **written()))[1] == ms(END)


def test_what_its_node_took_with_it_ended_when_the_node_was_given_up() -> None:
    """Not when node and runtime were back, which is what they give as the end."""
    found = terminated(exitCode=255, reason="Unknown", finishedAt=END)
    assert seen(pod(found))[1:3] == (ms(END), "lost")
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": f"{DAY}10:20:00Z"}
    assert seen(pod(found, status={"conditions": [unready]}))[1] == ms(f"{DAY}10:20:00Z")
    never_ready = {**unready, "lastTransitionTime": f"{DAY}10:00:00Z"}
    assert seen(pod(found, status={"conditions": [never_ready]}))[1] == ms(END)


def test_past_the_hard_cap_an_old_kubelet_never_tells_of_the_containers_end() -> None:
    """1.20 leaves them as running for good; later is not known, so not claimed."""
    failed = pod(RUNNING, **written(reason="DeadlineExceeded"))
    assert seen(failed) == (ms(START), ms(END), "deadline", None, None)


def test_a_pod_that_the_control_plane_fails_ends_with_its_node() -> None:
    """The garbage collector of pods sets the phase when the node's object is gone; the kubelet said nothing."""
    failed = pod(RUNNING, **written(at=f"{DAY}10:00:06Z", reason=""))
    heartbeat = f"{DAY}10:45:00Z"
    assert seen(failed, heartbeat)[:3] == (ms(START), None, None)
    assert seen(failed, heartbeat, lost=True)[1:3] == (ms(heartbeat), "lost")


def test_a_node_of_which_nothing_is_left_was_given_up_when_its_pods_were() -> None:
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": f"{DAY}10:45:40Z"}
    told = read(pod(RUNNING, status={"conditions": [unready]}), ID, Vouched(0, lost=True))
    assert (told.ended_at_ms, told.cause) == (ms(f"{DAY}10:45:40Z"), "lost")


def test_a_lost_node_ends_its_leases_at_its_last_heartbeat() -> None:
    heartbeat = f"{DAY}10:45:00Z"
    assert seen(pod(RUNNING), heartbeat)[1] is None
    assert seen(pod(RUNNING), heartbeat, lost=True) == (ms(START), ms(heartbeat), "lost", None, None)
    assert seen(pod(terminated()), heartbeat, lost=True)[1:3] == (ms(END), "exited")


def test_a_pod_that_was_deleted_before_it_ran_never_will() -> None:
    deleted = {"deletionTimestamp": f"{DAY}10:59:00Z", "deletionGracePeriodSeconds": 0}
    waiting = {"waiting": {"reason": "ImagePullBackOff"}}
    unscheduled = pod(None, metadata=deleted, spec={"nodeName": ""}, status={"phase": "Pending"})
    assert seen(unscheduled)[:2] == (None, ms(NOW))
    assert seen(pod(waiting, metadata=deleted, status={"phase": "Pending"}))[:2] == (None, ms(NOW))
    just_now = {**deleted, "deletionTimestamp": f"{DAY}10:59:55Z"}
    assert seen(pod(waiting, metadata=just_now, status={"phase": "Pending"}))[1] is None


def test_a_pod_that_went_without_waiting_for_us() -> None:
    """It ended when it went; if nobody saw that, when it was last there."""
    running = pod(RUNNING, metadata=written()["metadata"])
    watched = read_deleted(running, ID, ms(NOW), missed=False)
    assert (watched.ended_at_ms, watched.cause, watched.alive_at_ms) == (ms(NOW), "evicted", None)
    missed = read_deleted(running, ID, ms(f"{DAY}10:40:00Z"), missed=True)
    assert (missed.ended_at_ms, missed.cause) == (ms(f"{DAY}10:40:00Z"), "lost")
    assert read_deleted(running, ID, 0, missed=True).ended_at_ms == ms(END)
    assert read_deleted(pod(terminated()), ID, ms(NOW), missed=True).cause == "exited"


@pytest.mark.parametrize("text", ["", "soon", "-5", "1e9", "12.5"])
def test_a_deadline_that_is_none_is_armed_anew(text: str) -> None:
    odd = pod(RUNNING, metadata={"annotations": {**IDENTITY, names.DEADLINE: text}})
    assert read(odd, ID, Vouched(ms(NOW))).armed_deadline_ms is None


def test_the_exact_names_are_those_of_the_annotations() -> None:
    assert claims_of(pod(RUNNING)) == Claims("alice@example.org", "user:alice@example.org", "h100-1x", "surplus")
    assert lease_id_of(pod(RUNNING)) == ID


def test_a_copy_of_a_lease_pod_is_a_lease_of_its_own() -> None:
    one, other = (pod(RUNNING, metadata={"name": "copy", "uid": uid}) for uid in ("u2", "u3"))
    ids = {lease_id_of(one), lease_id_of(other), ID}
    assert len(ids) == 3
    assert lease_id_of(one) == lease_id_of(deepcopy(one))


def test_a_pod_made_by_hand_is_a_lease_if_it_says_who_pays() -> None:
    """In labels, where an account is written with a dot."""
    labels = {**IDENTITY, names.LEASE: "x", names.USER: "alice", names.ACCOUNT: "group.ml"}
    made = pod(RUNNING, metadata={"name": "mine", "annotations": {}, "labels": labels})
    assert claims_of(made) == Claims("alice", "group:ml", "h100-1x", "surplus")
    assert lease_id_of(made) not in {None, "x"}
    nobody = {"name": "mine", "annotations": {}, "labels": {names.LEASE: ID, names.USER: "alice"}}
    assert lease_id_of(pod(RUNNING, metadata=nobody)) is None


OTHER = "f" * 32
"""As the id of a pod that somebody else made: not what its label says."""


def seen_of_other(one: Pod) -> tuple[int | None, int | None, str | None]:
    told = read(one, OTHER, Vouched(ms(NOW)))
    return told.started_at_ms, told.ended_at_ms, told.cause


def test_a_pod_made_by_hand_holds_its_gpu_from_the_first_start_to_the_last_end() -> None:
    again = {
        "name": "train",
        "state": {"running": {"startedAt": f"{DAY}10:10:00Z"}},
        "lastState": terminated(finishedAt=f"{DAY}10:09:00Z"),
    }
    spec = {"containers": [{"name": "train"}]}
    assert seen_of_other(pod(None, spec=spec, status={"containerStatuses": [again]}))[:2] == (ms(START), None)
    between = {**again, "state": terminated()}
    assert seen_of_other(pod(None, spec=spec, status={"containerStatuses": [between]}))[1] is None
    over = pod(None, spec=spec, status={"containerStatuses": [between], "phase": "Succeeded"})
    assert seen_of_other(over) == (ms(START), ms(END), "exited")


def test_a_container_called_notebook_hides_no_other_in_a_pod_made_by_hand() -> None:
    copy = pod(terminated(finishedAt=f"{DAY}10:00:06Z"))
    assert seen_of_other(copy) == (ms(START), None, None)
    assert seen(copy)[1] == ms(f"{DAY}10:00:06Z")


def test_what_holds_gpus_before_the_rest_of_a_pod_made_by_hand_counts() -> None:
    limits = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    spec = {"containers": [{"name": "main"}], "initContainers": [{"name": "train", **limits}, {"name": "fetch"}]}
    waiting = [{"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}]
    early = [
        {"name": "fetch", "state": {"running": {"startedAt": f"{DAY}10:00:01Z"}}},
        {"name": "train", "state": RUNNING},
    ]
    status = {"containerStatuses": waiting, "initContainerStatuses": early, "phase": "Pending"}
    assert seen_of_other(pod(None, spec=spec, status=status)) == (ms(START), None, None)


def with_gpus(amount: str, resource: str = "nvidia.com/gpu") -> dict[str, object]:
    limits = {"cpu": "1", "memory": "1Gi", resource: amount}
    return {"nodeName": "n1", "containers": [{"name": "c", "resources": {"limits": limits}}]}


def test_a_gpu_pod_without_a_lease_is_a_stray() -> None:
    bare = {"name": "miner", "labels": {}, "annotations": {}}
    assert stray_of(pod(None, metadata=bare, spec=with_gpus("2"))) == Stray("miner", 2)
    assert stray_of(pod(None, metadata=bare, spec=with_gpus("1", "nvidia.com/mig-1g.10gb"))) == Stray("miner", 1)
    assert stray_of(pod(None, metadata=bare, spec=with_gpus("8", "example.org/nic"))) is None
    early = {"containers": [{"name": "c"}], "initContainers": with_gpus("3")["containers"]}
    assert stray_of(pod(None, metadata=bare, spec=early)) == Stray("miner", 3)
    assert stray_of(pod(None, metadata=bare, spec=with_gpus("2"), status={"phase": "Succeeded"})) is None
    assert stray_of(pod(RUNNING, spec=with_gpus("2"))) is None
    serves = bare | {"labels": {"sublet.dev/serves": "llama-3.3-70b"}}
    assert stray_of(pod(None, metadata=serves, spec=with_gpus("2"))) is None
