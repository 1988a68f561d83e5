"""What the kubelet is told, so that it ends a lease's notebook at its deadline."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from sublet_hub.cluster.kube import warden
from sublet_hub.cluster.kube.capabilities import Capabilities, capabilities_of
from sublet_hub.cluster.kube.warden import UnguardedError, Warden

OLD = Capabilities(native_sidecars=False, probe_grace=False)
NEW = Capabilities(native_sidecars=True, probe_grace=True)

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "lease-1"},
    "spec": {
        "containers": [{"name": "notebook", "image": "notebook:1"}, {"name": "other", "image": "other:1"}],
        "initContainers": [{"name": "before", "image": "before:1"}],
        "volumes": [{"name": "home", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 30,
    },
}


def made(capabilities: Capabilities, grace_seconds: int = 10) -> Warden:
    return Warden("warden:1", capabilities, grace_seconds)


@pytest.mark.parametrize(
    ("major", "minor", "native_sidecars", "probe_grace"),
    [
        ("1", "20", False, False),
        ("1", "24+", False, False),
        ("1", "25", False, True),
        ("1", "28", False, True),
        ("1", "29", True, True),
        ("1", "30+", True, True),
        ("1", "36", True, True),
        ("2", "0", True, True),
    ],
)
def test_capabilities_follow_the_version(major: str, minor: str, native_sidecars: bool, probe_grace: bool) -> None:
    assert capabilities_of(major, minor) == Capabilities(native_sidecars, probe_grace)


@pytest.mark.parametrize("minor", ["", "x", "+29"])
def test_a_version_without_a_number_is_no_version(minor: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        capabilities_of("1", minor)


def test_the_container_where_there_are_native_sidecars() -> None:
    assert warden.container(made(NEW)) == {
        "name": "warden",
        "image": "warden:1",
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": ["hold", "--file", "/run/sublet/deadline", "--port", "19191", "--lead-ms", "2000"],
        "lifecycle": {
            "postStart": {"exec": {"command": ["/warden", "ready", "--port", "19191", "--within-ms", "10000"]}}
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "32Mi"},
            "limits": {"cpu": "100m", "memory": "32Mi"},
        },
        "securityContext": {
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "runAsNonRoot": True,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "sublet-deadline", "mountPath": "/run/sublet", "readOnly": True}],
    }


def test_an_ordinary_container_leaves_by_itself() -> None:
    container = warden.container(made(OLD, grace_seconds=10))
    assert "restartPolicy" not in container
    assert container["args"][-4:] == ["--leave-after-ms", "40000", "--notebook-port", "8888"]


def test_the_probe_asks_the_warden() -> None:
    asked = {
        "httpGet": {"path": "/", "port": 19191, "scheme": "HTTP"},
        "periodSeconds": 1,
        "timeoutSeconds": 3,
        "failureThreshold": 3,
        "successThreshold": 1,
    }
    assert warden.liveness_probe(made(OLD)) == asked
    assert warden.liveness_probe(made(NEW)) == {**asked, "terminationGracePeriodSeconds": 10}


def test_the_volume_is_the_annotation() -> None:
    assert warden.volume() == {
        "name": "sublet-deadline",
        "downwardAPI": {
            "defaultMode": 0o444,
            "items": [{"path": "deadline", "fieldRef": {"fieldPath": "metadata.annotations['sublet.dev/deadline']"}}],
        },
    }


def test_a_pod_with_native_sidecars() -> None:
    before = deepcopy(POD)
    spec = warden.with_warden(POD, made(NEW))["spec"]
    assert spec == {
        "restartPolicy": "Never",
        "shareProcessNamespace": False,
        "initContainers": [warden.container(made(NEW)), {"name": "before", "image": "before:1"}],
        "containers": [
            {"name": "notebook", "image": "notebook:1", "livenessProbe": warden.liveness_probe(made(NEW))},
            {"name": "other", "image": "other:1"},
        ],
        "volumes": [{"name": "home", "emptyDir": {}}, warden.volume()],
        "terminationGracePeriodSeconds": 30,
    }
    assert before == POD, "the pod that was handed in is left as it was"


def test_a_pod_without_them_starts_the_warden_first() -> None:
    spec = warden.with_warden(POD, made(OLD))["spec"]
    assert [each["name"] for each in spec["containers"]] == ["warden", "notebook", "other"]
    assert [each["name"] for each in spec["initContainers"]] == ["before"]
    assert spec["containers"][1]["livenessProbe"] == warden.liveness_probe(made(OLD))


def test_without_a_grace_of_the_probe_the_pods_own_is_the_notebooks() -> None:
    assert warden.with_warden(POD, made(OLD, grace_seconds=10))["spec"]["terminationGracePeriodSeconds"] == 10
    assert warden.with_warden(POD, made(OLD, grace_seconds=0))["spec"]["terminationGracePeriodSeconds"] == 2


@pytest.mark.parametrize(
    ("notebook", "spec", "said"),
    [
        ({"startupProbe": {"exec": {"command": ["true"]}}}, {}, "startupProbe"),
        ({"lifecycle": {"postStart": {"exec": {"command": ["true"]}}}}, {}, "postStart"),
        ({"volumeMounts": [{"name": "sublet-deadline", "mountPath": "/x"}]}, {}, "only the warden"),
        ({}, {"hostNetwork": True}, "hostNetwork"),
        ({}, {"hostPID": True}, "hostPID"),
        ({}, {"shareProcessNamespace": True}, "shareProcessNamespace"),
        ({"name": "jupyter"}, {}, "no container 'notebook'"),
    ],
)
def test_no_pod_is_made_from_which_code_could_escape(
    notebook: dict[str, Any], spec: dict[str, Any], said: str
) -> None:
    pod = {**POD, "spec": {"containers": [{"name": "notebook", **notebook}], **spec}}
    with pytest.raises(UnguardedError, match=said):
        warden.with_warden(pod, made(NEW))


def test_what_is_no_escape_is_let_be() -> None:
    notebook = {"name": "notebook", "lifecycle": {"preStop": {"exec": {"command": ["true"]}}}, "startupProbe": None}
    pod = {**POD, "spec": {"containers": [notebook], "hostNetwork": False}}
    assert warden.with_warden(pod, made(NEW))["spec"]["containers"][0]["lifecycle"] == notebook["lifecycle"]


@pytest.mark.parametrize(("grace_seconds", "margin_ms"), [(0, 12_000), (2, 12_000), (10, 20_000)])
def test_the_margin_is_for_a_notebook_that_resists(grace_seconds: int, margin_ms: int) -> None:
    assert warden.end_margin_ms(grace_seconds) == margin_ms


@pytest.mark.parametrize(
    ("hard_cap_ms", "seconds"), [(1_060_000, 60), (1_060_001, 61), (1_000_001, 1), (1_000_000, 1), (0, 1)]
)
def test_the_hard_cap_is_rounded_up(hard_cap_ms: int, seconds: int) -> None:
    assert warden.active_deadline_seconds(1_000_000, hard_cap_ms) == seconds


@pytest.mark.parametrize(
    ("current", "started_at_ms", "deadline_ms", "reason", "lowered"),
    [
        (3600, 1_000_000, 1_060_000, "admin", 75),
        (3600, 1_000_000, 1_060_001, "reclaim", 76),
        (None, 1_000_000, 1_060_000, "replaced", 75),
        (3600, 1_000_000, 0, "admin", 1),
        (75, 1_000_000, 1_060_000, "admin", None),
        (74, 1_000_000, 1_060_000, "admin", None),
        (3600, None, 1_060_000, "admin", None),
        (3600, 1_000_000, 1_060_000, "quota", None),
        (3600, 1_000_000, 1_060_000, "limit", None),
        (3600, 1_000_000, 1_060_000, "idle", None),
        (3600, 1_000_000, 1_060_000, "not a reason", None),
    ],
)
def test_the_hard_cap_is_lowered_for_an_order_and_for_nothing_else(
    current: int | None, started_at_ms: int | None, deadline_ms: int, reason: str, lowered: int | None
) -> None:
    assert warden.lowered_active_deadline(current, started_at_ms, deadline_ms, reason) == lowered
