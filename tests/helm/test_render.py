"""The chart renders with all sorts of values, to objects that several versions of Kubernetes take."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils as validation

from tests.helm.rendering import (
    CHART,
    EVERYTHING,
    MINIMAL,
    NODE_LOCAL,
    OLDEST,
    helm,
    named,
    of_kind,
    pods,
    refusal,
    render,
)

pytestmark = pytest.mark.helm

FILES: dict[str, tuple[Path, ...]] = {
    "default": (),
    "everything": (EVERYTHING,),
    "minimal": (MINIMAL,),
    "node-local": (NODE_LOCAL,),
}
VERSIONS = [each for each in dict.fromkeys(validation.all_versions()) if int(each.split(".")[1]) >= 30]
NOT_OF_KUBERNETES = {"HTTPRoute"}
"""Kinds that are installed on top: there is no schema of them to check against."""


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "schema_contents", functools.cache(validation.schema_contents))
        yield


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_helm_finds_no_fault(files: tuple[Path, ...]) -> None:
    done = helm("lint", "--strict", CHART, *(part for path in files for part in ("-f", path)))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_every_object_fits_the_schema(files: tuple[Path, ...], version: str) -> None:
    objects = render(*files, version=version)
    checked = [each for each in objects if each["kind"] not in NOT_OF_KUBERNETES]
    assert len(checked) >= 14
    for each in checked:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_versions_checked_reach_from_the_floor_to_one_that_is_new() -> None:
    assert VERSIONS[0].startswith("1.30")
    assert len(VERSIONS) >= 7


def test_a_wrong_object_would_be_found() -> None:
    wrong = {**render()[0], "valeu": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_older_clusters_get_what_they_have() -> None:
    versions = {each["kind"]: each["apiVersion"] for each in render(EVERYTHING, version=OLDEST)}
    assert versions["PodDisruptionBudget"] == "policy/v1beta1"
    assert versions["Ingress"] == "networking.k8s.io/v1"
    assert {each["kind"]: each["apiVersion"] for each in render()}["PodDisruptionBudget"] == "policy/v1"


def test_clusters_that_are_too_old_are_refused() -> None:
    done = helm("template", "sublet", CHART, "--kube-version", "1.19.0")
    assert done.returncode != 0
    assert "kubeVersion" in done.stderr


def test_names_are_unique_and_begin_with_the_release() -> None:
    objects = render(EVERYTHING, release="gpus", namespace="research")
    keys = [(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in objects]
    assert len(set(keys)) == len(keys)
    for kind, namespace, name in keys:
        whole_cluster = (
            kind in {"ClusterRole", "ClusterRoleBinding", "PriorityClass"} or namespace == "kube-node-lease"
        )
        assert name.startswith("research-gpus-sublet" if whole_cluster else "gpus-sublet"), (kind, name)


@pytest.mark.parametrize("release", ["r" * 53, "sublet"])
def test_no_name_is_too_long(release: str) -> None:
    objects = render(release=release, namespace="n" * 63)
    assert max(len(each["metadata"]["name"]) for each in objects if each["kind"] == "Service") <= 63
    labels = [value for each in objects for value in each["metadata"]["labels"].values()]
    assert max(map(len, labels)) <= 63


def test_sqlite_is_opened_on_one_node_by_one_of_each() -> None:
    objects = render()
    api, meter = (named(objects, "Deployment", f"sublet-{each}") for each in ("api", "meter"))
    assert [each["spec"]["replicas"] for each in (api, meter)] == [1, 1]
    assert [each["spec"]["strategy"]["type"] for each in (api, meter)] == ["Recreate", "Recreate"]
    assert claim_of(api) == claim_of(meter) == "sublet-data"
    (beside,) = api["spec"]["template"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert beside["topologyKey"] == "kubernetes.io/hostname"
    assert beside["labelSelector"] == meter["spec"]["selector"]
    assert {each["metadata"]["name"] for each in of_kind(objects, "PersistentVolumeClaim")} == {
        "sublet-data",
        "sublet-hub",
    }


def test_what_the_values_say_of_placement_holds_beside_it() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}
    affinity = {"nodeAffinity": {}, "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    api = named(render(values={"api": {"affinity": affinity}}), "Deployment", "sublet-api")
    placed = api["spec"]["template"]["spec"]["affinity"]
    assert placed["nodeAffinity"] == {}
    assert placed["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0] == term
    assert len(placed["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]) == 2


def test_postgresql_takes_the_place_of_claims() -> None:
    secret = {"existingSecret": {"name": "pg", "key": "url"}}
    objects = render(values={"database": secret, "hubDatabase": secret})
    api, meter = (named(objects, "Deployment", f"sublet-{each}") for each in ("api", "meter"))
    assert [each["spec"]["replicas"] for each in (api, meter)] == [2, 2]
    assert claim_of(api) is claim_of(meter) is None
    assert not of_kind(objects, "PersistentVolumeClaim")
    budgets = {each["metadata"]["name"] for each in of_kind(objects, "PodDisruptionBudget")}
    assert budgets == {"sublet-api", "sublet-meter", "sublet-notebooks"}
    asked = {"secretKeyRef": {"name": "pg", "key": "url"}}
    for name, pod in pods(objects).items():
        environment = environment_of(pod)
        assert (environment.get("SUBLET_DATABASE_URL") == asked) == (name in {"sublet-api", "sublet-meter"})
        assert (environment.get("SUBLET_HUB_DATABASE_URL") == asked) == (name == "sublet-hub")


def test_several_with_sqlite_are_refused() -> None:
    assert "need PostgreSQL" in refusal({"api": {"replicas": 2}})
    assert "need PostgreSQL" in refusal({"meter": {"replicas": 2}})


def test_single_pods_have_no_budget_that_would_keep_a_node_from_being_drained() -> None:
    (budget,) = of_kind(render(), "PodDisruptionBudget")
    assert budget["metadata"]["name"] == "sublet-notebooks"
    assert budget["spec"]["selector"] == {
        "matchExpressions": [
            {"key": "sublet.dev/lease", "operator": "Exists"},
            {"key": "sublet.dev/serves", "operator": "DoesNotExist"},
        ]
    }


def test_surplus_gives_way_to_pods_without_a_class_and_guaranteed_pushes_nobody_out() -> None:
    classes = {each["metadata"]["name"]: each for each in of_kind(render(), "PriorityClass")}
    assert classes["sublet-surplus"]["value"] < 0 < classes["sublet-guaranteed"]["value"]
    assert classes["sublet-guaranteed"]["value"] < classes["sublet-platform"]["value"]
    assert classes["sublet-guaranteed"]["preemptionPolicy"] == "Never"
    assert not any(each.get("globalDefault") for each in classes.values())


def claim_of(deployment: dict[str, Any]) -> str | None:
    (data,) = (each for each in deployment["spec"]["template"]["spec"]["volumes"] if each["name"] == "data")
    claim: str | None = data.get("persistentVolumeClaim", {}).get("claimName")
    return claim


def environment_of(pod: dict[str, Any]) -> dict[str, Any]:
    return {
        each["name"]: each.get("value", each.get("valueFrom")) for each in pod["spec"]["containers"][0].get("env", ())
    }
