"""A store on each node's own disk: who fills it stands apart, and the release's pods stay what they are."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.rendering import MINIMAL, NODE_LOCAL, Object, containers, named, of_kind, pods, refusal, render

pytestmark = pytest.mark.helm

APART = "sublet-models"
PATH = "/mnt/nvme/models"


def objects() -> list[Object]:
    return render(NODE_LOCAL, namespace="gpus")


def test_the_claim_leads_to_the_folder_of_the_node_that_a_pod_is_on() -> None:
    claim = named(objects(), "PersistentVolumeClaim", "sublet-models")["spec"]
    (volume,) = of_kind(objects(), "PersistentVolume")
    assert claim["volumeName"] == volume["metadata"]["name"] == "gpus-sublet-models"
    assert claim["storageClassName"] == volume["spec"]["storageClassName"] == ""
    assert volume["spec"]["claimRef"] == {"namespace": "gpus", "name": "sublet-models"}
    assert volume["spec"]["capacity"]["storage"] == claim["resources"]["requests"]["storage"] == "100Gi"
    assert volume["spec"]["accessModes"] == claim["accessModes"]
    assert volume["spec"]["hostPath"] == {"path": f"{PATH}/store", "type": "Directory"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_a_pod_on_each_node_fills_it_in_place_of_the_job() -> None:
    assert not of_kind(objects(), "Job")
    (daemons,) = of_kind(objects(), "DaemonSet")
    spec = daemons["spec"]["template"]["spec"]
    (models,) = spec["containers"]
    assert "SUBLET_MODELS_DIR=/models/store sublet models add --all" in models["args"][-1]
    assert {each["name"]: each["mountPath"] for each in models["volumeMounts"]}["models"] == "/models"
    paths = {each["name"]: each["hostPath"]["path"] for each in spec["volumes"] if "hostPath" in each}
    assert paths == {"models": PATH}
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}


def test_only_the_folders_maker_is_root_and_may_give_it_away() -> None:
    (daemons,) = of_kind(objects(), "DaemonSet")
    maker, filler = containers(daemons["spec"]["template"])
    assert maker["securityContext"]["runAsUser"] == 0
    assert maker["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert filler["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert daemons["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 1000


def test_it_stands_in_a_namespace_of_its_own_with_all_that_it_needs() -> None:
    apart = {(each["kind"], each["metadata"]["name"]) for each in objects() if _namespace(each) == APART}
    assert apart == {
        ("DaemonSet", "sublet-models"),
        ("ConfigMap", "sublet-models"),
        ("ConfigMap", "sublet-settings"),
        ("ServiceAccount", "sublet-models"),
        ("NetworkPolicy", "sublet-models"),
    }
    in_release = pods([each for each in objects() if _namespace(each) != APART])
    kinds = {kind for pod in in_release.values() for volume in pod["spec"]["volumes"] for kind in volume}
    assert "hostPath" not in kinds


def _namespace(each: Object) -> str:
    return str(each["metadata"].get("namespace", "gpus"))


def test_it_is_filled_anew_when_the_catalogue_changes() -> None:
    def checksum(catalogue: str) -> str:
        values = {"models": {"catalogue": catalogue}}
        (daemons,) = of_kind(render(NODE_LOCAL, values=values, namespace="gpus"), "DaemonSet")
        return str(daemons["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])

    assert checksum("# one") == checksum("# one") != checksum("# two")


def test_without_policies_there_is_none_there_either() -> None:
    assert not of_kind(render(NODE_LOCAL, MINIMAL, namespace="gpus"), "NetworkPolicy")


@pytest.mark.parametrize(
    ("node_local", "said"),
    [
        ({"enabled": True}, "must be a namespace of its own"),
        ({"enabled": True, "namespace": "default"}, "must be a namespace of its own"),
        ({"enabled": True, "namespace": "apart", "path": "relative"}, "specifications of the schema"),
        ({"enabled": True, "namespace": "apart", "pth": "/a"}, "specifications of the schema"),
    ],
)
def test_what_would_not_be_apart_is_refused(node_local: dict[str, Any], said: str) -> None:
    assert said in refusal({"models": {"catalogue": "#", "store": {"nodeLocal": node_local}}})


def test_two_stores_are_refused() -> None:
    store = {"nodeLocal": {"enabled": True, "namespace": "apart"}, "existingClaim": "mine"}
    assert "exclude each other" in refusal({"models": {"catalogue": "#", "store": store}})
