"""What each component may do and see. Exact, so that no right is added unseen."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sublet_hub.credentials import Credentials, Secrets
from tests.helm.rendering import EVERYTHING, MINIMAL, NAMESPACE, containers, named, of_kind, pods, render

pytestmark = pytest.mark.helm

FILES: dict[str, tuple[Path, ...]] = {"default": (), "everything": (EVERYTHING,), "minimal": (MINIMAL,)}
VOLUMES_OF_RESTRICTED = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
"""Of those that Pod Security allows, the ones that we use."""


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_every_pod_is_restricted(files: tuple[Path, ...]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a read-only root."""
    found = pods(render(*files))
    ours = {"sublet-hub", "sublet-proxy", "sublet-api", "sublet-meter", "sublet-check"}
    with_models = {"sublet-gateway", "sublet-models", *SERVERS} if EVERYTHING in files else set()
    assert {re.sub(r"^(sublet-models)-[0-9a-f]{10}$", r"\1", name) for name in found} == ours | with_models
    for name, pod in found.items():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= VOLUMES_OF_RESTRICTED
        for each in containers(pod):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert each["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in each["resources"]["limits"]
            assert not any("hostPort" in port for port in each.get("ports", ()))
            assert "/tmp" in {mount["mountPath"] for mount in each["volumeMounts"]}


SERVERS = {f"sublet-model-{name}" for name in ("llama-3-3-70b", "fasttext-lid-176", "sublet-tiny-llama")}


def rules(objects: list[dict[str, Any]], kind: str, name: str) -> dict[tuple[str, ...], set[str]]:
    return {
        (group, resource, *rule.get("resourceNames", ())): set(rule["verbs"])
        for rule in named(objects, kind, name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_hub_may_do_what_kubespawner_does_and_no_more() -> None:
    assert rules(render(), "Role", "sublet-hub") == {
        ("", "pods"): {"get", "list", "watch", "create", "delete"},
        ("", "persistentvolumeclaims"): {"get", "create", "delete"},
        ("", "events"): {"list", "watch"},
    }


def test_the_meter_may_watch_and_end_pods_and_look_at_nodes() -> None:
    objects = render(namespace="gpus")
    assert rules(objects, "Role", "sublet-meter") == {
        ("", "pods"): {"get", "list", "watch", "patch", "delete"},
        ("coordination.k8s.io", "leases"): {"create"},
        ("coordination.k8s.io", "leases", "sublet-meter"): {"get", "patch"},
    }
    assert rules(objects, "ClusterRole", "gpus-sublet-meter") == {("", "nodes"): {"get", "list", "watch"}}
    assert rules(objects, "Role", "gpus-sublet-meter") == {("coordination.k8s.io", "leases"): {"get"}}
    assert named(objects, "Role", "gpus-sublet-meter")["metadata"]["namespace"] == "kube-node-lease"


@pytest.mark.parametrize(
    ("files", "more"), [((), set()), ((EVERYTHING,), {"sublet-gateway"})], ids=["default", "everything"]
)
def test_nobody_else_has_any_right(files: tuple[Path, ...], more: set[str]) -> None:
    """`more`: a gateway that leases."""
    objects = render(*files)
    roles = {(each["kind"], each["metadata"]["name"]) for each in objects if each["kind"].endswith("Role")}
    assert roles == {
        ("Role", "sublet-hub"),
        ("Role", "sublet-meter"),
        ("ClusterRole", "sublet-meter"),
        *(("Role", each) for each in more),
    }
    bound = {
        (each["roleRef"]["kind"], each["roleRef"]["name"], each["metadata"].get("namespace", ""), subject["name"])
        for each in objects
        if each["kind"].endswith("RoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {
        ("Role", "sublet-hub", "", "sublet-hub"),
        ("Role", "sublet-meter", "", "sublet-meter"),
        ("Role", "sublet-meter", "kube-node-lease", "sublet-meter"),
        ("ClusterRole", "sublet-meter", "", "sublet-meter"),
        *(("Role", each, "", each) for each in more),
    }
    tokens = {name for name, pod in pods(objects).items() if pod["spec"]["automountServiceAccountToken"]}
    assert tokens == {"sublet-hub", "sublet-meter"} | more


LEASED_MODELS = {"settings": {"model_account": "user:admin"}, "models": {"catalogue": "# none yet"}}


def test_only_a_gateway_that_leases_may_make_pods() -> None:
    objects = render(values=LEASED_MODELS)
    assert rules(objects, "Role", "sublet-gateway") == {("", "pods"): {"create", "get", "list", "delete"}}
    (subject,) = named(objects, "RoleBinding", "sublet-gateway")["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "sublet-gateway", "namespace": NAMESPACE}
    spec = pods(objects)["sublet-gateway"]["spec"]
    assert spec["automountServiceAccountToken"] is True
    told = {each["name"]: each.get("valueFrom") for each in spec["containers"][0]["env"]}
    assert told["POD_NAME"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    assert told["POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}


@pytest.mark.parametrize(
    "values",
    [
        {**LEASED_MODELS, "models": {"catalogue": ""}},
        {**LEASED_MODELS, "settings": {"model_account": "none"}},
        {**LEASED_MODELS, "settings": {}},
        {**LEASED_MODELS, "rbac": {"create": False}},
    ],
    ids=["no models", "said to be none", "none", "rights by hand"],
)
def test_no_other_gateway_has_any_right(values: dict[str, Any]) -> None:
    objects = render(values=values)
    assert "sublet-gateway" not in {each["metadata"]["name"] for each in objects if each["kind"] == "Role"}
    assert render(values=LEASED_MODELS) != objects


SHOWN = {
    "hub": {
        *("cookie_secret", "proxy_token", "api_token", "spawner_token", "runner_token"),
        "gateway_token",
        *("admin_user", "admin_password", "user_password", "admin_token"),
    },
    "proxy": {"proxy_token", "runner_token"},
    "api": {"api_token", "session_key", "audit_key"},
    "meter": {"audit_key"},
    "gateway": {"gateway_token"},
}


def shown(pod: dict[str, Any]) -> dict[str, set[str]]:
    """The files of secrets that a pod is shown, by Secret."""
    (etc,) = (each["projected"] for each in pod["spec"]["volumes"] if each["name"] == "etc")
    found: dict[str, set[str]] = {}
    for source in etc["sources"]:
        for item in source.get("secret", {}).get("items", ()):
            assert item["path"].startswith("secrets/")
            found.setdefault(source["secret"]["name"], set()).add(item["path"].removeprefix("secrets/"))
    assert etc["defaultMode"] == 0o440
    return found


@pytest.mark.parametrize("component", SHOWN)
def test_each_component_is_shown_the_secrets_it_needs(component: str) -> None:
    values = {"models": {"catalogue": "# none yet"}}
    assert shown(pods(render(values=values))[f"sublet-{component}"]) == {"sublet-secrets": SHOWN[component]}


def test_with_oauth_the_hub_is_shown_two_more() -> None:
    found = pods(render(EVERYTHING))
    assert shown(found["sublet-hub"]) == {
        "sublet-secrets": SHOWN["hub"] | {"crypt_key"},
        "oauth": {"oauth_client_secret"},
    }
    for component in ("proxy", "api", "meter", "gateway"):
        assert shown(found[f"sublet-{component}"]) == {"sublet-secrets": SHOWN[component]}
    for server in SERVERS:
        assert shown(found[server]) == {}


def test_the_secret_has_all_that_the_code_knows() -> None:
    data = named(render(), "Secret", "sublet-secrets")["data"]
    elsewhere = {"oauth_client_secret", "dask_token"}  # a sign-in provider's, and that of Dask on one machine
    known = {each.name for cls in (Secrets, Credentials) for each in fields(cls)} - elsewhere
    assert data.keys() == known | {"crypt_key"}


def test_secrets_are_random_and_of_the_form_that_is_asked_for() -> None:
    from base64 import b64decode

    values = {
        name: b64decode(value).decode() for name, value in named(render(), "Secret", "sublet-secrets")["data"].items()
    }
    other = named(render(values={"extraLabels": {"a": "b"}}), "Secret", "sublet-secrets")["data"]
    assert values["admin_user"] == "admin"
    assert len(values["admin_password"]) >= 32
    assert len(values["user_password"]) >= 16
    for name in values.keys() - {"admin_user", "admin_password", "user_password"}:
        assert len(bytes.fromhex(values[name])) == 32
        assert b64decode(other[name]).decode() != values[name]
    assert len(set(values.values())) == len(values)


def test_a_secret_of_ones_own_is_taken_and_none_is_made() -> None:
    objects = render(MINIMAL)
    assert not of_kind(objects, "Secret")
    assert shown(pods(objects)["sublet-api"]) == {"mine": SHOWN["api"]}


def test_data_and_secrets_stay_when_the_release_goes() -> None:
    def kept(objects: list[dict[str, Any]]) -> set[str]:
        return {
            each["metadata"]["name"]
            for each in objects
            if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }

    assert kept(render()) == {"sublet-secrets", "sublet-data", "sublet-hub"}
    assert kept(render(values={"keepOnUninstall": False})) == set()


def test_nothing_secret_stands_in_a_config_map() -> None:
    found = {each["metadata"]["name"]: each["data"] for each in of_kind(render(EVERYTHING), "ConfigMap")}
    assert {name: set(data) for name, data in found.items()} == {
        "sublet-settings": {"sublet.toml", "extra_config.py"},
        "sublet-models": {"models.toml", "llama.txt"},
    }
    table = tomllib.loads(found["sublet-settings"]["sublet.toml"])["sign_in"]
    assert not {key for key in table if "secret" in key or key == "crypt_key"}
