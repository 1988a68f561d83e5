"""The chart's values: each is described, and nothing else is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from scripts.docs import HELM_VALUES
from scripts.helm_values import (
    OF_ONE_MACHINE,
    SCHEMA,
    SET_BY_CHART,
    VALUES,
    entries,
    resolve,
    schema,
    schema_json,
    values_page,
)

from sublet_hub.catalog.kubernetes import KubernetesTable, TolerationTable
from sublet_hub.catalog.tables import FlavorTable, IdleTable, PoolTable
from sublet_hub.hub.sign_in_options import SignIn
from sublet_hub.settings import Settings
from tests.helm.rendering import EVERYTHING, refusal

FREE = {
    *("hubLabels", "proxyLabels"),
    "global",
    *("labels", "annotations", "serviceAccountAnnotations", "nodeSelector", "node_selector", "extraLabels"),
    *("requests", "limits", "affinity", "valueFrom", "podSelector", "namespaceSelector", "ipBlock"),
    *(
        "parentRefs[]",
        "hubEgress[]",
        "modelsEgress[]",
        "licences",
        "extraVolumes[]",
        "extraVolumeMounts[]",
        "tolerations[]",
    ),
}
"""Values that are Kubernetes' own objects, or maps of the operator's choosing."""


def paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else key
            yield here
            yield from paths(inner, here)


def test_the_schema_and_the_page_are_those_of_now() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_json(), "run `make docs`"
    assert HELM_VALUES.read_text(encoding="utf-8") == values_page(), "run `make docs`"


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(schema())


def test_every_value_is_described() -> None:
    found = dict(entries(schema()))
    assert not [path for path, text in found.items() if len(text) < 8]
    unknown = set(paths(yaml.safe_load(VALUES.read_text(encoding="utf-8")))) - found.keys()
    assert not {path for path in unknown if path.split(".")[-2] not in FREE}


def test_every_value_but_settings_has_a_default() -> None:
    defaults = set(paths(yaml.safe_load(VALUES.read_text(encoding="utf-8"))))
    wanted = {
        path for path, _ in entries(schema()) if "[]" not in path and not path.startswith(("settings.", "signIn."))
    }
    assert {
        path for path in wanted - defaults if path.rpartition(".")[2] not in {"global", "requests", "limits"}
    } == set()


def test_the_defaults_and_the_examples_fit() -> None:
    validator = jsonschema.Draft7Validator(schema())
    validator.validate(yaml.safe_load(VALUES.read_text(encoding="utf-8")))


def open_objects(node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Objects that take keys of any name."""
    resolved = resolve(node)
    if resolved.get("type") == "object" and resolved.get("additionalProperties") is not False:
        yield path
    for name, inner in resolved.get("properties", {}).items():
        yield from open_objects(inner, f"{path}.{name}")
    if "items" in resolved:
        yield from open_objects(resolved["items"], f"{path}[]")


def test_the_schema_is_closed() -> None:
    assert {path.rpartition(".")[2] for path in open_objects(schema())} <= FREE


@pytest.mark.helm
@pytest.mark.parametrize(
    "values",
    [
        {"imgae": {}},
        {"image": {"tga": "1"}},
        {"hub": {"extraConifg": ""}},
        {"settings": {"curency": "EUR"}},
        {"settings": {"database_url": "sqlite:///x"}},
        {"settings": {"slice_seconds": 0}},
        {"settings": {"currency": "euro"}},
        {"pools": [{"name": "a", "devices": []}]},
        {"pools": [{"name": "A"}]},
        {"pools": [{"name": "a", "kubernetes": {"nodeSelector": {}}}]},
        {"flavors": [{"name": "a"}]},
        {"signIn": {"provider": "facebook"}},
        {"signIn": {"client_secret": "plain"}},
        {"networkPolicy": {"allowedPrivateRanges": ["169.254.169.254/32"]}},
        {"networkPolicy": {"allowedPrivateRanges": ["0.0.0.0/0"]}},
        {"networkPolicy": {"allowedPrivateRanges": ["10.0.0.0"]}},
        {"database": {"storage": {"size": "10 GB"}}},
        {"image": {"digest": "abc"}},
        {"proxy": {"service": {"type": "ExternalName"}}},
        {"meter": {"replicas": 0}},
    ],
    ids=str,
)
def test_a_wrong_value_is_refused(values: dict[str, Any]) -> None:
    assert "values don't meet the specifications of the schema" in refusal(values)


def test_settings_are_those_of_the_code() -> None:
    taken = schema()["properties"]["settings"]["properties"].keys()
    assert taken == Settings.model_fields.keys() - SET_BY_CHART - OF_ONE_MACHINE
    assert not taken & (SET_BY_CHART | OF_ONE_MACHINE)


@pytest.mark.parametrize(
    ("path", "model", "not_here"),
    [
        ("pools[]", PoolTable, {"devices"}),
        ("pools[].idle", IdleTable, set()),
        ("pools[].kubernetes", KubernetesTable, set()),
        ("pools[].kubernetes.tolerations[]", TolerationTable, set()),
        ("flavors[]", FlavorTable, set()),
    ],
)
def test_pools_and_flavors_are_those_of_the_code(path: str, model: type[BaseModel], not_here: set[str]) -> None:
    taken = {each.removeprefix(f"{path}.") for each, _ in entries(schema()) if each.startswith(f"{path}.")}
    assert {each for each in taken if "." not in each and "[]" not in each} == model.model_fields.keys() - not_here


def test_sign_in_is_that_of_the_code() -> None:
    taken = schema()["properties"]["signIn"]["properties"].keys()
    assert taken - {"clientSecret"} == SignIn.model_fields.keys() - {"client_secret", "crypt_key"}


def test_everything_is_on_in_the_file_that_says_so() -> None:
    """Each value that has a default is set there, or is of one of the kinds that exclude each other."""
    given = set(paths(yaml.safe_load(EVERYTHING.read_text(encoding="utf-8"))))
    defaults = set(paths(yaml.safe_load(VALUES.read_text(encoding="utf-8"))))
    left = {path for path in defaults - given if not any(each.startswith(f"{path}.") for each in given)}
    assert {path.split(".")[0] for path in left} <= {
        *("nameOverride", "fullnameOverride", "secrets", "keepOnUninstall", "rbac", "podDisruptionBudgets"),
        *("priorityClasses", "existingHub", "image", "notebook", "database", "hubDatabase", "networkPolicy"),
        *("hub", "proxy", "api", "meter", "gateway", "models"),
    }
