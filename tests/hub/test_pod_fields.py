"""What a grant becomes on Kubernetes, field by field."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from kubernetes_validate import validate

from sublet_hub.cluster.kube import warden as guard
from sublet_hub.cluster.kube.lease_pods import (
    PlacementError,
    gpu_request,
    metadata,
    placement_of,
    resources,
    toleration,
)
from sublet_hub.cluster.kube.placement import Toleration
from sublet_hub.cluster.kube.warden import UnguardedError
from sublet_hub.hub.messages import Grant
from sublet_hub.hub.pod_fields import environment, lease_of, lease_pod
from tests.hub.pods import CPU, DEADLINE_MS, LEASE, NEW, OLD, SETTINGS, grant, placement, plain_pod, warden


def made(pod: dict[str, Any] | None = None, old: bool = False, **fields: Any) -> dict[str, Any]:
    asked = plain_pod() if pod is None else pod
    before = copy.deepcopy(asked)
    pod = lease_pod(asked, grant(), placement(**fields), SETTINGS, "home-ada", warden(OLD if old else NEW))
    assert asked == before, "what is given is left alone"
    return pod


def notebook(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = (each for each in pod["spec"]["containers"] if each["name"] == "notebook")
    return dict(found)


def test_the_pod_of_a_lease_is_exactly_this() -> None:
    two_gpus = {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "2"}
    assert made() == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "jupyter-ada",
            "labels": {
                "component": "singleuser-server",
                "sublet.dev/lease": LEASE,
                "sublet.dev/user": "Ada-Example.org--4c112e4a",
                "sublet.dev/account": "group.ml",
                "sublet.dev/flavor": "h100-2x",
                "sublet.dev/tier": "surplus",
            },
            "annotations": {
                "hub.jupyter.org/username": "Ada@Example.org",
                "sublet.dev/lease": LEASE,
                "sublet.dev/user": "Ada@Example.org",
                "sublet.dev/account": "group:ml",
                "sublet.dev/flavor": "h100-2x",
                "sublet.dev/tier": "surplus",
                "sublet.dev/server": "big one",
                "sublet.dev/deadline": DEADLINE_MS,
                "sublet.dev/deadline-reason": "quota",
            },
            "finalizers": ["sublet.dev/metering"],
        },
        "spec": {
            "activeDeadlineSeconds": 700_000,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "nodeSelector": {"gpu": "h100"},
            "priorityClassName": "sublet-surplus",
            "restartPolicy": "Never",
            "runtimeClassName": "nvidia",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1234,
                "runAsGroup": 1234,
                "fsGroup": 1234,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "shareProcessNamespace": False,
            "terminationGracePeriodSeconds": 7,
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "initContainers": [guard.container(warden())],
            "containers": [
                {
                    "name": "notebook",
                    "image": "notebook:1",
                    "env": [{"name": "A", "value": "b"}],
                    "ports": [{"containerPort": 8888, "name": "notebook-port"}],
                    "livenessProbe": guard.liveness_probe(warden()),
                    "resources": {"limits": two_gpus, "requests": two_gpus},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1234,
                        "runAsGroup": 1234,
                        "privileged": False,
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [
                        {"name": "sublet-home", "mountPath": "/home/jovyan"},
                        {"name": "sublet-tmp", "mountPath": "/tmp"},
                        {"name": "sublet-shm", "mountPath": "/dev/shm"},
                        {"name": "sublet-models", "mountPath": "/models/open", "subPath": "open", "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "sublet-home", "persistentVolumeClaim": {"claimName": "home-ada"}},
                {"name": "sublet-tmp", "emptyDir": {}},
                {"name": "sublet-shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}},
                {"name": "sublet-models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
                guard.volume(),
            ],
        },
    }


def test_a_gated_model_is_mounted_where_it_may_be_read_and_none_where_the_place_is_taken() -> None:
    pod = lease_pod(plain_pod(), grant(models=["llama", "esm"]), placement(), SETTINGS, "home-ada", warden())
    assert [each for each in notebook(pod)["volumeMounts"] if each["name"] == "sublet-models"] == [
        {"name": "sublet-models", "mountPath": "/models/open", "subPath": "open", "readOnly": True},
        {"name": "sublet-models", "mountPath": "/models/gated/esm", "subPath": "gated/esm", "readOnly": True},
        {"name": "sublet-models", "mountPath": "/models/gated/llama", "subPath": "gated/llama", "readOnly": True},
    ]
    assert [each["name"] for each in pod["spec"]["volumes"]].count("sublet-models") == 1
    validate(pod, "1.36", strict=True)
    own = made(plain_pod(volumeMounts=[{"name": "own", "mountPath": "/models"}]))
    assert "sublet-models" not in [each["name"] for each in own["spec"]["volumes"]]


@pytest.mark.parametrize("version", ["1.30", "1.36"])
@pytest.mark.parametrize("old", [False, True])
def test_the_api_knows_every_field_of_it(version: str, old: bool) -> None:
    validate(made(old=old), version, strict=True)


def test_without_native_sidecars_the_warden_is_started_first() -> None:
    pod = made(old=True)
    assert [each["name"] for each in pod["spec"]["containers"]] == ["warden", "notebook"]
    assert "initContainers" not in pod["spec"]


def test_every_container_has_requests_that_are_limits() -> None:
    pod = made()
    for each in (*pod["spec"]["containers"], *pod["spec"]["initContainers"]):
        assert each["resources"]["requests"] == each["resources"]["limits"]


def test_what_was_configured_stays_where_it_takes_nothing_from_a_lease() -> None:
    pod = plain_pod(
        volumeMounts=[{"name": "mine", "mountPath": "/home/jovyan"}, {"name": "data", "mountPath": "/data"}],
        securityContext={"readOnlyRootFilesystem": True, "runAsUser": 0, "privileged": True},
        resources={"limits": {"nvidia.com/gpu": "8"}, "requests": {"cpu": "64"}},
    )
    pod["metadata"]["labels"]["sublet.dev/user"] = "another"
    pod["spec"] |= {
        "nodeSelector": {"gpu": "a100", "disk": "fast"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "volumes": [{"name": "mine", "emptyDir": {}}, {"name": "data", "emptyDir": {}}],
        "securityContext": {"supplementalGroups": [7], "runAsUser": 0, "seccompProfile": {"type": "Unconfined"}},
        "automountServiceAccountToken": True,
    }
    kept = made(pod)
    assert kept["metadata"]["labels"]["sublet.dev/user"] == "Ada-Example.org--4c112e4a"
    spec, container = kept["spec"], notebook(kept)
    assert spec["nodeSelector"] == {"gpu": "h100", "disk": "fast"}
    assert [each["key"] for each in spec["tolerations"]] == ["spot", "nvidia.com/gpu"]
    assert (spec["securityContext"]["supplementalGroups"], spec["securityContext"]["runAsUser"]) == ([7], 1234)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["resources"]["limits"] == {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "2"}
    security = container["securityContext"]
    assert (security["readOnlyRootFilesystem"], security["runAsUser"], security["privileged"]) == (True, 1234, False)
    assert [each["name"] for each in container["volumeMounts"]][:3] == ["mine", "data", "sublet-tmp"]
    assert "sublet-home" not in {each["name"] for each in spec["volumes"]}


def test_a_pod_that_could_outlive_its_deadline_is_refused() -> None:
    with pytest.raises(UnguardedError):
        made(plain_pod(startupProbe={"exec": {"command": ["true"]}}))


def test_without_gpus_nothing_is_asked_for_and_none_is_seen() -> None:
    assert resources(CPU)["limits"] == {"cpu": "16", "memory": "128Gi"}
    env = environment(grant(), CPU)
    assert (env["NVIDIA_VISIBLE_DEVICES"], env["CUDA_VISIBLE_DEVICES"]) == ("void", "")


def test_less_of_the_cpus_may_be_set_aside_but_never_of_memory_or_gpus() -> None:
    made = resources(CPU, 5)
    assert made["requests"] == {**made["limits"], "cpu": "800m"}
    assert made["limits"]["cpu"] == "16"


def test_with_gpus_the_device_plugin_says_which() -> None:
    assert environment(grant(), placement()) == {
        "HOME": "/home/jovyan",
        "CPU_LIMIT": "16",
        "MEM_LIMIT": str(128 * 2**30),
        "OMP_NUM_THREADS": "16",
        "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",
    }


def test_simulated_gpus_are_told_of_and_not_asked_for() -> None:
    simulated = placement(resource=None)
    assert gpu_request(simulated) == {}
    env = environment(grant(simulated=True), simulated)
    assert (env["SUBLET_SIMULATED"], env["NVIDIA_VISIBLE_DEVICES"]) == ("1", "void")


def test_slices_are_asked_for_by_their_profile() -> None:
    assert gpu_request(placement(resource="nvidia.com/mig-1g.10gb")) == {"nvidia.com/mig-1g.10gb": "2"}


def test_without_a_home_without_models_without_shared_memory_there_is_a_home_for_the_time_being() -> None:
    settings = type(SETTINGS)(warden_image="warden:1", hard_cap_seconds=1, has_home=False)
    pod = lease_pod(plain_pod(), grant(), CPU, settings, "home-ada", warden())
    assert pod["spec"]["volumes"] == [
        {"name": "sublet-home", "emptyDir": {}},
        {"name": "sublet-tmp", "emptyDir": {}},
        guard.volume(),
    ]
    for name in ("nodeSelector", "tolerations", "runtimeClassName", "priorityClassName"):
        assert name not in pod["spec"]


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        (Toleration(operator="Exists"), {"operator": "Exists"}),
        (
            Toleration("a", "Equal", "b", "NoExecute", 0),
            {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 0},
        ),
    ],
)
def test_a_toleration_says_what_is_not_empty(given: Toleration, fields: dict[str, Any]) -> None:
    assert toleration(given) == fields


def test_a_deadline_without_a_reason_is_a_limit() -> None:
    assert metadata(lease_of(grant(deadline_reason=None)))["annotations"]["sublet.dev/deadline-reason"] == "limit"


def test_shared_memory_of_a_half_gib_is_told_in_bytes() -> None:
    pod = made(shm_bytes=2**29)
    assert pod["spec"]["volumes"][2]["emptyDir"]["sizeLimit"] == "536870912"


@pytest.mark.parametrize("of", [grant(flavor="h200"), grant(gpus_milli=1000)])
def test_what_was_granted_by_another_catalog_is_not_placed(of: Grant) -> None:
    with pytest.raises(PlacementError):
        placement_of(of.flavor, of.gpus_milli, {"h100-2x": placement()})


def test_what_was_granted_by_the_same_is() -> None:
    assert placement_of("h100-2x", 2000, {"h100-2x": placement()}) == placement()
