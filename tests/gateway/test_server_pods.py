"""The pod of a model's server that is a lease, field by field."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from typing import Any

import pytest
from kubernetes_validate import validate

from sublet_hub.cluster.kube import identity, names
from sublet_hub.cluster.kube import objects as kube_objects
from sublet_hub.cluster.kube.capabilities import Capabilities
from sublet_hub.cluster.kube.lease_pods import PodLease, PodSettings
from sublet_hub.cluster.kube.placement import Placement, Toleration
from sublet_hub.domain.models import Licence, Model, ModelFile, Start, Upstream
from sublet_hub.gateway.server_pods import Owner, ServerPodSettings, Wanted, server_pod

GIB = 2**30
LEASE = PodLease(
    "0123456789abcdef" * 2, "admin", "user:admin", "h100-2x", "surplus", "model:tiny-1", 1_800_000_000_500
)
OWNER = Owner("sublet-gateway-7d9f-x2", "uid-1", "ab12")
NEW, OLD = (
    Capabilities(native_sidecars=True, probe_grace=True),
    Capabilities(native_sidecars=False, probe_grace=False),
)
SETTINGS = ServerPodSettings(
    PodSettings("warden:1", 700_000, priority_classes={"surplus": "low"}),
    *("models", "notebook:1", "vllm:1", "IfNotPresent", ("pull",), "sublet"),
)
TINY = Model(
    *("tiny", "Tiny", "Toy", "Chat", "", Licence("o", "O", "1", "https://example.org/", gated=True), "transformers"),
    revision="r1", files=(ModelFile("a.safetensors", 1, "0" * 64),),
)  # fmt: skip
TWO_GPUS = Placement(
    *("h100-2x", "h100", 2, 2000, 16, 128 * GIB, 32 * GIB),
    node_selector={"gpu": "h100"},
    tolerations=(Toleration("nvidia.com/gpu", "Exists", "", "NoSchedule"),),
    runtime_class="nvidia",
)
NO_GPU = Placement("cpu", "cpu", 0, 0, 2, 4 * GIB, 0)


def wanted(start: Start, placement: Placement = TWO_GPUS, *arguments: str) -> Wanted:
    upstream = Upstream(None, "tiny", start=start, flavor=placement.flavor, arguments=arguments)
    return Wanted(TINY, upstream, LEASE, placement)


def made(start: Start, placement: Placement = TWO_GPUS, *arguments: str, old: bool = False) -> dict[str, Any]:
    return server_pod(wanted(start, placement, *arguments), SETTINGS, OWNER, OLD if old else NEW)


def server(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = (each for each in pod["spec"]["containers"] if each["name"] == "notebook")
    return dict(found)


@pytest.mark.parametrize(("old", "version"), [(False, "1.36"), (True, "1.30")])
@pytest.mark.parametrize("start", ["vllm", "transformers", "fasttext"])
def test_the_api_server_would_take_it(start: Start, old: bool, version: str) -> None:
    validate(made(start, old=old), version, strict=True)


def test_the_meter_knows_it_as_the_leases_own() -> None:
    """Else it would be a lease past us, and the real one be voided."""
    pod = kube_objects.decoder(kube_objects.Pod).decode(_json(made("vllm")))
    assert identity.lease_id_of(pod) == LEASE.id
    claims = identity.claims_of(pod)
    assert claims is not None
    assert (claims.user, claims.account, claims.flavor, claims.tier) == ("admin", "user:admin", "h100-2x", "surplus")
    assert identity.has_warden(pod)
    assert identity.gpus_of(pod) == 2
    assert pod.metadata.finalizers == (names.FINALIZER,)
    assert pod.metadata.annotation(names.DEADLINE) == "1800000000500"


def _json(pod: dict[str, Any]) -> bytes:
    return json.dumps(pod | {"status": {}}).encode()


def test_it_is_known_what_it_serves_and_who_started_it() -> None:
    pod = made("vllm")["metadata"]
    assert pod["labels"]["sublet.dev/serves"] == "tiny"
    assert pod["labels"]["sublet.dev/gateway"] == OWNER.name
    assert pod["labels"]["sublet.dev/gateway-run"] == "ab12"
    assert pod["annotations"]["sublet.dev/gateway-uid"] == "uid-1"
    assert pod["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": OWNER.name, "uid": "uid-1"}]
    assert "app.kubernetes.io/component" not in pod["labels"], "no Service may select it by that"


def test_it_goes_where_its_flavor_goes_and_has_what_was_sold() -> None:
    spec = made("vllm")["spec"]
    assert spec["nodeSelector"] == {"gpu": "h100"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("nvidia", "low")
    sold = {"cpu": "16", "memory": "128Gi", "nvidia.com/gpu": "2"}
    assert server({"spec": spec})["resources"] == {"requests": sold, "limits": sold}
    assert spec["activeDeadlineSeconds"] == 700_000
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "32Gi"}} in spec["volumes"]


def test_it_sees_its_model_alone_and_can_not_write_it() -> None:
    pod = made("fasttext", NO_GPU)
    (store,) = (each for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each)
    assert store["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    mounts = {each["mountPath"]: each for each in server(pod)["volumeMounts"]}
    assert mounts.keys() == {"/tmp", "/serving/model"}
    assert mounts["/serving/model"] == {
        "name": "models", "mountPath": "/serving/model", "subPath": "gated/tiny/r1", "readOnly": True,
    }  # fmt: skip


def test_it_is_restricted() -> None:
    spec = made("vllm")["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    for each in (*spec["containers"], *spec["initContainers"]):
        security = each["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_vllm_serves_it_under_its_name_on_all_gpus() -> None:
    found = server(made("vllm", TWO_GPUS, "--max-model-len", "8192", "$(HOME)"))
    assert (found["image"], found["command"]) == ("vllm:1", ["vllm", "serve"])
    assert found["args"] == [
        *("/serving/model", "--served-model-name", "tiny", "--host", "0.0.0.0", "--port", "8000"),
        *("--tensor-parallel-size", "2", "--disable-uvicorn-access-log", "--max-model-len", "8192", "$$(HOME)"),
    ]
    one = replace(TWO_GPUS, gpus=1, gpus_milli=1000)
    assert "--tensor-parallel-size" not in server(made("vllm", one))["args"]


@pytest.mark.parametrize("start", ["transformers", "fasttext"])
def test_a_program_of_ours_comes_with_the_pod(start: Start) -> None:
    found = server(made(start))
    assert (found["image"], found["command"]) == ("notebook:1", ["python", "-I", "-c"])
    program, *rest = found["args"]
    ast.parse(program.replace("$$", "$"))
    assert "def main(address: str, name: str, folder: str)" in program
    assert rest == ["0.0.0.0:8000", "tiny", "/serving/model"]


def test_without_a_gpu_it_is_told_that_there_is_none() -> None:
    told = {each["name"]: each["value"] for each in server(made("fasttext", NO_GPU))["env"]}
    assert (told["NVIDIA_VISIBLE_DEVICES"], told["CUDA_VISIBLE_DEVICES"]) == ("void", "")
    with_gpus = {each["name"] for each in server(made("vllm"))["env"]}
    assert not with_gpus & {"NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"}, "the device plugin says which"


def test_its_end_takes_two_seconds() -> None:
    pod = made("vllm")
    assert pod["spec"]["terminationGracePeriodSeconds"] == 2
    assert server(pod)["livenessProbe"]["terminationGracePeriodSeconds"] == 2
